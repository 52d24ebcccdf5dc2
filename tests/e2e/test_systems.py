"""One system hurt: the incident names it, and what citizens hear names it too."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import timedelta

import httpx

from tests.e2e.scene import DAEJEON, SOON, Scene, acked, wait_until


def test_with_share_down_hometax_says_so_within_two_seconds_and_one_incident_names_share(scene: Scene) -> None:
    share, hometax = (scene.lab.estate().system(name).applications[DAEJEON].address for name in ("share", "hometax"))
    pids = json.loads((scene.lab.settings(DAEJEON).run / "apps.json").read_text())
    before = scene.mark()
    os.kill(pids["share"], signal.SIGKILL)
    wait_until("share is gone", lambda: refused(str(share)), SOON)
    with httpx.Client(timeout=10) as client:
        answer = wait_until("hometax stops", lambda: not_served(client, f"http://{hometax}/acts/latest"), SOON)
        assert (answer.status_code, answer.headers["x-ncia-failed-dependency"]) == (503, "share")
        # one answer may come late on a busy machine; to wait for share would make every one late
        again = wait_until("hometax says so at once", lambda: at_once(client, f"http://{hometax}/acts/latest"), SOON)
    assert (again.status_code, again.headers["x-ncia-failed-dependency"]) == (503, "share")
    incident = scene.wait_for_incident(DAEJEON, "app:share@daejeon", "system-down")
    assert "hometax" in incident["systems"]
    scene.lab.kill(DAEJEON, "applications", signal.SIGHUP)
    scene.wait_until_over(DAEJEON, "app:share@daejeon")
    scene.wait_for_acts("citizens are served again", time.monotonic(), scene.systems(1, 2, 3, 4), acked)
    assert scene.opened(before) == ["app:share@daejeon"]


def test_a_killed_database_is_told_as_that_database_and_as_nothing_else(scene: Scene) -> None:
    scene.wait_until_proven()
    before = scene.mark()
    scene.lab.kill(DAEJEON, "postgres/gangnam-tax")
    incident = scene.wait_for_incident(DAEJEON, "db:gangnam-tax@daejeon", "database-down")
    assert incident["sentence"].startswith(
        "The database of Gangnam Internet tax payment (gangnam-tax) at Daejeon is down"
    )
    assert incident["systems"] == ["gangnam-tax"]
    wait_until("its postmaster is gone", lambda: not scene.runs(DAEJEON, "postgres/gangnam-tax"), SOON)
    scene.lab.start(DAEJEON, "postgres/gangnam-tax")
    scene.wait_until_over(DAEJEON, "db:gangnam-tax@daejeon")
    scene.wait_for_acts("its citizens are served again", time.monotonic(), ["gangnam-tax"], acked)
    assert scene.opened(before) == ["db:gangnam-tax@daejeon"]


def refused(address: str) -> bool:
    try:
        httpx.get(f"http://{address}/healthz", timeout=1)
    except httpx.TransportError:
        return True
    return False


def at_once(client: httpx.Client, url: str) -> httpx.Response | None:
    answer = client.get(url)
    return answer if answer.elapsed < timedelta(seconds=2) else None


def not_served(client: httpx.Client, url: str) -> httpx.Response | None:
    answer = client.get(url)
    return None if answer.status_code == 200 else answer
