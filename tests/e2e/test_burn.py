"""The main job as a test, with the controller that recovers killed three times: the last test of a run."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from ncia.lab.exercise import Exercise, wait_until
from tests.e2e.scene import DAEJEON, GWANGJU, SOON, Scene


class Killer:
    """Kills the survivor's controller at three points of the run, and starts it again each time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._points = {
            "after the second approval": lambda run: run["started_at"],  # it waits for the lease
            "in the middle of the wave": lambda run: run["steps_done"] >= run["steps_total"] / 3,
            "near the end": lambda run: run["steps_done"] >= run["steps_total"] * 2 / 3,
        }
        self._pid = self._look()  # looked up beforehand: a run does not wait for its killer
        self.killed: list[str] = []
        self.seen: list[int] = []

    def __call__(self, run: Mapping[str, Any]) -> None:
        due = next((name for name in self._points if name not in self.killed), None)
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


@pytest.mark.lab(last=True)
def test_the_burn_is_recovered_correctly_though_the_controller_is_killed_three_times(scene: Scene) -> None:
    scene.wait_until_proven()
    killer = Killer(scene)
    outcome = Exercise(scene.lab.home, DAEJEON, print, killer).burn_and_recover()
    assert outcome.failures == ()
    assert killer.killed == ["after the second approval", "in the middle of the wave", "near the end"], killer.seen
    assert outcome.journal_verified
    assert outcome.restores_proven == len(scene.lab.estate().systems)
    assert {system.active_site for system in outcome.systems} == {GWANGJU}
    assert [system.id for system in outcome.systems if system.grade == 1 and system.lost_acked] == []

    ends = [e["body"] for e in scene.entries(GWANGJU, None, "step.ended")]
    finished = Counter(end["step"] for end in ends if end["outcome"] in ("done", "already"))
    assert {step: count for step, count in finished.items() if count != 1} == {}
    assert len(scene.entries(GWANGJU, None, "run.resumed")) >= len(killer.killed), killer.seen
