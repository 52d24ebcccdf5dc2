import asyncio
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from monitors.agent import SLOT_SECONDS, Agent, Hysteresis, _Wheel
from monitors.outlet import Outlet
from monitors.ports import Findings, Look, Outcome
from ncia.core.base.ids import Subject
from tests.monitors.servers import SetClock
from tests.monitors.test_outlet import FakeReporter

CLOCK = SetClock()
HYSTERESIS = Hysteresis(3, 2)
FAST = 0.5


def well(number: int) -> bool:
    """Nothing is in question."""
    return False


class FakeProbe:
    phase_seconds: float | None = None
    turns_at_once = 1

    def __init__(self, name: str, interval_seconds: float = 1.0, *, broken: bool = False, hangs: bool = False) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self.broken, self.hangs = broken, hangs
        self.turns = self.at_once = self.at_once_max = 0
        self.closed = False

    async def turn(self) -> Findings:
        self.turns += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            if self.hangs:
                await asyncio.Event().wait()
            if self.broken and self.turns > 1:
                raise RuntimeError("our own mistake")
            return Findings((Look(Subject(self.name), Outcome.GOOD, "ok", "fine", CLOCK.now()),))
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        self.closed = True


def run(agent: Agent, until: Any) -> None:
    async def go() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(agent.run(stop))
        async with asyncio.timeout(30):
            while not until():
                await asyncio.sleep(SLOT_SECONDS)
        stop.set()
        await running

    asyncio.run(go())


def test_turns_are_spread_over_the_interval() -> None:
    wheel = _Wheel([FakeProbe(str(n), 1.0) for n in range(40)], FAST)
    starts = Counter(slot for slot in range(40) for _ in wheel.due(well) if slot >= 20)  # the start is another matter
    assert (set(starts), set(starts.values())) == (set(range(20, 40)), {2})


def test_each_probe_comes_round_at_its_own_interval() -> None:
    wheel = _Wheel([FakeProbe("slow", 2.0), FakeProbe("fast", 0.5)], FAST)
    slots = [slot for slot in range(80) if 1 in wheel.due(well)]
    assert {b - a for a, b in pairwise(slots)} == {10}


def test_all_is_looked_at_once_within_the_fast_interval_of_the_start_and_then_at_its_own_pace() -> None:
    wheel = _Wheel([FakeProbe(str(n), 4.0) for n in range(40)], FAST)
    turns = [(slot, number) for slot in range(240) for number in wheel.due(well)]
    fast = round(FAST / SLOT_SECONDS)
    assert {number for slot, number in turns if slot < fast} == set(range(40))
    later = {number: [slot for slot, each in turns if each == number and slot >= fast] for number in range(40)}
    assert {b - a for slots in later.values() for a, b in pairwise(slots)} == {80}


def test_a_probe_with_a_phase_of_its_own_begins_at_that_moment_of_each_interval() -> None:
    probe = FakeProbe("canary:a@x", 1.0)
    probe.phase_seconds = 0.15
    for now, first in ((100.0, 3), (100.4, 15), (100.15, 0), (100.16, 20)):
        wheel = _Wheel([probe], FAST, now)
        slots = [slot for slot in range(60) if wheel.due(well)]
        assert (slots[0], slots[1] - slots[0]) == (first, 20), now


def slots_of(probe: FakeProbe, in_question: Callable[[int], bool], slots: int) -> list[int]:
    wheel = _Wheel([probe], FAST)
    return [slot for slot in range(slots) if wheel.due(lambda number, now=slot: in_question(now))]


def test_what_is_in_question_is_looked_at_again_at_the_fast_interval_until_it_is_not() -> None:
    slots = slots_of(FakeProbe("app:a@x", 2.0), lambda slot: 45 <= slot < 65, 130)
    assert slots == [0, 40, 50, 60, 80, 120]


def test_a_probe_never_looks_more_often_than_the_fast_interval_and_its_own_turns() -> None:
    slots = slots_of(FakeProbe("app:a@x", 1.25), lambda slot: True, 200)
    assert set(range(0, 200, 25)) <= set(slots)
    assert len(slots) <= 200 / 25 * 3


def test_a_swallowed_look_is_followed_by_others_before_its_time_out() -> None:
    probe, reporter = FakeProbe("app:a@x", 60.0, hangs=True), FakeReporter()
    probe.turns_at_once = 3
    run(Agent([probe], [Outlet(reporter)], HYSTERESIS, CLOCK, 0.1), lambda: probe.turns == 3)
    assert probe.at_once_max == 3


def test_what_probes_see_reaches_the_controller_and_all_is_closed_at_the_end() -> None:
    probes = [FakeProbe("app:a@x", 0.1), FakeProbe("app:b@x", 0.1)]
    reporter = FakeReporter()
    run(Agent(probes, [Outlet(reporter)], HYSTERESIS, CLOCK), lambda: len(reporter.taken) > 1)
    assert {c["subject"] for c in reporter.taken[0]["changes"]} == {"app:a@x", "app:b@x"}
    assert reporter.taken[1]["changes"] == []
    assert all(probe.closed for probe in probes)


def test_a_probe_that_hangs_holds_up_neither_others_nor_the_reports() -> None:
    hanging, well, reporter = FakeProbe("app:a@x", 0.1, hangs=True), FakeProbe("app:b@x", 0.1), FakeReporter()
    run(Agent([hanging, well], [Outlet(reporter)], HYSTERESIS, CLOCK), lambda: well.turns > 5 and reporter.taken)
    assert hanging.at_once_max == 1


def test_a_probe_that_breaks_makes_its_subjects_unknown_and_not_stale() -> None:
    reporter = FakeReporter()
    agent = Agent([FakeProbe("app:a@x", 0.1, broken=True)], [Outlet(reporter)], HYSTERESIS, CLOCK)
    run(agent, lambda: any(c["verdict"] == "unknown" for report in reporter.taken for c in report["changes"]))
    last = [c for report in reporter.taken for c in report["changes"]][-1]
    assert (last["subject"], last["evidence"]) == ("app:a@x", "the probe broke")


def test_a_doubt_is_told_before_the_fall_and_taken_back_after() -> None:
    reporter = FakeReporter()
    outlet = Outlet(reporter)
    agent = Agent([], [outlet], HYSTERESIS, CLOCK)

    async def go() -> list[list[float]]:
        for outcome in (Outcome.GOOD, Outcome.BAD, Outcome.BAD, Outcome.GOOD):
            agent.take(Findings((Look(Subject("site:x"), outcome, outcome.value, "", CLOCK.now()),)))
            await outlet.tell(1)
        return [[m["value"] for m in report["measures"]] for report in reporter.taken]

    assert asyncio.run(go()) == [[], [1.0], [], [0.0]]


def test_a_report_is_json_of_the_contract() -> None:
    reporter = FakeReporter()
    run(Agent([FakeProbe("app:a@x", 0.1)], [Outlet(reporter)], HYSTERESIS, CLOCK), lambda: reporter.taken)
    report = reporter.taken[0]
    assert set(report) == {"tick", "at", "changes", "measures"}
    assert set(report["changes"][0]) == {"subject", "verdict", "previous", "since", "evidence"}
    assert json.dumps(report)
