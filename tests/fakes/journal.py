"""A journal in memory: what was appended is durable, whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import Body
from ncia.core.journal.entry import Entry, make_entry


class FakeJournal:
    """``on_append`` is called with "before" and "after" each append: a place to be killed at."""

    def __init__(
        self,
        site: SiteId,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_append: Callable[[str], None] = lambda when: None,
    ) -> None:
        self.site = site
        self.written: list[Entry] = []
        self.on_append = on_append
        self._now = now
        self._callbacks: list[Callable[[Entry], None]] = []

    def append_all(self, bodies: Sequence[Body], *, by: str) -> tuple[Entry, ...]:
        self.on_append("before")
        start = len(self.written)
        entries = tuple(make_entry(self.site, start + n, self._now(), by, 0, body) for n, body in enumerate(bodies))
        self.written.extend(entries)
        self.on_append("after")
        for entry in entries:
            for callback in self._callbacks:
                callback(entry)
        return entries

    def merged(self) -> Iterator[Entry]:
        return iter(tuple(self.written))

    def subscribe(self, callback: Callable[[Entry], None]) -> None:
        self._callbacks.append(callback)

    def restarted(self) -> FakeJournal:
        """The same log, opened by the next process."""
        again = FakeJournal(self.site, self._now, self.on_append)
        again.written = self.written
        return again

    def bodies(self, kind: type[Body]) -> list[Body]:
        return [entry.body for entry in self.written if isinstance(entry.body, kind)]
