"""A controller is killed in the middle of its backups: the next one goes on with them, and nothing is told as lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from ncia.lab.exercise import wait_until
from tests.e2e.scene import GWANGJU, PROVEN_SECONDS_MAX, SOON, Scene


def jobs_of(scene: Scene, asked: frozenset[str]) -> Mapping[str, Mapping[str, Any]]:
    return {job["job"]: job for job in scene.api(GWANGJU).get("/v1/jobs")["jobs"] if job["job"] in asked}


def states(scene: Scene, asked: frozenset[str]) -> Counter[str]:
    return Counter(job["state"] for job in jobs_of(scene, asked).values())


@pytest.mark.long
def test_a_controller_that_is_killed_in_the_middle_of_backups_goes_on_with_them(scene: Scene) -> None:
    scene.wait_until_proven()
    before = scene.mark()
    told = scene.api(GWANGJU).post("/v1/backups/run", {"dataset": None})["jobs"]
    asked = frozenset(job["job"] for job in told)
    assert len(asked) == len(told) > 2
    wait_until("a backup is under way", lambda: states(scene, asked)["running"] > 0, SOON)
    scene.lab.kill(GWANGJU, "serve")
    scene.lab.start(GWANGJU, "serve")

    def all_ended() -> bool:
        return states(scene, asked)["succeeded"] == len(asked)

    wait_until("every backup has succeeded", all_ended, PROVEN_SECONDS_MAX)
    wrote = scene.entries(GWANGJU, before, "backup.started", "backup.finished", "backup.failed", "proof.finished")
    ours = Counter(entry["kind"] for entry in wrote if entry["site"] == GWANGJU)
    assert ours == dict.fromkeys(("backup.started", "backup.finished", "proof.finished"), len(asked))
    assert {entry["body"]["matched"] for entry in wrote if entry["kind"] == "proof.finished"} == {True}
