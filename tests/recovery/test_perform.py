"""Threads and a real journal: what a run costs beside its steps, stopping it, and letting go of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from ncia.core.base.ids import SystemId
from ncia.core.journal import Journal, Signer, open_journal
from ncia.core.journal.entries_recovery import (
    RunResumed,
    RunStopped,
    StepEnded,
)
from recovery.ports import World
from recovery.task import RecoveryDesk, Surroundings
from tests.fakes.world import FakeWorld
from tests.recovery.scene import LOST, RUNBOOKS, SURVIVOR, approval, estate

OVERHEAD_SECONDS_MAX = 8.0  # of a whole run on a machine that does much else; alone it takes well under one
PATIENCE_SECONDS = 60.0


class RealTime:
    """The world's virtual time, which now also passes by itself."""

    def __init__(self, fake: FakeWorld) -> None:
        self.lock = threading.RLock()
        self._fake = fake
        self._ahead_ns = fake.now_ns - time.monotonic_ns()

    def now(self) -> datetime:
        with self.lock:
            self.boottime_ns()
            return self._fake.now()

    def boottime_ns(self) -> int:
        with self.lock:
            self._fake.now_ns = max(self._fake.now_ns, time.monotonic_ns() + self._ahead_ns)
            return self._fake.now_ns


class Locked:
    """A port of the world in memory, one call at a time: it was not made for threads."""

    def __init__(self, port: Any, clock: RealTime) -> None:
        self._port = port
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        def called(*arguments: Any) -> Any:
            with self._clock.lock:
                self._clock.boottime_ns()
                return getattr(self._port, name)(*arguments)

        return called


@dataclass
class Stage:
    fake: FakeWorld
    journal: Journal
    world: World
    clock: RealTime

    def desk(self) -> RecoveryDesk:
        around = Surroundings(SURVIVOR, self.fake.estate, RUNBOOKS, self.journal, self.world, self.fake, self.clock)
        return RecoveryDesk(around)

    def approved(self, desk: RecoveryDesk) -> str:
        plan = desk.plan("site_failover", LOST, "kim", {})
        for person in ("kim", "lee"):
            desk.approve(**approval(plan, person, self.clock.now()))
        return str(plan["run"])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    fake = FakeWorld(estate(), SURVIVOR)
    fake.burn(LOST)
    fake.live(15)  # the lease is gone
    clock = RealTime(fake)
    real = fake.world()
    ports = {name: Locked(getattr(real, name), clock) for name in World.__dataclass_fields__ if name != "watching"}
    key = Ed25519PrivateKey.generate()
    signer = Signer(SURVIVOR, key)
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = open_journal(url, peer=LOST, signer=signer, keys={SURVIVOR: key.public_key()}, clock=clock)
    yield Stage(fake, journal, World(**ports), clock)
    journal.close()


def test_nine_systems_are_moved_in_parallel_and_the_run_itself_costs_little(stage: Stage) -> None:
    desk = stage.desk()
    began = time.monotonic()
    run = stage.approved(desk)
    desk.wait(run, PATIENCE_SECONDS)
    took = time.monotonic() - began
    told = desk.run(run)
    assert told["outcome"] == "succeeded", told["sentence"]
    assert took < OVERHEAD_SECONDS_MAX
    assert stage.journal.size(SURVIVOR) == 1 + 2 + 1 + 2 * told["steps_total"] + 1


def test_what_the_next_controller_reads_from_disk_is_the_same_run(stage: Stage) -> None:
    desk = stage.desk()
    run = stage.approved(desk)
    desk.wait(run, PATIENCE_SECONDS)
    assert stage.desk().run(run) == desk.run(run)


def test_a_run_waiting_for_the_lease_is_stopped_at_once(stage: Stage) -> None:
    stage.fake.sides[LOST].alive = True
    stage.fake.live(1)
    desk = stage.desk()
    run = stage.approved(desk)
    began = time.monotonic()
    desk.stop(run, "kim", "it lives")
    desk.wait(run, PATIENCE_SECONDS)
    assert time.monotonic() - began < 5
    told = desk.run(run)
    assert (told["state"], told["sentence"]) == ("stopped", "it lives")


def test_a_controller_that_ends_leaves_its_run_to_the_next_one(stage: Stage) -> None:
    stage.fake.sides[LOST].alive = True
    stage.fake.live(1)
    desk = stage.desk()
    run = stage.approved(desk)
    desk.close()
    assert desk.run(run)["state"] == "running"
    with stage.clock.lock:
        stage.fake.sides[LOST].alive = False
        stage.fake.live(15)
    following = stage.desk()
    following.tick()
    following.wait(run, PATIENCE_SECONDS)
    assert following.run(run)["outcome"] == "succeeded"
    kinds = [type(entry.body) for entry in stage.journal.merged()]
    assert kinds.count(RunResumed) == 1
    assert RunStopped not in kinds


def test_an_adapters_surprise_is_a_failed_step_and_not_the_end_of_the_controller(stage: Stage) -> None:
    class Surprising:
        def positions(self) -> Any:
            raise ZeroDivisionError("nobody thought of this")

    impatient = replace(estate(), settings=replace(estate().settings, step_timeout_seconds=0.2))
    stage.fake.estate = impatient
    stage.world = replace(stage.world, traffic=Surprising())
    desk = stage.desk()
    with capture_logs() as logged:
        run = stage.approved(desk)
        desk.wait(run, PATIENCE_SECONDS)
    assert desk.run(run)["state"] == "stopped"
    assert "step.surprise" in {line["event"] for line in logged}
    told = {e.body.evidence for e in stage.journal.merged() if isinstance(e.body, StepEnded)}
    assert "ZeroDivisionError: nobody thought of this" in told
    assert SystemId("share") in desk.run(run)["sentence"]
