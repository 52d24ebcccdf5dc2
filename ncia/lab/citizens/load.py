"""Citizens who act: each system at its own rate, whatever became of the acts before, until SIGTERM.

Open loop: a system that does not answer is asked on at the same rate, so that the ledger shows the second in which it
returned. What is in flight is bounded by rate times timeout, and above that by ``IN_FLIGHT_MAX``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import uvloop

from ncia.app.logging import configure
from ncia.core.base.clock import SystemClock, to_text
from ncia.core.config import load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.lab.apps.definition import Definition
from ncia.lab.apps.definitions import definition_of
from ncia.lab.apps.http import Answer, NoAnswer, NotSent, Request, send
from ncia.lab.citizens.ledger import Ledger

NICE = 10
ESSENTIAL_RATE = 2.5  # acts a second of a grade-1 system
# Of every other. Their acts measure what a loss costs, so they never stand further apart than a canary interval (1 s):
# a lost one must not count for the silence before it.
RATE = 1.2
JITTER = 0.2  # of the interval
ACT_SECONDS_MAX = 3.0
CONNECT_SECONDS_MAX = 1.0
IN_FLIGHT_MAX = 64  # a system
REFUSED_SHARE = 0.02  # of the acts are meant to be refused by a rule
LEDGER = "acts.jsonl"


class Citizens:
    """The citizens of one system."""

    def __init__(self, system: System, rate: float, ledger: Ledger, rng: random.Random) -> None:
        self._system = system
        self._definition: Definition = definition_of(str(system.id))
        self._rate = rate
        self._ledger = ledger
        self._rng = rng
        self._in_flight: set[asyncio.Task[None]] = set()

    async def act_until(self, ended: asyncio.Event) -> None:
        """Send acts at times fixed beforehand, jittered a little; then wait for what is in flight."""
        interval = 1 / self._rate
        due = time.monotonic() + self._rng.uniform(0, interval)
        while not await happened(ended, due - time.monotonic()):
            if len(self._in_flight) < IN_FLIGHT_MAX:
                task = asyncio.create_task(self._act())
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)
            due += interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        if self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _act(self) -> None:
        meant = self._definition.refused_sample if self._rng.random() < REFUSED_SHARE else self._definition.sample
        act, body = str(uuid.uuid4()), meant(self._rng)
        self._remember("intent", act, {"body": body})
        began = time.monotonic()
        outcome = await self._send({"id": act, **body})
        self._remember("outcome", act, {**outcome, "seconds": round(time.monotonic() - began, 6)})

    async def _send(self, body: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps(body, ensure_ascii=False).encode()
        request = Request("POST", "/acts", headers={"content-type": "application/json"}, body=content)
        try:
            answer = await send(
                self._system.entry, request, connect_seconds=CONNECT_SECONDS_MAX, seconds=ACT_SECONDS_MAX
            )
        except NotSent as error:
            return outcome_line("failed", why=error.why)
        except NoAnswer as error:
            return outcome_line("unknown", why=error.why)
        return outcome_of(answer)

    def _remember(self, line: str, act: str, told: Mapping[str, Any]) -> None:
        moments = {"at": to_text(SystemClock().now()), "monotonic": round(time.monotonic(), 6)}
        self._ledger.append({"line": line, "id": act, "system": self._system.id, **told, **moments})


def outcome_of(answer: Answer) -> dict[str, Any]:
    """What an answer means to the citizen: acked, refused by a rule, not done, or not known."""
    told = answer.json()
    if answer.status == 201 and told.get("content_sha256"):
        outcome = "acked"
    elif answer.status in (409, 422):
        outcome = "refused"
    elif answer.status == 503 and told.get("outcome") != "unknown":
        outcome = "failed"
    else:
        outcome = "unknown"
    return outcome_line(
        outcome,
        status=answer.status,
        epoch=int(answer.headers.get("x-ncia-epoch", 0)),
        site=answer.headers.get("x-ncia-site", ""),
        content_sha256=str(told.get("content_sha256", "")) if outcome == "acked" else "",
        why=str(told.get("error", ""))[:300],
    )


def outcome_line(outcome: str, **told: Any) -> dict[str, Any]:
    return {"outcome": outcome, "status": 0, "epoch": 0, "site": "", "content_sha256": "", "why": "", **told}


async def happened(event: asyncio.Event, seconds: float) -> bool:
    """Wait for ``event`` at most that long; whether it happened."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def run(estate: Estate, file: Path, rate_scale: float, seed: int) -> None:
    """Let the citizens of every system act until SIGTERM; the ledger is durable when this returns."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    ledger = Ledger(file)
    durable = asyncio.create_task(ledger.keep_durable())
    # Whoever comes back acts anew: an act sent again is refused, and no citizen sends the same one twice.
    life = file.stat().st_size
    crowd = [
        Citizens(system, rate_of(system) * rate_scale, ledger, random.Random(f"{seed}/{life}/{system.id}"))
        for system in estate.systems.values()
    ]
    try:
        await asyncio.gather(*(citizens.act_until(ended) for citizens in crowd))
    finally:
        durable.cancel()
        ledger.close()


def rate_of(system: System) -> float:
    return ESSENTIAL_RATE if system.grade == 1 else RATE


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.citizens.load", description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--rate-scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    settings = load_settings(told.settings)
    configure("load", settings.site, settings.log)
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    file = settings.file.parent / LEDGER
    structlog.get_logger("load").info("citizens act", ledger=str(file), rate_scale=told.rate_scale)
    uvloop.run(run(load_estate(settings.estate), file, told.rate_scale, told.seed))


if __name__ == "__main__":
    main()
