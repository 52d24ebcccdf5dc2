"""Looks at a site's own services in one turn: its controller, its etcd member, its warden; of another site also the
site itself, which is up while any of them answers anything at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from monitors.ports import Findings, Look, Outcome
from monitors.probes.wire import Answer, Dial, NoAnswer, Wire, request, tcp
from ncia.core.alerts.words import NO_QUORUM
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, Subject
from ncia.core.estate.model import Address


@dataclass(frozen=True)
class Doors:
    """A site's services as dialled from the vantage; ``None`` where the site runs no such service. ``api_dial``: how
    its controller is dialled, where that is not in the clear."""

    api: Address | None
    etcd: Address | None
    warden: Address | None
    api_dial: Dial | None = None


class SiteProbe:
    phase_seconds: float | None = None
    turns_at_once = 3

    def __init__(
        self,
        site: SiteId,
        doors: Doors,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
        *,
        from_outside: bool,
    ) -> None:
        self.name = f"site:{site}"
        self.interval_seconds = interval_seconds
        self._site = site
        self._from_outside = from_outside
        self._clock = clock
        # of its own site, the lease says more about the warden than a port does
        known = {
            "api": (doors.api, "/v1/health"),
            "etcd": (doors.etcd, "/health"),
            "warden": (doors.warden if from_outside else None, "/"),
        }
        dials = {"api": doors.api_dial} if doors.api_dial else {}
        self._doors = {
            name: (
                Wire(dials.get(name) or tcp(address), str(address), timeout_seconds),
                request("GET", path, str(address)),
            )
            for name, (address, path) in known.items()
            if address is not None
        }

    async def turn(self) -> Findings:
        at = self._clock.now()
        answers = await asyncio.gather(*(_ask(wire, asked) for wire, asked in self._doors.values()))
        found = dict(zip(self._doors, answers, strict=True))
        looks = []
        if "api" in found:
            looks.append(_of_api(Subject(f"api:{self._site}"), found["api"], at))
        if "etcd" in found:
            looks.append(_of_etcd(Subject(f"etcd:{self._site}"), found["etcd"], at))
        if self._from_outside and found:
            looks.append(_of_site(Subject(self.name), found, at))
        return Findings(tuple(looks))

    async def close(self) -> None:
        for wire, _ in self._doors.values():
            await wire.close()


async def _ask(wire: Wire, asked: bytes) -> Answer | NoAnswer:
    try:
        return await wire.ask(asked)
    except NoAnswer as error:
        return error


def _of_api(subject: Subject, found: Answer | NoAnswer, at: datetime) -> Look:
    if isinstance(found, NoAnswer):
        return Look(subject, Outcome.BAD, found.code, str(found), at)
    if found.status != 200:
        return Look(subject, Outcome.BAD, "refused-health", f"the controller answered {found.status}", at)
    return Look(subject, Outcome.GOOD, "ok", "the controller answers", at)


def _of_etcd(subject: Subject, found: Answer | NoAnswer, at: datetime) -> Look:
    """A member's own ``/health`` includes a linearisable read: a member without quorum is not healthy."""
    if isinstance(found, NoAnswer):
        return Look(subject, Outcome.BAD, found.code, str(found), at)
    try:
        healthy = json.loads(found.body).get("health") in ("true", True)
    except (ValueError, AttributeError):
        healthy = False
    if found.status == 200 and healthy:
        return Look(subject, Outcome.GOOD, "ok", "the member is healthy", at)
    return Look(subject, Outcome.BAD, "unhealthy", f"the member answers, but {NO_QUORUM}", at)


def _of_site(subject: Subject, found: Mapping[str, Answer | NoAnswer], at: datetime) -> Look:
    answering = [name for name, answer in found.items() if isinstance(answer, Answer)]
    if answering:
        return Look(subject, Outcome.GOOD, "ok", f"{answering[0]} answers", at)
    why = "; ".join(f"{name}: {answer}" for name, answer in found.items())
    return Look(subject, Outcome.BAD, "nothing-answers", f"nothing of it answers ({why})", at)
