from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ncia.lab.apps.http import Answer, Request, listen
from ncia.lab.citizens.ledger import Ledger, lines, read
from ncia.lab.citizens.load import Citizens, outcome_of, run
from tests.lab_apps.world import own_estate

ACKED = {"X-NCIA-Epoch": "2", "X-NCIA-Site": "busan"}


def acked(request: Request) -> Answer:
    return Answer.of(201, {"id": request.json()["id"], "epoch": 2, "content_sha256": "ab"}, ACKED)


def act_against(handler: Any, file: Path, seconds: float, rate: float) -> None:
    """Citizens of one system act for a while against ``handler``."""
    system = own_estate().system("share")

    async def work() -> None:
        ended = asyncio.Event()
        ledger = Ledger(file)
        asyncio.get_running_loop().call_later(seconds, ended.set)
        async with await listen(handler, system.entry):
            await Citizens(system, rate, ledger, random.Random(1)).act_until(ended)
        ledger.close()

    asyncio.run(work())


def test_every_act_leaves_an_intent_and_then_an_outcome(tmp_path: Path) -> None:
    async def handler(request: Request) -> Answer:
        return acked(request)

    act_against(handler, tmp_path / "acts.jsonl", seconds=0.5, rate=40)
    acts = read(tmp_path / "acts.jsonl")
    assert len(acts) >= 10
    assert {(act.outcome, act.epoch, act.site, act.content_sha256) for act in acts} == {("acked", 2, "busan", "ab")}
    order: dict[str, list[str]] = {}
    for line in lines(tmp_path / "acts.jsonl"):
        order.setdefault(line["id"], []).append(line["line"])
    assert set(map(tuple, order.values())) == {("intent", "outcome")}


def test_a_system_that_hangs_is_asked_on_at_the_same_rate(tmp_path: Path) -> None:
    async def handler(request: Request) -> Answer:
        await asyncio.sleep(0.6)
        return acked(request)

    act_against(handler, tmp_path / "acts.jsonl", seconds=0.6, rate=40)
    assert len(read(tmp_path / "acts.jsonl")) >= 15


def test_the_same_seed_sends_the_same_acts(tmp_path: Path) -> None:
    async def handler(request: Request) -> Answer:
        return acked(request)

    bodies = []
    for name in ("first", "second"):
        act_against(handler, tmp_path / name, seconds=0.3, rate=30)
        bodies.append([act.body for act in read(tmp_path / name)][:4])
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("status", "told", "outcome"),
    [
        (201, {"content_sha256": "ab"}, "acked"),
        (201, {}, "unknown"),
        (409, {"error": "late"}, "refused"),
        (422, {"error": "no such"}, "refused"),
        (503, {"error": "standby"}, "failed"),
        (503, {"outcome": "unknown"}, "unknown"),
        (504, {"outcome": "unknown"}, "unknown"),
        (500, {}, "unknown"),
    ],
)
def test_only_a_clear_word_counts_as_one(status: int, told: Mapping[str, Any], outcome: str) -> None:
    assert outcome_of(Answer(status, {}, json.dumps(told).encode()))["outcome"] == outcome


def test_where_nobody_listens_the_act_failed_and_the_load_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    estate = own_estate()
    few = replace(estate, systems={name: estate.systems[name] for name in ("share", "onnara")})

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)
        await run(few, tmp_path / "acts.jsonl", rate_scale=10, seed=1)

    asyncio.run(work())
    acts = read(tmp_path / "acts.jsonl")
    assert {(act.system, act.outcome) for act in acts} == {("share", "failed"), ("onnara", "failed")}
