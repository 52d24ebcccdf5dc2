"""Two sites with keys, a clock that the test owns, and journals of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ncia.core.base.ids import SiteId
from ncia.core.journal import Checkpoint, Entry, Journal, Signer, open_journal
from ncia.core.journal.cosign import Cosigner
from ncia.core.journal.entries import BackupFailed

EAST, WEST, THIRD = SiteId("east"), SiteId("west"), SiteId("third")  # two centres and the witness
PEER = {EAST: WEST, WEST: EAST}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def signer(site: SiteId, seed: str = "") -> Signer:
    """The site's key is a function of its name, so that a golden file stays what it is."""
    return Signer(site, Ed25519PrivateKey.from_private_bytes(sha256(f"{site}{seed}".encode()).digest()))


def cosigner(site: SiteId, seed: str = "") -> Cosigner:
    return Cosigner.of(signer(site, seed))


KEYS = {site: signer(site).public_key for site in PEER}
ALL_KEYS = {**KEYS, THIRD: signer(THIRD).public_key}


@dataclass
class SetClock:
    """Goes on by a millisecond at each look."""

    moment: datetime = EPOCH

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def boottime_ns(self) -> int:
        return 0


def sqlite_url(folder: Path, name: str) -> str:
    return f"sqlite:///{folder / name}.db"


def journal_of(site: SiteId, url: str, clock: SetClock | None = None, seed: str = "") -> Journal:
    return open_journal(url, peer=PEER[site], signer=signer(site, seed), keys=ALL_KEYS, clock=clock or SetClock())


def said(word: str) -> BackupFailed:
    """A small body."""
    return BackupFailed(job="backup-1", dataset="tax/rows", error=word)


def told(entry: Entry) -> str:
    assert isinstance(entry.body, BackupFailed)
    return entry.body.error


class JournalSource:
    """A peer's journal, read in this process."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.asked: list[str] = []

    def checkpoint(self, after: int = -1, patience_seconds: float = 0.0) -> Checkpoint:
        self.asked.append("checkpoint")
        return self.journal.checkpoint()

    def entries(self, start: int, limit: int) -> tuple[Entry, ...]:
        self.asked.append(f"entries {start} {limit}")
        return self.journal.entries(self.journal.site, start, limit)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        self.asked.append(f"consistency {first} {second}")
        return self.journal.consistency(first, second)
