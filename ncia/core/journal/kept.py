"""Entries that the witness keeps itself: those that permit an irreversible act, each with its proof.

They are few and small and hold no citizen's data: a closed list of kinds. Each is a file of its own with the entry, the
cosigned head, and the path from one to the other, so that anybody can check it without the rest of the log.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Signature
from ncia.core.journal.entries import (
    JournalSworn,
    PointDeleted,
)
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    PlanMade,
    RunResumed,
    RunStarted,
    RunSworn,
)
from ncia.core.journal.entry import Entry, entry_from_text
from ncia.core.journal.tree import HASH_BYTES, verify_inclusion
from ncia.core.journal.witness import PROOF_HASHES_MAX, Ask, Witness, ask_text, read_ask, write_durably

PERMITS = frozenset(
    body.KIND for body in (PlanMade, ApprovalGiven, RunStarted, RunResumed, RunSworn, PointDeleted, JournalSworn)
)
AT_ONCE_MAX = 64
KEPT_MAX = 10_000  # entries of one site; the oldest give way
SUFFIX = ".json"


@dataclass(frozen=True)
class Proven:
    """An entry and its inclusion proof under a head that comes with it."""

    entry: Entry
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class KeepAsk:
    """The request to cosign ``cosign.head`` and to keep these entries, which are under it."""

    cosign: Ask
    entries: tuple[Proven, ...]


class Keeper:
    """The witness' folder of kept entries, beside its notes."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self._folder = folder
        self._witness = witness

    def keep(self, ask: KeepAsk) -> Signature:
        """Cosign the head, then keep the entries, all of it on disk before the cosignature is handed out."""
        head = ask.cosign.head
        for each in ask.entries:
            demand_permit(each, head)
        line = self._witness.add(ask.cosign)
        folder = self._folder / head.site
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in ask.entries:
            text = json.dumps(told(each, head), ensure_ascii=False)
            write_durably(folder / f"{each.entry.number:012d}{SUFFIX}", text)
        for old in sorted(folder.glob(f"*{SUFFIX}"))[:-KEPT_MAX]:
            old.unlink()
        return line

    def kept(self, site: SiteId) -> tuple[str, ...]:
        """What is kept of that site's log, oldest first, as JSON objects."""
        return tuple(file.read_text(encoding="utf-8") for file in sorted((self._folder / site).glob(f"*{SUFFIX}")))


def demand_permit(each: Proven, head: Checkpoint) -> None:
    """Raise :class:`NciaError` unless the entry is of a kind that is kept, of that log, and under that head."""
    entry = each.entry
    what = f"keep entry {entry.number} of {entry.site}'s log"
    if entry.kind not in PERMITS:
        why = f"{entry.kind} permits nothing irreversible"
        raise NciaError("witness.no-permit", what, why, ", ".join(sorted(PERMITS)))
    if entry.site != head.site or not verify_inclusion(
        entry.leaf_hash, entry.number, head.size, head.root, list(each.proof)
    ):
        why = f"it is not shown to be under the head {head.size} of {head.site}"
        raise NciaError("witness.not-included", what, why)


def told(each: Proven, head: Checkpoint) -> dict[str, Any]:
    return {"entry": each.entry.text, "proof": [part.hex() for part in each.proof], "note": head.note()}


def keep_text(ask: KeepAsk) -> str:
    entries = [{"entry": each.entry.text, "proof": [part.hex() for part in each.proof]} for each in ask.entries]
    return json.dumps({"ask": ask_text(ask.cosign), "entries": entries}, ensure_ascii=False)


def read_keep(text: str) -> KeepAsk:
    """The inverse; raises :class:`NciaError` where it is not one."""
    try:
        fields = json.loads(text)
        entries = tuple(_proven(each) for each in fields["entries"])
        ask = KeepAsk(read_ask(str(fields["ask"])), entries)
    except (ValueError, KeyError, TypeError) as error:
        raise NciaError("witness.bad-request", "read a request to keep entries", str(error)) from error
    if not 0 < len(ask.entries) <= AT_ONCE_MAX:
        raise NciaError("witness.bad-request", "read a request to keep entries", f"1 to {AT_ONCE_MAX} at once")
    return ask


def _proven(fields: dict[str, Any]) -> Proven:
    proof = tuple(bytes.fromhex(part) for part in fields["proof"])
    if len(proof) > PROOF_HASHES_MAX or any(len(part) != HASH_BYTES for part in proof):
        raise ValueError(f"a proof has at most {PROOF_HASHES_MAX} hashes of {HASH_BYTES} bytes")
    return Proven(entry_from_text(fields["entry"]), proof)
