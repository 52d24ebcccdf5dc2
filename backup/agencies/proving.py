"""When a snapshot is restored and compared again, and what a comparison comes to: values in, values out.

Each centre proves its own place: it restores a sample of the newest whole snapshot of each dataset, and holds it
against the documents in its own store. A reading of every byte proves that what was written is there; this proves that
what is there are the documents.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SHORT, SiteId
from ncia.core.estate.model import Agency, Dataset, Estate
from ncia.core.estate.repository import AgencyRepository
from ncia.core.state import State
from ncia.core.state.repositories import ExpectedSnapshot, RepositoryFact
from ncia.core.work.documents import Seen
from ncia.core.work.jobs import JobId

PROVE = "prove-snapshot"  # verb of jobs
RETRY_SECONDS = 3_600.0  # after a proof that could not be carried out
FAILED_SECONDS = 86_400.0  # after one that proved nothing, or the contrary
FIRST_SHARE = 1 / 7  # of an interval: so soon after a place was made
LATE_SHARE = 0.5  # of an interval: so much later it waits for no quiet hour any longer
SAMPLE_BYTES_MAX = 64_000_000
SAMPLE_DOCUMENTS_MAX = 200
GRAIN_SECONDS = 1.0  # SFTP tells whole seconds
SETTLED_SECONDS = 86_400.0  # so much older than a snapshot, a document is in it
NAMED_MAX = 5


@dataclass(frozen=True)
class Proving:
    """A snapshot that is to be proven in the place of ``site``. ``urgent``: it waits for no quiet hour any longer."""

    agency: Agency
    site: SiteId
    dataset: Dataset
    newest: ExpectedSnapshot
    due_at: datetime
    urgent: bool

    def job(self, now: datetime) -> JobId:
        """Its name; another one after a while, where the first has failed."""
        where, tried = f"{self.dataset.id}@{self.site}", int(now.timestamp() // RETRY_SECONDS)
        return f"prove:{where}:{to_text(self.due_at)}:{tried}"


def provings(estate: Estate, state: State, site: SiteId, now: datetime) -> tuple[Proving, ...]:
    """What is due at ``site``, the longest first."""
    found = []
    for agency in estate.agencies.values():
        fact = state.repositories.get((agency.id, site))
        if fact is None or agency.repository is None or fact.trouble() is not None:
            continue
        for dataset in owned(estate, agency, site):
            newest = fact.newest_whole(dataset.id)
            moment = next_at(fact, agency.repository, dataset.id)
            if newest is not None and moment <= now:
                late = timedelta(seconds=LATE_SHARE * agency.repository.prove_interval_seconds)
                found.append(Proving(agency, site, dataset, newest, moment, moment + late <= now))
    return tuple(sorted(found, key=lambda each: (each.due_at, each.dataset.id)))


def owned(estate: Estate, agency: Agency, site: SiteId) -> tuple[Dataset, ...]:
    """An agency's documents that ``site`` has a store of."""
    systems = (system for system in estate.systems.values() if system.agency == agency.id)
    return tuple(each for system in systems for each in system.documents if site in each.documents)


def next_at(fact: RepositoryFact, repository: AgencyRepository, dataset: str) -> datetime:
    """An interval after the last one; a day where that failed: what was in its way may be over."""
    last, interval = fact.proofs.get(dataset), repository.prove_interval_seconds
    if last is not None:
        return last.at + timedelta(seconds=min(interval, FAILED_SECONDS) if last.error else interval)
    return fact.made_at + timedelta(seconds=interval * FIRST_SHARE)


def sample(documents: Iterable[Seen], seed: str, before: datetime) -> tuple[Seen, ...]:
    """So many of them that they can be restored beside other work, others each time; first those that a snapshot of
    ``before`` can hold."""

    def rank(each: Seen) -> tuple[bool, bytes]:
        return each.modified_at > before.timestamp(), hashlib.sha256(f"{seed}\n{each.name}".encode()).digest()

    chosen: list[Seen] = []
    left = SAMPLE_BYTES_MAX
    for each in heapq.nsmallest(SAMPLE_DOCUMENTS_MAX, documents, key=rank):
        if each.size_bytes <= left or not chosen:
            chosen.append(each)
            left -= each.size_bytes
    return tuple(chosen)


@dataclass
class Comparison:
    """``passed_over``: documents of another time than the snapshot's, which say nothing."""

    at: datetime  # of the snapshot, by the clock of whoever made it
    documents: int = 0
    size_bytes: int = 0
    passed_over: int = 0
    faults: list[str] = field(default_factory=list)

    def lack(self, seen: Seen, staged: bool) -> None:
        """A document of the store of which nothing came back. That is a fault where it was ``staged`` for the snapshot
        and is a day older: a mirror keeps what was deleted, and what is moved into a store keeps its time."""
        if staged and seen.modified_at + SETTLED_SECONDS < self.at.timestamp():
            self.faults.append(f"{seen.name} is not in it, and was staged for it")
        else:
            self.passed_over += 1

    def compare(self, seen: Seen, content: bytes, restored: bytes, modified_at: float) -> None:
        """A document of the store beside what came back of it. One that differs is a fault where both are of one time:
        else it was written anew."""
        if restored == content:
            self.documents += 1
            self.size_bytes += len(content)
        elif abs(modified_at - seen.modified_at) < GRAIN_SECONDS:
            self.faults.append(f"{seen.name} came back with other content than the document of the same time")
        else:
            self.passed_over += 1

    def why_not(self, losses: Sequence[str]) -> str:
        """Why a snapshot is not proven by it; empty where it is."""
        if self.faults or losses:
            told = [*losses, *self.faults]
            more = len(told) - NAMED_MAX
            return "; ".join([*told[:NAMED_MAX], *([f"and {more} more"] if more > 0 else [])])
        if not self.documents:
            return "nothing of it could be compared: every document that was looked at is of another time or not in it"
        return ""


def empty_store(files: int) -> str:
    """Why a snapshot of so many files (-1: nobody knows) is not proven by a store that lists no document."""
    if not files:
        return ""
    told = "" if files < 0 else f", and {files} files are in it"
    return f"nothing of it could be compared: the store lists no document{told}"


def unwell(fact: RepositoryFact, repository: AgencyRepository, dataset: str, now: datetime) -> str:
    """In one clause what a person must know of a dataset's proofs here; empty where all is well."""
    last = fact.proofs.get(dataset)
    if last is not None and last.error:
        return f"its snapshot {last.snapshot[:SHORT]} is not proven: {last.error}"
    late = next_at(fact, repository, dataset) + timedelta(seconds=repository.prove_interval_seconds)
    if fact.newest_whole(dataset) is not None and late <= now:
        since = f"since {to_text(last.at)[:16]}Z" if last is not None else "ever"
        return f"no snapshot of it was restored and compared {since}"
    return ""
