"""The folder of one system's receiver: one sub-folder for each term of a primary, and what is handed to the standby.

``<root>/term-<epoch>/`` is what ``pg_receivewal`` writes while the system is active at the other site under that
epoch; timelines of two primaries never meet in one folder. ``<root>/handed/`` is where the standby's
``restore_command`` looks: it exists only between a hand-over and the next term, so a standby in normal times never
sees a partial segment.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.lsn import lsn_text
from recovery.receiving.wal import HISTORY, Segment, last_record, needless, segment_of, unbroken

TERM = re.compile(r"term-([0-9]+)")
HANDED, STAGED = "handed", "staged"
MARK = "handed-over"  # in a term's folder: it is over, nothing is received into it any more
TERMS_KEPT = 2  # the present one, and the one before it: what a lost primary wrote last
SEGMENTS_KEPT = 2  # behind the standby's replay: it may have to read them once more after a restart

Dump = Callable[[Path, int, int], Iterable[str]]
"""``pg_waldump`` over a folder: the lines of the records of that timeline from that position on."""


@dataclass(frozen=True)
class Held:
    """What a receiver holds of one term. ``last_record_lsn`` is where the last whole record begins: a standby has
    everything once it has replayed *past* that. ``newest_at``: when the newest byte was written."""

    epoch: int
    timeline: int
    first_lsn: str
    last_record_lsn: str
    segments: int
    newest_at: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Place:
    """The receiver's folder of one system; whoever calls sees to it that nothing is being received meanwhile, but for
    :meth:`segments` and :meth:`prune`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.handed = root / HANDED

    def term(self, epoch: int) -> Path:
        return self.root / f"term-{epoch}"

    def newest(self) -> int | None:
        """The newest term that there is a folder of."""
        return max(self._terms(), default=None)

    def begin(self, epoch: int) -> Path:
        """The folder to receive into. What was handed over in an earlier term is void; old terms are let go."""
        folder = self.term(epoch)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.is_over(epoch):
            shutil.rmtree(self.handed, ignore_errors=True)
        for old in sorted(self._terms())[:-TERMS_KEPT]:
            shutil.rmtree(self.term(old), ignore_errors=True)
        return folder

    def is_over(self, epoch: int) -> bool:
        return (self.term(epoch) / MARK).exists()

    def segments(self, epoch: int) -> tuple[Segment, ...]:
        """The newest unbroken row of what the term holds."""
        found = []
        for file in self._files(self.term(epoch)):
            with suppress(OSError):  # it was renamed or pruned while we looked
                segment = segment_of(file.name, file.stat().st_size)
                found += [segment] if segment else []
        return unbroken(found)

    def newest_at(self, epoch: int) -> datetime | None:
        """When WAL was last written into the term's folder."""
        moments = []
        for file in self._files(self.term(epoch)):
            with suppress(OSError):
                stat = file.stat()
                moments += [stat.st_mtime] if segment_of(file.name, stat.st_size) else []
        return datetime.fromtimestamp(max(moments), UTC) if moments else None

    def prune(self, epoch: int, replayed: int) -> int:
        """Delete whole segments that the standby has long replayed; how many."""
        gone = needless(self.segments(epoch), replayed, SEGMENTS_KEPT)
        for segment in gone:
            (self.term(epoch) / segment.file).unlink(missing_ok=True)
        return len(gone)

    def hand_over(self, epoch: int, dump: Dump) -> Held | None:
        """End the term and lay out all that it holds for the standby; ``None`` where it holds nothing."""
        (self.term(epoch) / MARK).touch(mode=0o600)
        held = self.look(epoch, dump, keep=self.handed)
        if held is None:
            shutil.rmtree(self.handed, ignore_errors=True)
        return held

    def take_back(self, epoch: int) -> None:
        """The term goes on: the hand-over is void."""
        (self.term(epoch) / MARK).unlink(missing_ok=True)
        shutil.rmtree(self.handed, ignore_errors=True)

    def look(self, epoch: int, dump: Dump, keep: Path | None = None) -> Held | None:
        """What the term holds, read from the WAL itself. ``keep`` is where its segments stay under their true names."""
        segments, newest = self.segments(epoch), self.newest_at(epoch)
        if not segments or newest is None:
            return None
        staged = self.root / STAGED
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        for segment in segments:
            source = self.term(epoch) / segment.file
            if segment.partial:
                shutil.copyfile(source, staged / segment.name)  # the receiver may go on writing into its own
            else:
                (staged / segment.name).hardlink_to(source)
        for file in self._files(self.term(epoch)):
            if HISTORY.fullmatch(file.name):
                shutil.copyfile(file, staged / file.name)
        last = self._last_record(staged, segments, dump)
        if keep is None:
            shutil.rmtree(staged)
        else:
            shutil.rmtree(keep, ignore_errors=True)
            staged.rename(keep)
        first, timeline = segments[0], segments[-1].timeline
        return Held(epoch, timeline, lsn_text(first.start), lsn_text(last), len(segments), to_text(newest))

    def start_over(self, epoch: int) -> None:
        """Let go of what the term holds: the primary has no WAL any more that would follow it."""
        for file in self._files(self.term(epoch)):
            file.unlink(missing_ok=True)

    @staticmethod
    def _last_record(folder: Path, segments: tuple[Segment, ...], dump: Dump) -> int:
        """A record is never longer than the segments looked at here, but for the giants: then earlier ones are read."""
        for start in (segments[-2:][0], segments[0]):
            found = last_record(dump(folder, segments[-1].timeline, start.start))
            if found is not None:
                return found
        if len(segments) > 1:
            what, why = f"read the WAL in {folder}", f"pg_waldump finds no record in {len(segments)} segments"
            raise NciaError("receiver.unreadable", what, why, "look at it with pg_waldump")
        return 0  # one segment that has only just begun

    def _terms(self) -> list[int]:
        return [int(found.group(1)) for file in self._files(self.root) if (found := TERM.fullmatch(file.name))]

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
