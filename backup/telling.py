"""What is protected, since when, by which point: as plain values for the API. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backup.plan import Charge, due_at
from ncia.core.base.clock import to_text
from ncia.core.estate.model import Estate
from ncia.core.journal.entries import ProofFinished
from ncia.core.state import Missed, Proof, RecoveryPoint, State


def listing(estate: Estate, state: State, charges: Sequence[Charge], since: datetime) -> dict[str, Any]:
    """``datasets`` of this site's charge with when they are due next; every point, newest first; ``missed``."""
    points = [point for dataset in estate.datasets for point in state.points.get(dataset, ())]
    points.sort(key=lambda point: point.at, reverse=True)
    return {
        "datasets": [_dataset(charge, state, since) for charge in charges],
        "points": [_point(point, state) for point in points],
        "missed": [_missed(each) for each in state.missed],
    }


def _dataset(charge: Charge, state: State, since: datetime) -> dict[str, Any]:
    newest, proven = state.newest_point(charge.dataset.id), state.newest_proven(charge.dataset.id)
    return {
        "dataset": charge.dataset.id,
        "system": charge.dataset.system,
        "source_site": charge.source_site,
        "store_site": charge.store_site,
        "interval_seconds": charge.interval_seconds,
        "due_at": to_text(due_at(charge, state, since)),
        "newest_point": newest.id if newest else None,
        "proven_point": proven.id if proven else None,
        "proven_at": to_text(proven.proof.at) if proven and proven.proof else None,
    }


def _point(point: RecoveryPoint, state: State) -> dict[str, Any]:
    backup, proof = point.backup, point.proof
    compared = proof.outcome if proof and isinstance(proof.outcome, ProofFinished) else None
    return {
        "point": point.id,
        "dataset": point.dataset,
        "at": to_text(point.at),
        "store_site": backup.store_site,
        "path": backup.path,
        "copies": [each.copied.store_site for each in state.copies_of(point.dataset, point.id)],
        "snapshots": [{"site": s, "snapshot": id} for s, id in state.snapshots_of(point.dataset, point.id).items()],
        "size_bytes": backup.size_bytes,
        "files": backup.files,
        "seconds": backup.seconds,
        "compare_lsn": backup.compare_lsn,
        "proof": proof_word(proof),
        "proved_at": to_text(proof.at) if proof else None,
        "restore_seconds": compared.restore_seconds if compared else None,
        "sentence": _proof_sentence(proof),
    }


def proof_word(proof: Proof | None) -> str:
    """``matched``, ``differs``, ``failed`` (nothing could be compared), or ``none``."""
    if proof is None:
        return "none"
    if not isinstance(proof.outcome, ProofFinished):
        return "failed"
    return "matched" if proof.outcome.matched else "differs"


def _proof_sentence(proof: Proof | None) -> str:
    if proof is None:
        return "never restored: it does not count yet"
    if not isinstance(proof.outcome, ProofFinished):
        return proof.outcome.error
    if proof.outcome.differences:
        return "; ".join(proof.outcome.differences)
    rows = sum(each.rows for each in proof.outcome.copy_)
    return f"{len(proof.outcome.copy_)} tables, {rows} rows the same"


def _missed(each: Missed) -> dict[str, Any]:
    return {"job": each.run.job, "dataset": each.run.dataset, "due_at": each.run.due_at, "reason": each.run.reason}
