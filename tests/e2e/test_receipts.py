"""Receipts on the real ground: a site that cannot be told delays nobody, and time without a voucher is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from ncia.core.base.clock import SystemClock, to_text
from tests.e2e.scene import CITIZENS, DAEJEON, GWANGJU, SOON, Scene, acked, wait_until


def loss(scene: Scene, since: str) -> Mapping[str, Any]:
    """What Gwangju would list of Daejeon's acts acknowledged since then."""
    told: Mapping[str, Any] = scene.api(GWANGJU).post("/v1/reports/loss", {"site": DAEJEON, "since": since})
    return told


def test_while_the_other_site_cannot_be_told_citizens_are_served_and_loss_is_said_to_be_unnamed(scene: Scene) -> None:
    at_daejeon = [system.id for system in scene.lab.estate().at_home(DAEJEON)]
    since = to_text(SystemClock().now())
    scene.lab.cut(CITIZENS, GWANGJU)
    cut = time.monotonic()
    scene.wait_for_acts("Daejeon's citizens are served on", cut, at_daejeon, acked)
    told = wait_until("the door's silence is told", lambda: unnamed(loss(scene, since)), SOON)
    assert "citizens was not heard since" in told["unnamed"][-1]["why"]

    scene.lab.heal()
    healed = time.monotonic()
    scene.wait_for_acts("every system is served again", healed, scene.systems(1, 2, 3, 4), acked)
    told = wait_until("every receipt has arrived", lambda: named(loss(scene, since)), SOON)
    known = [act for act in scene.acts(cut) if acked(act) and act.site == DAEJEON and act.sent_monotonic < healed]
    assert (told["lost"], told["altered"], told["receipts"] >= len(known) > 0) == (0, 0, True)


def test_a_front_door_that_is_killed_goes_on_vouching_for_what_it_acknowledged(scene: Scene) -> None:
    since = to_text(SystemClock().now())
    began = time.monotonic()
    scene.wait_for_acts("citizens act", began, scene.systems(1), acked)
    door = next(p.pid for p in scene.lab.processes() if (p.site, p.name) == (CITIZENS, "front-door"))
    os.kill(door, signal.SIGKILL)
    wait_until("the door is dead", lambda: not scene.runs(CITIZENS, "front-door"), SOON)
    scene.lab.start(CITIZENS, "front-door")
    opened = time.monotonic()
    scene.wait_for_acts("citizens are served again", opened, scene.systems(1), acked)
    told = wait_until("the door vouches for all of it", lambda: named(loss(scene, since)), SOON)
    known = [act for act in scene.acts(began) if acked(act) and act.site == DAEJEON and act.sent_monotonic < opened]
    assert (told["lost"], told["receipts"] >= len(known) > 0) == (0, True)


def unnamed(told: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return told if told["unnamed"] else None


def named(told: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if told["unnamed"] or told["uncompared"] else told
