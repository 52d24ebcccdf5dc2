"""What a burning left behind: the figures of the main job, and what is wrong with them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ncia.core.base.clock import from_text
from ncia.lab.citizens.referee import Judgement


@dataclass(frozen=True)
class SystemOutcome:
    """``predicted_loss_seconds`` was read before the kill; ``lost_seconds`` is the last acknowledged act minus the last
    that survived; ``rto_seconds`` from the last act acknowledged before the kill to the first at the new site.
    ``unwatched_seconds``: from that reading until the site was gone, in which more could be lost than was predicted; 0
    where commits wait for the other site."""

    id: str
    grade: int
    acked: int
    lost_acked: int
    predicted_loss_seconds: float | None
    lost_seconds: float
    rto_seconds: float | None
    active_site: str
    documents: int = 0  # of acknowledged acts, read and compared
    unwatched_seconds: float = 0.0

    @property
    def loss_seconds_max(self) -> float | None:
        """What may be lost without the prediction having been wrong. A grade-1 system has no such leave."""
        if self.predicted_loss_seconds is None or self.grade == 1:
            return self.predicted_loss_seconds
        return self.predicted_loss_seconds + self.unwatched_seconds


@dataclass(frozen=True)
class Moments:
    killed_at: datetime
    detect_seconds: float
    approved_at: str  # the second approval


@dataclass(frozen=True)
class Outcome:
    """Seconds throughout. ``approval_to_write_seconds``: from the later of second approval and lease expiry until every
    grade-1 system had written; ``…_all_…``: until every moved system had."""

    systems: tuple[SystemOutcome, ...]
    detect_seconds: float
    kill_to_lease_expired_seconds: float | None
    kill_to_approved_seconds: float | None
    approval_to_write_seconds: float | None
    approval_to_all_seconds: float | None
    kill_to_first_grade1_write_seconds: float | None
    kill_to_all_seconds: float | None
    restores_proven: int
    named_loss_matches: bool  # the product's list of lost acts is the citizens' own
    journal_verified: bool
    wall_seconds: float
    failures: tuple[str, ...] = field(default=())

    @property
    def correct(self) -> bool:
        return not self.failures

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "correct": self.correct})


@dataclass(frozen=True)
class NamedLoss:
    """The product's list of lost acts against the citizens' own: acts by system. ``unheard`` are lost acts whose
    acknowledgement left the door and did not reach the citizen: they may be named, and nobody misses them."""

    named: Mapping[str, frozenset[str]]
    lost: Mapping[str, frozenset[str]]
    unheard: Mapping[str, frozenset[str]]
    proven: bool  # nothing unnamed, nothing that could not be compared

    def wrongs(self) -> list[str]:
        found = []
        for system in sorted(self.named.keys() | self.lost.keys()):
            named, lost = self.named.get(system, frozenset()), self.lost.get(system, frozenset())
            missing, strange = lost - named, named - lost - self.unheard.get(system, frozenset())
            if missing:
                found.append(f"{system}: {len(missing)} lost acts have no name, such as {min(missing)}")
            if strange:
                found.append(f"{system}: {len(strange)} acts are named as lost and are not, such as {min(strange)}")
        if not self.proven:
            found.append("the loss report says that loss may be unnamed")
        return found


def named_loss(report: Mapping[str, Any], judgements: Iterable[Judgement]) -> NamedLoss:
    """``report`` as the API tells it, for all systems that the lost site served."""
    named: dict[str, set[str]] = {}
    for agency in report["agencies"]:
        for act in agency["lost"]:
            named.setdefault(act["system"], set()).add(act["id"])
    known = tuple(judgements)
    return NamedLoss(
        named={system: frozenset(acts) for system, acts in named.items()},
        lost={j.system: frozenset(j.lost_acked) for j in known},
        unheard={j.system: frozenset(j.unknown_lost) for j in known},
        proven=not report["unnamed"] and not report["uncompared"],
    )


def timing(moments: Moments, run: Mapping[str, Any]) -> dict[str, float | None]:
    """The seconds of :class:`Outcome` from the run as the API tells it; None where a moment never came."""
    expired = moment(run["lease_expired_seen_at"])
    approved = from_text(moments.approved_at)
    written = {s["system"]: moment(s["first_write_at"]) for s in run["systems"]}
    grade1 = [written[s["system"]] for s in run["systems"] if s["grade"] == 1]
    free = max(approved, expired) if expired else None
    return {
        "kill_to_lease_expired_seconds": between(moments.killed_at, expired),
        "kill_to_approved_seconds": between(moments.killed_at, approved),
        "approval_to_write_seconds": between(free, latest(grade1)),
        "approval_to_all_seconds": between(free, latest(list(written.values()))),
        "kill_to_first_grade1_write_seconds": between(moments.killed_at, min((w for w in grade1 if w), default=None)),
        "kill_to_all_seconds": between(moments.killed_at, latest(list(written.values()))),
    }


def wrongs(system: SystemOutcome, judgement: Judgement, *, moved: bool) -> list[str]:
    """Everything that is not correct about one system, each in one sentence."""
    found = []
    if system.acked == 0:
        found.append(f"{system.id}: no act was acknowledged, so nothing was shown")
    if judgement.altered:
        found.append(f"{system.id}: {len(judgement.altered)} acknowledged acts changed their content")
    if judgement.refused_found:
        found.append(f"{system.id}: {len(judgement.refused_found)} refused or failed acts are in the rows")
    if system.grade == 1 and system.lost_acked:
        papers = f", {len(judgement.lost_documents)} of them for want of their document"
        told = papers if judgement.lost_documents else ""
        found.append(f"{system.id}: {system.lost_acked} acknowledged grade-1 acts are lost{told}")
    if moved and system.rto_seconds is None:
        found.append(f"{system.id}: no act was acknowledged at the new site")
    if moved and system.predicted_loss_seconds is None:
        found.append(f"{system.id}: its loss was not predicted before the kill")
    elif system.loss_seconds_max is not None and system.lost_seconds > system.loss_seconds_max:
        expected = f"{system.predicted_loss_seconds:.2f} s predicted"
        if system.loss_seconds_max != system.predicted_loss_seconds:
            expected += f" {system.unwatched_seconds:.2f} s before the loss"
        found.append(f"{system.id}: lost {system.lost_seconds:.2f} s, more than the {expected}")
    return found


def moment(text: str | None) -> datetime | None:
    return None if text is None else from_text(text)


def between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 2)


def latest(moments: list[datetime | None]) -> datetime | None:
    """The last of them; None where one never came."""
    return max((m for m in moments if m is not None), default=None) if all(moments) else None
