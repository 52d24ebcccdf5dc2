"""One turn of one mirror: what is new at the source is copied and read back; then, and only then, the mark follows.

The mark is read before the source is listed. So the mark at the target says: every document that was acknowledged
before it was written is here. A copy that fails keeps the mark where it is, and its age tells what would be lost.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup.replicate.plan import Copy, aside, copies, hot_folders
from ncia.core.base.errors import NciaError
from ncia.core.work.documents import MARK, Documents, Folder, Mark, NotKept, Seen

SWEEP_EVERY = timedelta(minutes=10)
SWEEP_FOLDERS_MAX = 30  # a turn: a sweep of a great tree must not hold up what is new
TROUBLES_TOLD_MAX = 3


@dataclass(frozen=True)
class Turned:
    """What one turn did. ``troubles``: why documents were not copied; ``refused``: names that may not be; ``whole``:
    everything that is known of at the source is at the target."""

    copied: int = 0
    size_bytes: int = 0
    troubles: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    whole: bool = True

    @property
    def sentence(self) -> str:
        """Why it is not well; empty where it is."""
        if self.troubles:
            more = len(self.troubles) - TROUBLES_TOLD_MAX
            told = "; ".join(self.troubles[:TROUBLES_TOLD_MAX])
            return told + (f"; and {more} more" if more > 0 else "")
        if self.refused:
            names = ", ".join(repr(name[:80]) for name in self.refused[:TROUBLES_TOLD_MAX])
            return f"{len(self.refused)} names at the source may not be copied: {names}"
        return ""


@dataclass
class Memory:
    """What a mirror knows of its dataset between turns; all of it can be found out again.

    ``held``: by folder, what is known to be at the target; ``sweep``: folders still to be compared; ``refused``: by
    folder, the names there that may not be copied.
    """

    marked: Mark | None = None
    asked_target: bool = False
    held: dict[str, dict[str, Seen]] = field(default_factory=dict)
    sweep: deque[str] = field(default_factory=deque)
    troubled: set[str] = field(default_factory=set)  # of these, that are still to be compared once more
    first_sweep: bool = False  # the target has no mark yet: nothing is followed before everything was compared
    swept_at: datetime | None = None
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mirror:
    """One dataset from its active site to this one. ``direct``: its application writes here too, so what lies here
    changes without us. ``by_time``: documents lie in the folder of their ten seconds."""

    source: Documents
    target: Documents
    by_time: bool
    direct: bool
    pool: Executor

    def turn(self, memory: Memory, now: datetime) -> Turned:
        """Copy what is new. Raises :class:`NciaError` where the source cannot be listed or the target not be marked."""
        content = self.source.get(MARK)
        mark = Mark.from_bytes(content) if content else None
        if not memory.asked_target:
            kept = self.target.get(MARK)
            memory.marked = Mark.from_bytes(kept) if kept else None
            memory.asked_target = True
        self._plan_sweep(memory, mark, now)
        done = [self._folder(memory, folder, now) for folder in self._hot(memory, mark, now)]
        done += self._sweep(memory, now)
        turned = _together(done, memory)
        if mark and content and turned.whole and mark != memory.marked:
            self.target.put(MARK, content)  # the agents read it back each second: its age is the measure
            memory.marked = mark
        return turned

    def _plan_sweep(self, memory: Memory, mark: Mark | None, now: datetime) -> None:
        """Begin to compare everything: at first, after a long gap, and every so often."""
        if not self.by_time or memory.sweep:
            return
        unknown = memory.marked is None and memory.swept_at is None
        gap = bool(mark and memory.marked and hot_folders(memory.marked.written_at, mark.written_at) is None)
        if unknown or gap or memory.swept_at is None or now - memory.swept_at >= SWEEP_EVERY:
            memory.sweep.append("")
            memory.first_sweep = unknown or gap
            memory.swept_at = now

    def _hot(self, memory: Memory, mark: Mark | None, now: datetime) -> Iterable[str]:
        """The folders to look at in this turn; without folders of time all there are."""
        if not self.by_time:
            return self._all("")
        until = mark.written_at if mark else now
        since = memory.marked.written_at if memory.marked else until
        folders = hot_folders(min(since, until), until) or hot_folders(until, until) or ()
        memory.held = {folder: held for folder, held in memory.held.items() if folder in folders}
        return folders

    def _all(self, folder: str) -> Iterable[str]:
        waiting = [folder]
        while waiting:
            each = waiting.pop()
            yield each
            waiting += self.source.look(each).folders

    def _sweep(self, memory: Memory, now: datetime) -> list[Turned]:
        """Some more folders of the sweep under way, if one is; one with troubles comes up again in a later turn."""
        done: list[Turned] = []
        again: list[str] = []
        while memory.sweep and len(done) < SWEEP_FOLDERS_MAX:
            folder = memory.sweep[0]
            seen, held = self.source.look(folder), self._listed(folder)  # where this fails, it is still to be done
            memory.sweep.popleft()
            memory.sweep.extend(each for each in seen.folders if folder not in memory.troubled)
            done.append(self._bring(memory, folder, seen, held, now))
            memory.troubled.discard(folder)
            if done[-1].troubles:
                again.append(folder)
        memory.troubled.update(again)
        memory.sweep.extend(again)
        if not memory.sweep:
            memory.first_sweep = False
        return done

    def _folder(self, memory: Memory, folder: str, now: datetime) -> Turned:
        """One folder in which something may be new; the target is listed only where its content is not known."""
        seen = self.source.look(folder)
        held = memory.held.get(folder)
        fresh = held is None or bool(copies(seen.documents, held))
        if fresh and (held is None or self.direct):
            held = self._listed(folder) if seen.documents else {}
        held = {} if held is None else held
        memory.held[folder] = held
        return self._bring(memory, folder, seen, held, now)

    def _listed(self, folder: str) -> dict[str, Seen]:
        return {seen.name: seen for seen in self.target.look(folder).documents}

    def _bring(self, memory: Memory, folder: str, seen: Folder, held: dict[str, Seen], now: datetime) -> Turned:
        memory.refused.pop(folder, None)
        if seen.refused:
            memory.refused[folder] = seen.refused
        troubles, copied, size = [], 0, 0
        planned = copies(seen.documents, held)
        waiting = [(copy, self.pool.submit(self.copy, copy, now)) for copy in planned]
        for copy, future in waiting:
            try:
                size += future.result()
            except NciaError as error:
                held.pop(copy.seen.name, None)
                troubles.append(f"{error.what}: {error.why}")
            else:
                held[copy.seen.name] = copy.seen
                copied += 1
        return Turned(copied, size, tuple(troubles), (), not troubles)

    def differs(self, name: str) -> bool:
        """Whether both stores hold other bytes under a name, by reading both."""
        return self.source.get(name) != self.target.get(name)

    def copy(self, copy: Copy, now: datetime) -> int:
        """Bring one document over and read it back; answers its size. One that is gone again is no trouble."""
        name = copy.seen.name
        content = self.source.get(name)
        if content is None:
            return 0
        if copy.why == "ahead":
            before = self.target.get(name)
            if before is not None and before != content:
                self.target.put(aside(name, now), before)
        self.target.put(name, content, copy.seen.modified_at)
        kept = self.target.get(name)
        if kept is None or hashlib.sha256(kept).digest() != hashlib.sha256(content).digest():
            raise _not_kept(name, self.target, "other bytes" if kept is not None else "nothing of it")
        return len(content)


def _not_kept(name: str, target: Documents, holds: str) -> NotKept:
    why = f"the store said that it has it, and holds {holds}"
    return NotKept("mirror.not-kept", f"mirror {name} to {target.where}", why, "look at that store before you trust it")


def _together(done: Iterable[Turned], memory: Memory) -> Turned:
    parts = list(done)
    troubles = tuple(trouble for part in parts for trouble in part.troubles)
    return Turned(
        copied=sum(part.copied for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        troubles=troubles,
        refused=tuple(name for names in memory.refused.values() for name in names),
        whole=not troubles and not memory.first_sweep,
    )
