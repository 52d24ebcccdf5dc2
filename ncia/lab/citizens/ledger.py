"""What the citizens remember: one line when an act is sent, one when its outcome is known to them.

``acts.jsonl``: ``{"line": "intent", "id", "system", "body", "at", "monotonic"}`` and ``{"line": "outcome", "id",
"system", "outcome": acked|refused|failed|unknown, "status", "epoch", "site", "content_sha256", "seconds", "why", "at",
"monotonic"}``. ``at`` is the wall clock in UTC, ``monotonic`` CLOCK_MONOTONIC in seconds, the same for all processes of
the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYNC_SECONDS = 0.25
OUTCOMES = ("acked", "refused", "failed", "unknown")


@dataclass(frozen=True)
class Act:
    """One attempt of a citizen, as the ledger tells it. ``outcome`` is ``unknown`` where no outcome was written."""

    id: str
    system: str
    body: Mapping[str, Any]
    sent_monotonic: float
    outcome: str = "unknown"
    status: int = 0
    epoch: int = 0
    site: str = ""
    content_sha256: str = ""
    seconds: float = 0.0
    why: str = ""
    known_monotonic: float | None = None


class Ledger:
    """Appends lines at once, makes them durable in batches: one fsync serves all lines of ``SYNC_SECONDS``."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        end_torn_line(file, self._fd)
        self._dirty = asyncio.Event()

    def append(self, line: Mapping[str, Any]) -> None:
        os.write(self._fd, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._dirty.set()

    async def keep_durable(self) -> None:
        """Runs beside the load; ends only by being cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await asyncio.to_thread(os.fsync, self._fd)
            await asyncio.sleep(SYNC_SECONDS)

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def end_torn_line(file: Path, descriptor: int) -> None:
    """A load that was killed may have left half a line; what comes after must not be glued to it."""
    content_bytes = file.stat().st_size
    if not content_bytes:
        return
    with file.open("rb") as reader:
        reader.seek(content_bytes - 1)
        if reader.read(1) != b"\n":
            os.write(descriptor, b"\n")


def read(file: Path) -> tuple[Act, ...]:
    """Every attempt in the order of sending, with its outcome where one was written."""
    intents: dict[str, Mapping[str, Any]] = {}
    outcomes: dict[str, Mapping[str, Any]] = {}
    for line in lines(file):
        (intents if line["line"] == "intent" else outcomes)[line["id"]] = line
    return tuple(joined(intent, outcomes.get(act)) for act, intent in intents.items())


def lines(file: Path) -> Iterator[Mapping[str, Any]]:
    """The whole lines of the ledger; half a line, left by a kill, tells nothing."""
    with file.open("rb") as reader:
        for raw in reader:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("line") in ("intent", "outcome"):
                yield line


def joined(intent: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> Act:
    act = Act(intent["id"], intent["system"], intent["body"], intent["monotonic"])
    if outcome is None:
        return act
    told = {name: outcome[name] for name in ("outcome", "status", "epoch", "site", "content_sha256", "seconds", "why")}
    return Act(**{**act.__dict__, **told, "known_monotonic": outcome["monotonic"]})
