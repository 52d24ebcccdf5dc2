"""The lookout: the agent's way of reading its site's logs, from new lines to signals that a controller has taken.

Read, decide, write down, tell, in that order: positions, windows and signals that nobody has taken yet are kept in one
file, written as a whole. After a crash the lines since then are read again into the windows as they were then, so each
line counts once; a signal is told until it is taken, and taken twice it changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from monitors.detect.detector import Detector, as_json
from monitors.ports import Reporter
from monitors.sources.event import Kind
from monitors.sources.tail import Counts, Tail
from ncia.core.base.clock import Clock
from ncia.core.base.errors import Unreachable

TURN_SECONDS = 0.5
FIND_SECONDS = 5.0  # between looks for new files
KEEP_SECONDS = 5.0  # between writings of the position where there is nothing to tell
WORD_SECONDS = 10.0  # a controller hears so often how much is read
RULES_SECONDS = 60.0  # and which rules are at work: there may be thousands
PATHS_MAX = 500
SPOOL_MAX = 1_000  # signals that no controller has taken; the oldest go first, and are counted
SIGNALS_PER_WORD_MAX = 200
HOSTS_LOGGED_MAX = 10
VERSION = 1

log = structlog.get_logger("monitors.lookout")


@dataclass(frozen=True)
class Source:
    """Log files of one kind: every path that the pattern finds, relative to ``root``."""

    root: Path
    pattern: str
    kind: Kind

    def paths(self) -> Iterable[Path]:
        return (path for path in sorted(self.root.glob(self.pattern)) if path.is_file())


class Lookout:
    """``run`` reads until it is told to stop; ``turn`` is one round of it, without telling anybody."""

    def __init__(self, sources: Sequence[Source], detector: Detector, keep: Path, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._detector = detector
        self._keep = keep
        self._clock = clock
        self._tails: dict[Path, tuple[Kind, Tail]] = {}
        self._known: dict[str, list[Mapping[str, Any]]] = {}
        self._spool: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._seen = Counts()
        self._lines = self._unparsed = self._spilt = 0
        self._dirty = False
        self._found_at = self._kept_at = self._told_at = self._rules_told_at = float("-inf")
        self._load()

    async def run(self, reporter: Reporter, stop: asyncio.Event) -> None:
        """Read in a thread, so that a slow disk delays no probe, and tell the site's controller."""
        try:
            while not stop.is_set():
                more = await asyncio.to_thread(self.turn)
                await self._tell(reporter)
                if not more:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(TURN_SECONDS):
                            await stop.wait()
        finally:
            await asyncio.to_thread(self.close)
            await reporter.close()

    def turn(self) -> bool:
        """Read what is new, of each file up to a chunk, and write down what came of it; whether there is more."""
        now = self._clock.now().timestamp()
        if now - self._found_at >= FIND_SECONDS:
            self._found_at = now
            self._find()
        more = False
        for path, (kind, tail) in self._tails.items():
            lines = tail.lines(now)
            if lines:
                self._dirty = True
                self._take(kind, path.stem, lines, now)
            more = more or tail.behind
        signals = self._detector.signals(now)
        for told in as_json(signals):
            self._spool.pop(told["id"], None)
            self._spool[told["id"]] = told
            while len(self._spool) > SPOOL_MAX:
                self._spool.popitem(last=False)
                self._spilt += 1
        if signals or (self._dirty and now - self._kept_at >= KEEP_SECONDS):
            self._write(now)
        if signals:
            log.info(
                "signals", count=len(signals), hosts=sorted({signal.host for signal in signals})[:HOSTS_LOGGED_MAX]
            )
        return more

    def word(self) -> dict[str, Any] | None:
        """What to tell the controller now; None where there is nothing new."""
        now = self._clock.now().timestamp()
        signals: list[dict[str, Any]] = list(self._spool.values())[:SIGNALS_PER_WORD_MAX]
        if not signals and now - self._told_at < WORD_SECONDS:
            return None
        rules = self.rules() if now - self._rules_told_at >= RULES_SECONDS else []
        return {"signals": signals, "counts": self.counts(), "rules": rules}

    def taken(self, word: Mapping[str, Any]) -> None:
        """The controller has taken this word: what it told is told no more, unless there is news of it."""
        self._told_at = self._clock.now().timestamp()
        if word["rules"]:
            self._rules_told_at = self._told_at
        for told in word["signals"]:
            name = told["id"]
            if self._spool.get(name) == told:
                del self._spool[name]
                self._dirty = True

    def counts(self) -> dict[str, int]:
        counts = self._detector.counts
        return {
            "lines": self._lines,
            "unparsed": self._unparsed,
            "matches": counts.matches,
            "dropped": self._detector.dropped,
            "untold": counts.untold,
            "spilt": self._spilt,
            "files": len(self._tails),
            **asdict(self._seen),
        }

    def rules(self) -> list[dict[str, str]]:
        """Every rule, and why it can never fire here; empty where it can."""
        rules = self._detector.rules
        active = {
            rule.told.id: {"id": rule.told.id, "title": rule.told.title, "level": rule.told.level, "inactive": ""}
            for rule in rules.rules
        }
        idle = [{"id": r.id, "title": r.title, "level": r.level, "inactive": r.why} for r in rules.inactive]
        return [*active.values(), *idle]

    def close(self) -> None:
        """Write down where we are, and let go of the files."""
        if self._dirty:
            self._write(self._clock.now().timestamp())
        for _, tail in self._tails.values():
            tail.close()

    # --- within --------------------------------------------------------------------------------------------------

    async def _tell(self, reporter: Reporter) -> None:
        word = self.word()
        if word is None:
            return
        try:
            await reporter.send(json.dumps(word, ensure_ascii=False).encode())
        except Unreachable as error:
            log.debug("nobody took the signals", controller=reporter.name, why=error.why, kept=len(self._spool))
            return
        self.taken(word)

    def _find(self) -> None:
        """Take up files that are new. One that is gone stays, for its name may come back."""
        for source in self._sources:
            for path in source.paths():
                if path not in self._tails and len(self._tails) < PATHS_MAX:
                    self._tails[path] = (source.kind, Tail(path, self._known.pop(str(path), []), self._seen))

    def _take(self, kind: Kind, name: str, lines: Iterable[bytes], now: float) -> None:
        for line in lines:
            self._lines += 1
            event = kind.parse(line.decode("utf-8", "replace").rstrip("\r"), name, now)
            if event is None:
                self._unparsed += 1
            else:
                self._detector.take(kind.name, event)

    def _load(self) -> None:
        try:
            told: dict[str, Any] = json.loads(self._keep.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:  # read all again: what was told before is told again, which changes nothing
            broken = self._keep.with_suffix(".broken")
            self._keep.replace(broken)
            log.error("position lost: every log is read from its beginning", why=str(error), kept=str(broken))
            return
        if told.get("version") != VERSION:
            return
        self._known = told["positions"]
        self._spool.update((signal["id"], signal) for signal in told["spool"])
        self._detector.load(told["detector"])

    def _write(self, now: float) -> None:
        """All of it or nothing, and durable."""
        positions: dict[str, Any] = {str(path): tail.position() for path, (_, tail) in self._tails.items()}
        told = {
            "version": VERSION,
            "positions": {**self._known, **positions},
            "spool": list(self._spool.values()),
            "detector": self._detector.to_json(),
        }
        fresh = self._keep.with_name(f".{self._keep.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._keep)
        folder = os.open(self._keep.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._dirty, self._kept_at = False, now
