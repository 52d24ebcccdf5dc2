"""Receipts on their way to one site: on disk before the citizen is told, kept until that site has them.

A spool outlives the door's process, so a door that is killed vouches on for what it acknowledged before. It does not
outlive the machine (nothing here is synced to disk: a citizen does not wait for that): after a new start of the
machine another *stream* begins, and what lies between the two has no voucher. What a full spool lets go of is counted.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ncia.core.base.clock import from_text, to_text
from ncia.lab import proc

RECEIPTS_MAX = 100_000
DROPPED_AT_ONCE = 1_000  # each dropping is one rewriting of the file
DROPS_MAX = 500
REWRITE_AFTER = 20_000  # delivered lines that may lie in the file before it is written anew

Line = tuple[str, str, str, int, str]  # act, content_sha256, system, epoch, acked_at: as it is sent


@dataclass(frozen=True)
class Voucher:
    """What the door says of a stream with a batch of its receipts."""

    stream: str
    began_at: str
    complete_until: str
    drops: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Batch:
    """The oldest receipts that wait; ``upto`` is the number of the last of them."""

    lines: list[Line]
    upto: int
    voucher: Voucher


class Spool:
    """The receipts for one site, oldest first, numbered from 1. ``folder`` belongs to it alone."""

    def __init__(self, folder: Path, now: datetime, boot: str | None = None, receipts_max: int = RECEIPTS_MAX) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file, self._state = folder / "receipts.jsonl", folder / "stream.json"
        self._receipts_max = receipts_max
        self._waiting: deque[Line] = deque()
        self._last = 0  # the number of the newest receipt
        self._delivered = 0  # lines at the head of the file that need not be there any more
        self._drops: list[dict[str, Any]] = []
        self._stream, self._began_at = "", ""
        self._begin(now, boot or proc.boot_id())
        self._fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, line: Line) -> int:
        """Keep a receipt, which survives this process when this returns; its number."""
        if len(self._waiting) >= self._receipts_max:
            self._drop()
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        self._waiting.append(line)
        self._last += 1
        return self._last

    def batch(self, lines_max: int, now: datetime) -> Batch:
        """The oldest receipts, and what may be said once the other site has them: every act that was acknowledged
        before ``complete_until`` has its receipt there, but for the drops."""
        lines = list(islice(self._waiting, lines_max))
        rest = len(self._waiting) - len(lines)
        complete = self._waiting[len(lines)][4] if rest else to_text(now)
        voucher = Voucher(self._stream, self._began_at, complete, tuple(self._drops))
        return Batch(lines, self._last - rest, voucher)

    def delivered(self, batch: Batch) -> None:
        """The other site has the batch, and was told the drops. (What was dropped while the batch was under way has
        arrived all the same: it is counted as dropped, which errs on the red side.)"""
        count = len(self._waiting) - (self._last - batch.upto)
        for _ in range(count):
            self._waiting.popleft()
        self._delivered += max(0, count)
        if batch.voucher.drops:
            told = {drop["since"] for drop in batch.voucher.drops}
            self._drops = [drop for drop in self._drops if drop["since"] not in told]
            self._save()
        if not self._waiting and self._delivered:
            os.ftruncate(self._fd, 0)
            self._delivered = 0
        elif self._delivered >= REWRITE_AFTER:
            self._rewrite()

    def close(self) -> None:
        os.close(self._fd)

    def _begin(self, now: datetime, boot: str) -> None:
        """Go on with the stream of this boot; another one where the machine was started anew since."""
        told = self._told()
        if self._file.exists():
            self._waiting.extend(whole_lines(self._file.read_bytes()))
            self._last = len(self._waiting)
        self._drops = told.get("drops", [])
        if told.get("boot") == boot:
            self._stream, self._began_at, self._boot = told["stream"], told["began_at"], boot
        else:
            self._stream, self._began_at, self._boot = str(uuid.uuid4()), to_text(now), boot
        self._save()
        self._write_anew()

    def _told(self) -> dict[str, Any]:
        try:
            told = json.loads(self._state.read_bytes())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _drop(self) -> None:
        """The oldest go: what the other site lacks of the newest acts is lost first."""
        gone = [self._waiting.popleft() for _ in range(min(DROPPED_AT_ONCE, len(self._waiting)))]
        self._drops.append({"since": gone[0][4], "until": gone[-1][4], "count": len(gone)})
        if len(self._drops) > DROPS_MAX:  # many short gaps become one long one; the count stays right
            first, second = self._drops[0], self._drops[1]
            joined = {"since": first["since"], "until": second["until"], "count": first["count"] + second["count"]}
            self._drops[:2] = [joined]
        self._save()
        self._rewrite()

    def _rewrite(self) -> None:
        os.close(self._fd)
        self._write_anew()
        self._fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _write_anew(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in self._waiting))
        fresh.replace(self._file)
        self._delivered = 0

    def _save(self) -> None:
        told = {"stream": self._stream, "began_at": self._began_at, "boot": self._boot, "drops": self._drops}
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        fresh.replace(self._state)


def whole_lines(content: bytes) -> list[Line]:
    """Half a line, left by a kill, is of an act that no citizen was told of."""
    lines: list[Line] = []
    for raw in content.split(b"\n")[:-1]:
        act, content_sha256, system, epoch, acked_at = json.loads(raw)
        from_text(acked_at)
        lines.append((act, content_sha256, system, epoch, acked_at))
    return lines
