"""How far a command is: one line on a terminal, or JSON lines on standard error, with rate and time left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from io import StringIO
from types import TracebackType
from typing import TextIO

TELL_SECONDS = 0.5
JSON_SECONDS = 1.0
BYTES = "bytes"


class Progress:
    """Use it as a context and call it with what there is so far. ``noun``: what is counted. ``interrupted``: what is to
    be known of what was done by then, told where Ctrl-C ends it.

    A JSON line has restic's words: ``message_type`` "status", ``seconds_elapsed``, ``percent_done``,
    ``seconds_remaining`` where the end is known; beside them the noun, ``bytes_done`` and ``total_bytes``, or
    ``phase``, ``done`` and ``total``."""

    def __init__(
        self,
        noun: str,
        as_json: bool,
        interrupted: str,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._noun = noun
        self._json = as_json
        self._interrupted = interrupted
        heard = out or sys.stderr  # nothing where whoever began us closed it
        self._out: TextIO = heard or StringIO()
        self._clock = clock
        self._shown = heard is not None and (as_json or heard.isatty())
        self._begun = self._phase_begun = self._told = clock()
        self._phase = ""

    def __call__(self, count: int, size: int, whole: int) -> None:
        """So many bytes of ``whole`` (0: not known)."""
        if self._due():
            rate, left = self._pace(self._begun, size, whole)
            if self._json:
                self._line({self._noun: count, "bytes_done": size, "total_bytes": whole}, size, whole, left)
            else:
                of = f" of {size_text(whole)}" if whole else ""
                self._show(f"{count} {self._noun}, {size_text(size)}{of}, {size_text(rate)}/s", left)

    def phase(self, what: str, done: int, whole: int) -> None:
        """A command that does one thing after the other: ``what`` is its name, and what is counted its last words."""
        if what != self._phase:
            self._phase, self._phase_begun = what, self._clock()
        if self._due():
            rate, left = self._pace(self._phase_begun, done, whole)
            if self._json:
                self._line({"phase": what, "done": done, "total": whole}, done, whole, left)
            elif what.startswith(BYTES):
                said = f"{size_text(done)} of {size_text(whole)}{what.removeprefix(BYTES)}, {size_text(rate)}/s"
                self._show(said, left)
            else:
                self._show(f"{done} of {whole} {what}, {rate:.0f}/s", left)

    @property
    def watched(self) -> bool:
        """Somebody hears what is told."""
        return self._shown

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and not self._json:
            print("\r\033[K", end="", file=self._out, flush=True)
        if isinstance(error, KeyboardInterrupt):
            print(f"Interrupted: {self._interrupted}", file=self._out, flush=True)

    def _due(self) -> bool:
        now = self._clock()
        if not self._shown or now - self._told < (JSON_SECONDS if self._json else TELL_SECONDS):
            return False
        self._told = now
        return True

    def _pace(self, begun: float, done: int, whole: int) -> tuple[float, float | None]:
        """How much a second, and how many seconds are left where that can be said."""
        rate = done / max(self._clock() - begun, 1e-9)
        return rate, (whole - done) / rate if whole > done and rate else None

    def _line(self, told: dict[str, object], done: int, whole: int, left: float | None) -> None:
        line = {"message_type": "status", "seconds_elapsed": int(self._clock() - self._begun), **told}
        if whole:
            line["percent_done"] = round(min(done / whole, 1.0), 4)
        if left is not None:
            line["seconds_remaining"] = int(left)
        print(json.dumps(line), file=self._out, flush=True)

    def _show(self, said: str, left: float | None) -> None:
        end = "" if left is None else f", {left:.0f} s left"
        print(f"\r\033[K{said}{end}", end="", file=self._out, flush=True)


def size_text(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
