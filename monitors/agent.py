"""The agent: turns of its probes spread over their interval, judged at once, reported each second, news sooner.

Turns start on slots of a fixed pace, so that targets do not all wake together; a probe whose turns are still under way
as often as it allows waits for one to end. What is well is looked at seldom; a probe whose verdict is in question, or
whose turn takes long, looks again at the fast interval (HAProxy's ``fastinter``), so that rest costs little and a fault
is found no later. All moments come from the one clock that it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from monitors.judge import Track, judge
from monitors.outlet import Outlet
from monitors.ports import REPORT_PHASE_SECONDS, Findings, Look, Measure, Outcome, Probe
from ncia.core.base.clock import Clock
from ncia.core.base.ids import Subject

SLOT_SECONDS = 0.05
REPORT_SECONDS = 1.0
NEWS_SECONDS = 0.5  # news need not wait for the next second; what falls together is told together
CLOSE_SECONDS = 2.0
FAST_INTERVAL_SECONDS = 0.5

log = structlog.get_logger("monitors.agent")


@dataclass(frozen=True)
class Hysteresis:
    looks_to_fall: int
    looks_to_rise: int


class Agent:
    """``fast_interval_seconds``: how soon a probe whose verdict is in question looks again."""

    def __init__(
        self,
        probes: Sequence[Probe],
        outlets: Sequence[Outlet],
        hysteresis: Hysteresis,
        clock: Clock,
        fast_interval_seconds: float = FAST_INTERVAL_SECONDS,
    ) -> None:
        self._probes = tuple(probes)
        self._outlets = tuple(outlets)
        self._hysteresis = hysteresis
        self._clock = clock
        self._fast_interval_seconds = fast_interval_seconds
        self._tracks: dict[Subject, Track] = {}
        self._under_way: dict[int, int] = {}
        self._seen_by: dict[int, frozenset[Subject]] = defaultdict(frozenset)
        self._turns: set[asyncio.Task[None]] = set()
        self._tick = 0
        self._changed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until told to stop; then close every connection."""
        tasks = [asyncio.create_task(self._pace()), asyncio.create_task(self._report())]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a broken pacer or reporter ends the process, loudly
        finally:
            for task in (stopping, *tasks, *self._turns):
                task.cancel()
            closing = [asyncio.ensure_future(probe.close()) for probe in self._probes]
            closing += [asyncio.ensure_future(outlet.close()) for outlet in self._outlets]
            if closing:
                await asyncio.wait(closing, timeout=CLOSE_SECONDS)

    def take(self, findings: Findings) -> None:
        """Judge looks and pass on what changed; doubts are told as a measure, so that nobody decides too early."""
        for look in findings.looks:
            before = self._tracks.get(look.subject, Track())
            after, change = judge(before, look, self._hysteresis.looks_to_fall, self._hysteresis.looks_to_rise)
            self._tracks[look.subject] = after
            if change is not None:
                self._changed.set()
                for outlet in self._outlets:
                    outlet.note(change)
            if before.doubted != after.doubted:
                self._measure(Measure(look.subject, "doubted", float(after.doubted), look.at))
        for measure in findings.measures:
            self._measure(measure)

    def _measure(self, measure: Measure) -> None:
        for outlet in self._outlets:
            outlet.measure(measure)

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        now = self._clock.now().timestamp()
        until_slot = -now % SLOT_SECONDS  # slots lie on the clock's own, so that phases are met and not rounded up
        wheel = _Wheel(self._probes, self._fast_interval_seconds, now + until_slot)
        begin = loop.time() + until_slot
        await asyncio.sleep(until_slot)
        while True:
            for number in wheel.due(self._in_question):
                probe = self._probes[number]
                if self._under_way.get(number, 0) < probe.turns_at_once:
                    self._start(number, probe)
            begin += SLOT_SECONDS
            behind = loop.time() - begin
            if behind > REPORT_SECONDS:  # the process was stopped or starved: go on from now, do not catch up
                log.warning("slept", seconds=round(behind, 3))
                begin += math.floor(behind)  # whole seconds: what keeps time goes on keeping it
            await asyncio.sleep(max(0.0, begin - loop.time()))

    def _in_question(self, number: int) -> bool:
        """Whether a turn of the probe is under way still, or its last look was at odds with the verdict."""
        if self._under_way.get(number, 0):
            return True
        return any(self._tracks[subject].streak for subject in self._seen_by[number] if subject in self._tracks)

    def _start(self, number: int, probe: Probe) -> None:
        self._under_way[number] = self._under_way.get(number, 0) + 1
        task = asyncio.create_task(self._turn(number, probe))
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)

    async def _turn(self, number: int, probe: Probe) -> None:
        try:
            findings = await probe.turn()
            self._seen_by[number] = frozenset(look.subject for look in findings.looks) or self._seen_by[number]
            self.take(findings)
        except asyncio.CancelledError:
            raise
        except Exception:  # one broken probe must not end the agent; it is logged, and told as not known
            # our own fault, not the target's: what this probe looks at is not known any more
            log.exception("probe broke", probe=probe.name)
            now, subjects = self._clock.now(), self._seen_by[number]
            self.take(Findings(tuple(Look(s, Outcome.BLIND, "broken", "the probe broke", now) for s in subjects)))
        finally:
            self._under_way[number] -= 1

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_report()):
                    await self._changed.wait()
            await asyncio.sleep(max(0.0, last + NEWS_SECONDS - loop.time()))
            self._changed.clear()
            last = loop.time()
            self._tick += 1
            for outlet in self._outlets:
                if not outlet.busy:
                    outlet.busy = True
                    task = asyncio.create_task(self._tell(outlet, self._tick))
                    self._turns.add(task)
                    task.add_done_callback(self._turns.discard)

    def _until_report(self) -> float:
        """Seconds to the next moment of the rhythm; one that is just now has been told of."""
        left = (REPORT_PHASE_SECONDS - self._clock.now().timestamp()) % REPORT_SECONDS
        return left if left >= SLOT_SECONDS else left + REPORT_SECONDS

    async def _tell(self, outlet: Outlet, tick: int) -> None:
        try:
            await outlet.tell(tick, self._clock.now())
        finally:
            outlet.busy = False


class _Wheel:
    """Which probes are due at each slot: phases are spread evenly unless a probe names its own, each probe comes round
    at its own interval, and sooner while it is in question. Slot 0 is at ``now_seconds``. Before its first turn each
    has one within the fast interval, for at its start an agent knows nothing: all is in question."""

    def __init__(self, probes: Sequence[Probe], fast_interval_seconds: float, now_seconds: float = 0.0) -> None:
        self._slot = 0
        self._fast = max(1, round(fast_interval_seconds / SLOT_SECONDS))
        self._every = [max(1, round(probe.interval_seconds / SLOT_SECONDS)) for probe in probes]
        self._due: dict[int, list[int]] = {}
        self._again: list[int] = [-1] * len(self._every)  # the slot at which to ask whether a probe is in question
        self._asks: dict[int, list[int]] = {}
        self._first: dict[int, list[int]] = {}
        for number, (probe, every) in enumerate(zip(probes, self._every, strict=True)):
            slot = number * every // max(1, len(probes))
            if probe.phase_seconds is not None:
                until = (probe.phase_seconds - now_seconds) % (every * SLOT_SECONDS)
                slot = math.ceil(round(until / SLOT_SECONDS, 6))
            self._due.setdefault(slot, []).append(number)
            early = number * self._fast // max(1, len(probes))
            if probe.phase_seconds is None and slot >= self._fast:
                self._first.setdefault(early, []).append(number)

    def due(self, in_question: Callable[[int], bool]) -> list[int]:
        numbers = self._due.pop(self._slot, [])
        for number in numbers:
            self._due.setdefault(self._slot + self._every[number], []).append(number)
        asked = [number for number in self._asks.pop(self._slot, ()) if self._again[number] == self._slot]
        found = numbers + [number for number in asked if number not in numbers and in_question(number)]
        found += self._first.pop(self._slot, ())
        for number in found:
            if self._fast < self._every[number]:
                self._again[number] = self._slot + self._fast
                self._asks.setdefault(self._again[number], []).append(number)
        self._slot += 1
        return found
