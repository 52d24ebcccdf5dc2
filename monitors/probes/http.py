"""Looks over HTTP at what citizens use: a system's application at a site, and its entry."""

from __future__ import annotations

import json

from monitors.ports import Findings, Look, Measure, Outcome, Roles
from monitors.probes.wire import Answer, NoAnswer, Wire, request, tcp
from ncia.core.alerts.words import STANDBY, naming
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, Subject, SystemId
from ncia.core.estate.model import Address

LATENCY_EVERY_SECONDS = 5.0
CLAUSE_LENGTH_MAX = 120


class AppProbe:
    """The characteristic read of a system at one site: 200 where it is active, a standby's 503 elsewhere.

    Where this site knows the roles, a standby's answer from the active site is a bad one; measures how long the read
    takes, and the epoch under which the site itself says that the system is active.
    """

    phase_seconds: float | None = None
    turns_at_once = 3

    def __init__(
        self,
        system: SystemId,
        site: SiteId,
        address: Address,
        path: str,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
        roles: Roles,
    ) -> None:
        self.name = f"app:{system}@{site}"
        self.interval_seconds = interval_seconds
        self._subject = Subject(self.name)
        self._system = system
        self._site = site
        self._where = str(address)
        self._wire = Wire(tcp(address), self._where, timeout_seconds)
        self._request = request("GET", path, self._where)
        self._clock = clock
        self._roles = roles
        self._pace = _Pace()
        self._epoch = 0

    async def turn(self) -> Findings:
        at = self._clock.now()
        standing = self._roles.of(self._system)
        try:
            answer = await self._wire.ask(self._request)
        except NoAnswer as error:
            return Findings((Look(self._subject, Outcome.BAD, error.code, str(error), at),))
        look = self._judge(answer, standing.site if standing else None, Look(self._subject, Outcome.BAD, "", "", at))
        measures = []
        if look.code == "serving" and self._pace.due(at.timestamp()):
            taken = (self._clock.now() - at).total_seconds()
            measures.append(Measure(self._subject, "latency_seconds", round(taken, 6), at))
        if standing is not None and standing.site == self._site and standing.epoch != self._epoch:
            self._epoch = standing.epoch
            measures.append(Measure(self._subject, "active_epoch", float(standing.epoch), at))
        return Findings((look,), tuple(measures))

    async def close(self) -> None:
        await self._wire.close()

    def _judge(self, answer: Answer, active: SiteId | None, blank: Look) -> Look:
        if answer.status == 200:
            return Look(blank.subject, Outcome.GOOD, "serving", f"{self._where} serves", blank.at)
        if answer.status == 503 and answer.headers.get("x-ncia-standby") == "1":
            if active == self._site:
                why = f"{self._where} {STANDBY} although the system is active there"
                return Look(blank.subject, Outcome.BAD, "standby-where-active", why, blank.at)
            return Look(blank.subject, Outcome.GOOD, "standby", f"{self._where} {STANDBY}", blank.at)
        return Look(blank.subject, Outcome.BAD, *_refusal(answer, self._where), blank.at)


class EntryProbe:
    """The citizens' own way in: anything but 200 is bad."""

    phase_seconds: float | None = None
    turns_at_once = 3

    def __init__(
        self,
        system: SystemId,
        address: Address,
        path: str,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
    ) -> None:
        self.name = f"entry:{system}"
        self.interval_seconds = interval_seconds
        self._subject = Subject(self.name)
        self._where = str(address)
        self._wire = Wire(tcp(address), self._where, timeout_seconds)
        self._request = request("GET", path, self._where)
        self._clock = clock
        self._pace = _Pace()

    async def turn(self) -> Findings:
        at = self._clock.now()
        try:
            answer = await self._wire.ask(self._request)
        except NoAnswer as error:
            return Findings((Look(self._subject, Outcome.BAD, error.code, str(error), at),))
        if answer.status == 200:
            taken = (self._clock.now() - at).total_seconds()
            measures = (Measure(self._subject, "latency_seconds", round(taken, 6), at),)
            look = Look(self._subject, Outcome.GOOD, "serving", f"{self._where} serves", at)
            return Findings((look,), measures if self._pace.due(at.timestamp()) else ())
        return Findings((Look(self._subject, Outcome.BAD, *_refusal(answer, self._where), at),))

    async def close(self) -> None:
        await self._wire.close()


class _Pace:
    """Lets a measure through every few seconds, not at each look."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + LATENCY_EVERY_SECONDS
        return True


def _refusal(answer: Answer, where: str) -> tuple[str, str]:
    """Code and evidence of an answer that did not serve."""
    failed = answer.headers.get("x-ncia-failed-dependency")
    told, dependency = _told(answer.body)
    failed = failed or dependency
    finding = f"{where} answered {answer.status}" + (f" ({told})" if told else "")
    if failed:
        return f"dependency:{failed}", naming(finding, failed)
    return f"http-{answer.status}", finding


def _told(body: bytes) -> tuple[str, str]:
    """What a JSON error says of itself, short; and the dependency that it blames."""
    try:
        told = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(told, dict):
        return "", ""
    return str(told.get("error", ""))[:CLAUSE_LENGTH_MAX], str(told.get("failed_dependency") or "")
