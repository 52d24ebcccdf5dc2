"""The canary of documents: written where the system is active, read back where it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitors.ports import Findings, Outcome, Standing
from monitors.probes.documents import MarkProbe, MirrorProbe, Watched
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.work.documents import MARK, Mark
from tests.fakes.documents import FakeDocuments
from tests.monitors.servers import SetClock, SetRoles

EAST, WEST, TAX = SiteId("east"), SiteId("west"), SystemId("tax")
MARKED, MIRRORED = "mark:tax/letters@{}", "mirror:tax/letters@{}"


class World:
    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.clock = SetClock()
        self.roles = SetRoles({TAX: Standing(EAST, 3, True)})
        self.store = FakeDocuments("store")
        self._threads = threads

    def writer(self, site: SiteId = EAST) -> MarkProbe:
        watched = Watched("tax/letters", TAX, site, self.store, 10.0, 1.0)
        return MarkProbe(watched, 5.0, self.clock, self.roles, self._threads)

    def reader(self, site: SiteId = WEST, rpo_seconds: float = 10.0, timeout_seconds: float = 5.0) -> MirrorProbe:
        watched = Watched("tax/letters", TAX, site, self.store, rpo_seconds, 1.0)
        return MirrorProbe(watched, timeout_seconds, self.clock, self.roles, self._threads)

    def marked(self, seconds_ago: float) -> None:
        moment = self.clock.go(-seconds_ago)
        self.store.put(MARK, Mark(moment, 3).to_bytes())
        self.clock.go(seconds_ago)


@pytest.fixture
def world() -> Iterator[World]:
    with ThreadPoolExecutor(2) as threads:
        yield World(threads)


def outcomes(findings: Findings) -> dict[str, Outcome]:
    return {look.subject: look.outcome for look in findings.looks}


def measures(findings: Findings) -> dict[str, float]:
    return {measure.name: measure.value for measure in findings.measures}


def test_where_the_system_is_active_the_mark_is_written_with_time_and_epoch(world: World) -> None:
    assert outcomes(asyncio.run(world.writer(EAST).turn())) == {MARKED.format(EAST): Outcome.GOOD}
    assert outcomes(asyncio.run(world.reader(EAST).turn())) == {MIRRORED.format(EAST): Outcome.RETIRED}
    assert Mark.from_bytes(world.store.held[MARK][0]) == Mark(world.clock.now(), 3)


def test_past_the_leases_deadline_nothing_is_written(world: World) -> None:
    world.roles.standings[TAX] = Standing(EAST, 3, False)
    assert outcomes(asyncio.run(world.writer().turn()))[MARKED.format(EAST)] is Outcome.BLIND
    assert world.store.held == {}


def test_a_store_that_takes_no_mark_is_a_bad_look(world: World) -> None:
    world.store.bytes_max = 0
    (look,) = asyncio.run(world.writer().turn()).looks
    assert (look.outcome, look.evidence) == (Outcome.BAD, "store took no canary: the disk there is full")


def test_elsewhere_the_age_of_the_mark_is_measured(world: World) -> None:
    world.marked(seconds_ago=1.5)
    found = asyncio.run(world.reader().turn())
    assert outcomes(found) == {MIRRORED.format(WEST): Outcome.GOOD}
    assert outcomes(asyncio.run(world.writer(WEST).turn())) == {MARKED.format(WEST): Outcome.RETIRED}
    assert measures(found) == {"canary_age_seconds": 1.5, "predicted_loss_seconds": 2.5}


def test_a_mark_from_a_clock_an_hour_ahead_measures_nothing_and_is_not_called_fresh(world: World) -> None:
    world.marked(seconds_ago=-3600)
    found = asyncio.run(world.reader().turn())
    assert outcomes(found)[MIRRORED.format(WEST)] is Outcome.BLIND
    assert measures(found) == {}
    assert "dated 3600 s after the time of day here: the sites' clocks differ" in found.looks[0].evidence


def test_what_would_be_lost_is_told_by_the_worst_of_the_last_looks(world: World) -> None:
    async def go() -> list[dict[str, float]]:
        probe, told = world.reader(), []
        for age in (4.0, 0.5, *[0.25] * 10):
            world.clock.go(1.0)
            world.marked(age)
            told.append(measures(await probe.turn()))
        return told

    told = asyncio.run(go())
    assert [each["predicted_loss_seconds"] for each in told[:2]] == [5.0, 5.0]
    assert told[-1] == {"canary_age_seconds": 0.25, "predicted_loss_seconds": 1.25}


@pytest.mark.parametrize(
    ("age", "rpo", "outcome"),
    [
        (4.0, 10, Outcome.GOOD),
        (6.0, 10, Outcome.DEGRADED),
        (11.0, 10, Outcome.BAD),
        (6.0, 2, Outcome.BAD),
        (14.0, 0, Outcome.DEGRADED),  # its acts wait for both sites: the mirror's way is watched, no act is at stake
        (16.0, 0, Outcome.BAD),
    ],
)
def test_the_promise_decides_how_old_a_mark_may_be(world: World, age: float, rpo: float, outcome: Outcome) -> None:
    world.marked(age)
    assert outcomes(asyncio.run(world.reader(rpo_seconds=rpo).turn()))[MIRRORED.format(WEST)] is outcome


def test_a_copy_without_a_mark_or_with_rubbish_is_a_bad_look(world: World) -> None:
    assert outcomes(asyncio.run(world.reader().turn()))[MIRRORED.format(WEST)] is Outcome.BAD
    world.store.put(MARK, b"rubbish")
    assert outcomes(asyncio.run(world.reader().turn()))[MIRRORED.format(WEST)] is Outcome.BAD


def test_a_silent_store_is_a_bad_look(world: World) -> None:
    world.store.silent = True
    (look,) = asyncio.run(world.reader().turn()).looks
    assert (look.outcome, look.evidence) == (Outcome.BAD, "store cannot be read: store does not answer")


def test_where_nobody_knows_who_is_active_nothing_is_said(world: World) -> None:
    world.roles.standings.clear()
    assert outcomes(asyncio.run(world.reader().turn())) == {MIRRORED.format(WEST): Outcome.BLIND}
    assert outcomes(asyncio.run(world.writer().turn())) == {}


def test_a_store_that_hangs_does_not_hold_up_the_agent(world: World) -> None:
    go_on = threading.Event()

    class Hanging(FakeDocuments):
        def get(self, name: str) -> bytes | None:
            go_on.wait(30)
            return super().get(name)

    world.store = Hanging("store")

    async def turn() -> Findings:
        try:
            return await world.reader(timeout_seconds=0.1).turn()
        finally:
            go_on.set()

    (look,) = asyncio.run(turn()).looks
    assert (look.outcome, "no answer for" in look.evidence) == (Outcome.BAD, True)
