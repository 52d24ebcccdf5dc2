"""The main job as a test, with the controller that recovers killed three times: the last test of a run."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from ncia.cli.client import Api
from ncia.lab.exercise import Exercise, wait_until
from tests.e2e.scene import DAEJEON, GWANGJU, SOON, Scene, acked
from tests.e2e.test_receivers import detach, keepers

STANDS_STILL, LAG_SECONDS = "gangnam-tax", 3.0


class Killer:
    """Kills the survivor's controller at three points of the run, and starts it again each time. A point that
    came while nobody could look, the controller being away, is ``missed`` where the run was over by then."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._points = {
            "after the second approval": lambda run: run["started_at"],  # it waits for the lease
            "in the middle of the wave": lambda run: run["steps_done"] >= run["steps_total"] / 3,
            "near the end": lambda run: run["steps_done"] >= run["steps_total"] / 2,
        }
        self._pid = self._look()  # looked up beforehand: a run does not wait for its killer
        self.killed: list[str] = []
        self.missed: list[str] = []
        self.seen: list[int] = []

    def __call__(self, run: Mapping[str, Any]) -> None:
        due = next((name for name in self._points if name not in self.killed), None)
        if run["outcome"]:
            self.missed = [name for name in self._points if name not in self.killed]
        if due is None or run["outcome"] or not self._points[due](run):
            return
        os.kill(self._pid, signal.SIGKILL)
        wait_until("the controller is dead", lambda: not self._scene.runs(GWANGJU, "serve"), SOON)
        self._scene.lab.start(GWANGJU, "serve")
        self._pid = self._look()
        self.killed.append(due)
        self.seen.append(run["steps_done"])

    def _look(self) -> int:
        return next(p.pid for p in self._scene.lab.processes() if (p.site, p.name) == (GWANGJU, "serve"))


def stop_following(scene: Scene) -> None:
    """The copy of one asynchronous system stands still, so that the fire costs acts which somebody must name."""
    folder = scene.lab.layout.site(GWANGJU) / "run" / "pg" / STANDS_STILL
    with psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True) as copy:
        copy.execute("alter system set primary_conninfo = ''")
        copy.execute("select pg_reload_conf()")
    api = Api(f"unix:{scene.lab.settings(GWANGJU).run / 'api.sock'}")

    def lags() -> bool:
        told = next(system for system in api.get("/v1/status")["systems"] if system["id"] == STANDS_STILL)
        return bool(told["lag_seconds"] is not None and told["lag_seconds"] > LAG_SECONDS)

    wait_until(f"{STANDS_STILL} lags", lags, SOON)


def without_its_copy(scene: Scene, system: str) -> None:
    """The copy of a grade-1 system is away when the site burns: its receiver alone keeps what citizens do."""
    detach(scene, system)
    wait_until(f"the copy of {system} streams no more", lambda: GWANGJU not in keepers(scene, system), SOON)
    scene.wait_for_acts(f"{system} goes on", time.monotonic(), [system], acked)


@pytest.mark.lab(last=True)
def test_the_burn_is_recovered_correctly_though_the_controller_is_killed_three_times(scene: Scene) -> None:
    scene.wait_until_proven()
    killer = Killer(scene)

    def hurt() -> None:
        stop_following(scene)
        without_its_copy(scene, "hometax")

    outcome = Exercise(scene.lab.home, DAEJEON, print, killer, hurt).burn_and_recover()
    # A copy that stands still falls behind while nobody looks: its figure is as old as the last look, up to a second.
    assert [told for told in outcome.failures if not told.startswith(f"{STANDS_STILL}: lost")] == []
    assert {system.id for system in outcome.systems if system.lost_acked} >= {STANDS_STILL}
    assert outcome.named_loss_matches
    assert killer.killed[:2] == ["after the second approval", "in the middle of the wave"], killer.seen
    assert [*killer.killed[2:], *killer.missed] == ["near the end"], killer.seen
    assert outcome.journal_verified
    assert outcome.restores_proven == len(scene.lab.estate().systems)
    assert {system.active_site for system in outcome.systems} == {GWANGJU}
    assert [system.id for system in outcome.systems if system.grade == 1 and system.lost_acked] == []

    ends = [e["body"] for e in scene.entries(GWANGJU, None, "step.ended")]
    # The step's own word is not asked: a controller killed within it drains again, and then finds nothing to read.
    assert "restored log file" in (scene.lab.layout.site(GWANGJU) / "log" / "postgres-hometax.out").read_text()
    finished = Counter((end["run"], end["step"]) for end in ends if end["outcome"] in ("done", "already"))
    assert {step: count for step, count in finished.items() if count != 1} == {}
    assert len(scene.entries(GWANGJU, None, "run.resumed")) >= len(killer.killed), killer.seen
