"""Three agents and a controller in simulated time: looks at their own phases, time-outs, reports, ticks.

Real judge, outlet, intake and task on a real journal; only the network and the clock are made up.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from monitors.agent import Agent, Hysteresis
from monitors.outlet import Outlet
from monitors.ports import Findings, Look, Outcome
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId, Subject
from ncia.core.journal.entries import IncidentOpened
from tests.core.alerts.world import NORTH, SOUTH, THIRD, World
from tests.monitors.centres import Centre

INTERVAL, TIMEOUT, TICK = 1.0, 1.5, 0.5
AGENTS = (NORTH, SOUTH, THIRD)


@dataclass
class Line:
    """The way from one agent to the controller: open while both live and reach each other."""

    name: str
    deliver: Callable[[bytes], None]
    is_open: Callable[[], bool]
    connected: bool = False

    async def send(self, body: bytes) -> None:
        if not self.is_open():
            self.connected = False
            raise Unreachable("x", "report", "cut")
        self.connected = True
        self.deliver(body)

    async def close(self) -> None: ...


@dataclass
class Simulation:
    """``swallows``: a lost look ends at its time-out; otherwise it is refused at once."""

    centre: Centre
    before: World
    after: World
    breaks_at: float
    seed: int
    swallows: bool = True
    opened: list[tuple[float, str]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        self.start = self.centre.clock.moment
        self._sights = {(w is self.after, s): w.sights(s) for w in (self.before, self.after) for s in AGENTS}
        dice = random.Random(self.seed)
        order, events = itertools.count(), []

        def at(moment: float, what: Callable[[], None]) -> None:
            heapq.heappush(events, (moment, next(order), what))

        for site in AGENTS:
            line = Line(site, lambda body, s=site: self._deliver(s, body), lambda s=site: self._reports(s))
            outlet = Outlet(line)
            agent = Agent([], [outlet], Hysteresis(3, 2), self.centre.clock)
            for subject in self.before.sights(site):
                phase = dice.random() * INTERVAL
                for turn in range(int(seconds)):
                    at(phase + turn, lambda a=agent, s=site, x=subject, m=phase + turn: self._look(a, s, x, m, at))
            phase = dice.random()
            for turn in range(int(seconds)):
                at(phase + turn, lambda o=outlet, s=site: self._tell(o, s))
        for turn in range(int(seconds / TICK)):
            at(turn * TICK + 0.3, self._tick)
        while events:
            self.now, _, what = heapq.heappop(events)
            self.centre.clock.moment = self._moment(self.now)
            what()

    def _moment(self, seconds: float) -> datetime:
        from datetime import timedelta

        return self.start + timedelta(seconds=seconds)

    def _world(self, moment: float) -> World:
        return self.before if moment < self.breaks_at else self.after

    def _lives(self, site: SiteId) -> bool:
        return self._world(self.now).works(f"site:{site}", f"agent:{site}")

    def _reports(self, site: SiteId) -> bool:
        return self._lives(site) and self._world(self.now).reaches(site, self.centre.site)

    def _look(self, agent: Agent, site: SiteId, subject: str, began: float, at: Callable[..., None]) -> None:
        if not self._lives(site):
            return
        sight = self._sights[self._world(began) is self.after, site][subject]
        outcome = {"up": Outcome.GOOD, "down": Outcome.BAD, "unknown": Outcome.BLIND}[sight.verdict]
        look = Look(Subject(subject), outcome, sight.evidence or outcome.value, sight.evidence, self._moment(began))
        waits = TIMEOUT if outcome is not Outcome.GOOD and self.swallows else 0.01
        at(began + waits, lambda: agent.take(Findings((look,))))

    def _tell(self, outlet: Outlet, site: SiteId) -> None:
        if self._lives(site):
            asyncio.run(outlet.tell(1))

    def _deliver(self, site: SiteId, body: bytes) -> None:
        self.centre.intake.report(site, json.loads(body))

    def _tick(self) -> None:
        known = len(self.opened)
        self.centre.task.tick()
        roots = [body.root for body in self.centre.bodies(IncidentOpened) if isinstance(body, IncidentOpened)]
        self.opened += [(self.now - self.breaks_at, root) for root in roots[known:]]
