from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ncia.lab.apps.breaker import Breaker, refusal

WORD = "; writes are refused so that nothing acknowledged can be lost"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"required": False, "state": None, "age_seconds": None}, None),
        ({"required": True, "state": "streaming", "age_seconds": 0.2}, None),
        ({"required": True, "state": None, "age_seconds": None}, f"synchronous copy at busan is not answering{WORD}"),
        (
            {"required": True, "state": "streaming", "age_seconds": 2.5},
            f"synchronous copy at busan is not answering (last word 2.5 s ago){WORD}",
        ),
        (None, f"whether the synchronous copy at busan answers is unknown{WORD}"),
    ],
)
def test_writes_are_refused_exactly_when_a_commit_would_wait_in_vain(row: Any, told: str | None) -> None:
    assert refusal(row, "busan") == told


def test_all_who_ask_within_half_a_second_share_one_look() -> None:
    looks, now = 0, 100.0

    async def look() -> dict[str, Any]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return {"required": True, "state": "streaming", "age_seconds": 0.0}

    async def ask() -> None:
        nonlocal now
        breaker = Breaker(look, "busan", lambda: now)
        assert await asyncio.gather(*(breaker.refusal() for _ in range(5))) == [None] * 5
        now += 0.4
        await breaker.refusal()
        assert looks == 1
        now += 0.2
        await breaker.refusal()

    asyncio.run(ask())
    assert looks == 2
