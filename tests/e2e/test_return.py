"""A site goes dark, returns and gets its systems back, with the controller that brings them home killed on the way."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from ncia.lab.exercise import wait_until
from ncia.lab.homecoming import Homecoming
from tests.e2e.scene import DAEJEON, SOON, Scene
from tests.e2e.test_moves import readers, slots


class Killer:
    """Kills the returned site's controller in the middle of the run home, and starts it again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.killed = 0

    def __call__(self, run: Mapping[str, Any]) -> None:
        half = run["steps_total"] / 2
        if run["runbook"] != "site_failback" or self.killed or run["outcome"] or run["steps_done"] < half:
            return
        self.killed = next(p.pid for p in self._scene.lab.processes() if (p.site, p.name) == (DAEJEON, "serve"))
        os.kill(self.killed, signal.SIGKILL)
        wait_until("the controller is dead", lambda: not self._scene.runs(DAEJEON, "serve"), SOON)
        self._scene.lab.start(DAEJEON, "serve")


@pytest.mark.long
def test_a_dark_site_returns_and_its_systems_come_home_though_its_controller_is_killed(scene: Scene) -> None:
    scene.wait_until_proven()
    since = scene.mark()
    killer = Killer(scene)
    outcome = Homecoming(scene.lab.home, DAEJEON, print, killer).black_out_and_return()
    assert outcome.failures == ()
    assert killer.killed
    estate = scene.lab.estate()
    assert {s.id: s.active_site for s in outcome.systems} == {s.id: s.home for s in estate.systems.values()}
    assert outcome.failback_lost_acked == 0
    assert outcome.failback_documents > 0
    assert outcome.stranded_listed >= outcome.stranded_acts
    assert outcome.protected_again_seconds is not None
    homes = {system.id: system.home for system in estate.systems.values()}
    kept = {id: slots(scene, estate.peer_of(home), id) & readers(home) for id, home in homes.items()}
    assert {id: left for id, left in kept.items() if left} == {}  # no copy keeps WAL for whom it sent to meanwhile
    ends = [e["body"] for e in scene.entries(DAEJEON, since, "step.ended")]
    finished = Counter((end["run"], end["step"]) for end in ends if end["outcome"] in ("done", "already"))
    assert {step: count for step, count in finished.items() if count != 1} == {}
