"""What the newest proof of a dataset says, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from ncia.core.base.clock import to_text
from ncia.core.journal.entries import ProofFailed
from ncia.core.state import Proof

DIFFERENCES_TOLD_MAX = 3


@dataclass(frozen=True)
class ProofSaid:
    """``at`` None: never proven. ``matched`` None: never, or it could not be carried out."""

    point: str
    at: str | None
    matched: bool | None
    restore_seconds: float | None
    sentence: str


NEVER = ProofSaid("", None, None, None, "never proven: no copy of it was ever restored and compared")


def proof_said(proof: Proof | None) -> ProofSaid:
    if proof is None:
        return NEVER
    outcome, at = proof.outcome, to_text(proof.at)
    if isinstance(outcome, ProofFailed):
        return ProofSaid(outcome.point, at, None, None, f"could not be proven: {outcome.error}")
    rows = sum(table.rows for table in outcome.source)
    equal = f"restored and equal in {len(outcome.source)} tables, {rows} rows"
    unequal = f"restored and NOT equal: {'; '.join(outcome.differences[:DIFFERENCES_TOLD_MAX])}"
    return ProofSaid(outcome.point, at, outcome.matched, outcome.restore_seconds, equal if outcome.matched else unequal)
