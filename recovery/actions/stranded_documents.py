"""What the stores of a returned site hold of a system's documents and those of the active site do not.

The returned side is listed first: what its mirror brings meanwhile is at the active side already. Bytes stay where they
are, for nothing deletes them; only where the active site has others under the same name, so that the mirror will put
those in their place, are they kept beside the list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import DatasetId, RunId, SiteId, SystemId
from ncia.core.estate.model import BucketCopy, Dataset, Estate, TreeCopy
from ncia.core.work.documents import DOCUMENT_BYTES_MAX, MARK, OWN, Documents, Folder, Seen
from recovery.actions.evidence import keep_durably
from recovery.stranded_documents import Span, StrandedDocuments, likeness

ASIDE = f"{OWN}/aside"  # where a mirror puts what it would overwrite, in a folder named by the moment
READERS = 8
KEPT_BYTES_MAX = 256 * 1024 * 1024

Verdict = Literal["only here", "differs", "set aside", "bad name"]
StoreOf = Callable[[TreeCopy | BucketCopy], Documents]
SpanOf = Callable[[SystemId, str], Span]


@dataclass(frozen=True)
class Listed:
    """One document of the list. ``lies``: its name in the returned site's store now, which is another one than
    ``path`` where it was set aside; ``sha256``: empty where nobody may or can read it; ``kept``: its bytes, beside the
    list."""

    dataset: DatasetId
    path: str
    verdict: Verdict
    size_bytes: int
    sha256: str
    lies: str
    kept: str = ""


@dataclass(frozen=True)
class _Found:
    """``path``: as citizens' rows name it; ``seen``: as it lies in the store."""

    path: str
    seen: Seen
    verdict: Verdict


class StoredDocuments:
    """A :class:`recovery.stranded_documents.DocumentLists`; ``evidence`` is the folder at the controller's own site."""

    def __init__(self, estate: Estate, store_of: StoreOf, span_of: SpanOf, evidence: Path) -> None:
        self._estate = estate
        self._store_of = store_of
        self._span_of = span_of
        self._evidence = evidence

    def list_stranded(
        self, system: SystemId, site: SiteId, active: SiteId, run: RunId, taken_by: str
    ) -> StrandedDocuments:
        span, listed = self._span_of(system, taken_by), list[Listed]()
        for dataset in self._estate.systems[system].documents:
            here, there = (self._store_of(dataset.documents[each]) for each in (site, active))
            listed += _Comparison(dataset, here, there, span, self._folder(system, run)).list()
        since, until = (to_text(moment) if moment else "" for moment in (span.since, span.until))
        told = {"run": run, "system": system, "site": site, "since": since, "until": until}
        rows = [asdict(each) for each in sorted(listed, key=lambda each: (each.dataset, each.path, each.lies))]
        text = json.dumps({**told, "documents": rows}, indent=1, sort_keys=True)  # ASCII: a bad name may be no UTF-8
        path, content = self._path(system, run), text.encode()
        keep_durably(path, content)
        return self._sealed(path, content)

    def stranded_listed(self, system: SystemId, run: RunId) -> StrandedDocuments | None:
        path = self._path(system, run)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        return self._sealed(path, content)

    def _sealed(self, path: Path, content: bytes) -> StrandedDocuments:
        told = json.loads(content)
        since, until = (from_text(told[name]) if told[name] else None for name in ("since", "until"))
        return StrandedDocuments(
            span=Span(since, until),
            documents=len(told["documents"]),
            size_bytes=sum(each["size_bytes"] for each in told["documents"]),
            evidence=str(PurePosixPath(self._evidence.name) / path.parent.name / path.name),
            sha256=hashlib.sha256(content).hexdigest(),
        )

    def _path(self, system: SystemId, run: RunId) -> Path:
        return self._evidence / run / f"{system}.documents.json"

    def _folder(self, system: SystemId, run: RunId) -> Path:
        return self._evidence / run / f"{system}.documents"


@dataclass(frozen=True)
class _Comparison:
    """One dataset's two copies. ``folder``: for bytes that would be overwritten."""

    dataset: Dataset
    here: Documents
    there: Documents
    span: Span
    folder: Path

    def list(self) -> list[Listed]:
        what = f"list the documents of {self.dataset.id} that only {self.here.where} holds"
        for store in (self.here, self.there):
            if store.get(MARK) is None:
                why = f"{store.where} holds no canary: it is empty, or not the store that it was"
                raise NciaError("recovery.no-canary", what, why, "is its disk there? then let the run try again")
        with ThreadPoolExecutor(READERS, "stranded") as pool:
            found = [each for kept in pool.map(self._judged, self._candidates()) for each in kept]
            self._demand_bounded(found, what)
            return list(pool.map(self._read, found))

    def _candidates(self) -> Iterator[_Found | tuple[Seen, Seen | None]]:
        """What the two listings cannot call the same."""
        for folder, here in _walk(self.here, "", self._meets):
            own = [seen for seen in here.documents if self.span.takes(seen, self._by_time)]
            there = {seen.name: seen for seen in self.there.look(folder).documents} if own else {}
            yield from ((seen, there.get(seen.name)) for seen in own)
            yield from (_Found(name, Seen(name, 0, 0.0), "bad name") for name in here.refused)
        yield from self._set_aside()

    def _set_aside(self) -> Iterator[_Found]:
        """What a mirror into this side took away from its place since then, before it was listed."""
        since = f"{ASIDE}/{self.span.since.astimezone(UTC):%Y%m%dT%H%M%S}" if self.span.since else ASIDE
        for moment in (each for each in self.here.look(ASIDE).folders if each >= since):
            prefix = f"{moment}/"
            for _, aside in _walk(self.here, moment, partial(self._meets_below, prefix)):
                yield from (_Found(seen.name.removeprefix(prefix), seen, "set aside") for seen in aside.documents)

    def _meets_below(self, prefix: str, folder: str) -> bool:
        return self._meets(folder.removeprefix(prefix))

    @property
    def _by_time(self) -> bool:
        return self.dataset.partition == "time"

    def _meets(self, folder: str) -> bool:
        return not self._by_time or self.span.meets(folder)

    def _judged(self, candidate: _Found | tuple[Seen, Seen | None]) -> Iterable[_Found]:
        if isinstance(candidate, _Found):
            return (candidate,)
        here, there = candidate
        alike = likeness(here, there)
        if alike == "unknown" and here.size_bytes <= DOCUMENT_BYTES_MAX:
            alike = "same" if self.here.get(here.name) == self.there.get(here.name) else "other"
        if alike == "same":
            return ()
        return (_Found(here.name, here, "only here" if alike == "absent" else "differs"),)

    def _demand_bounded(self, found: Iterable[_Found], what: str) -> None:
        size = sum(each.seen.size_bytes for each in found if each.verdict == "differs")
        if size > KEPT_BYTES_MAX:
            why = f"{size} bytes differ from what {self.there.where} has, more than the {KEPT_BYTES_MAX} that are kept"
            hint = f"keep a copy of {self.here.where}, then fail back by hand"
            raise Refusal("recovery.too-much-stranded", what, why, hint)

    def _read(self, found: _Found) -> Listed:
        seen = found.seen
        listed = Listed(self.dataset.id, found.path, found.verdict, seen.size_bytes, "", seen.name)
        if found.verdict == "bad name" or seen.size_bytes > DOCUMENT_BYTES_MAX:
            return listed
        content = self.here.get(seen.name)
        if content is None:
            what = f"read {seen.name} from {self.here.where}"
            raise NciaError("recovery.document-gone", what, "it was listed a moment ago and is not there", "try again")
        sha256, kept = hashlib.sha256(content).hexdigest(), ""
        if found.verdict == "differs":
            kept = f"{self.folder.name}/{sha256}"
            keep_durably(self.folder / sha256, content)
        return Listed(self.dataset.id, found.path, found.verdict, len(content), sha256, seen.name, kept)


def _walk(store: Documents, top: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Folder]]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        seen = store.look(folder)
        yield folder, seen
        waiting += [each for each in seen.folders if wanted(each)]
