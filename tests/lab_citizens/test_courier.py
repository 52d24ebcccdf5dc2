"""Couriers: the receipt before the citizen for grade 1, soon after for others, and nobody waits for a silent site."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate import Address
from ncia.lab.apps.http import Answer, Request, listen
from ncia.lab.citizens.courier import WAIT_SECONDS_MAX, Courier, Couriers, HttpWire
from ncia.lab.citizens.spool import Batch, Spool
from tests.lab_apps.world import own_estate
from tests.lab_citizens.test_spool import line
from tests.ports import free_port

BOUND = 10.0  # of a test's patience, never of what is measured


class Wire:
    """The other site: takes batches, is silent while ``silent``, hangs while ``hangs``."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], bool]] = []
        self.silent = False
        self.hangs: asyncio.Event | None = None
        self.sent = asyncio.Condition()

    async def send(self, batch: Batch, *, closed: bool) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.silent:
            raise Unreachable("http.not-sent", "send", "connection refused")
        self.batches.append(([line[0] for line in batch.lines], closed))
        async with self.sent:
            self.sent.notify_all()

    async def until(self, acts: int) -> None:
        async with asyncio.timeout(BOUND), self.sent:
            await self.sent.wait_for(lambda: len(self.acts()) >= acts)

    def acts(self) -> list[str]:
        return [act for lines, _ in self.batches for act in lines]


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wire = Wire()
        self.spool = Spool(folder, SystemClock().now())
        self.courier = Courier(self.spool, self.wire, SystemClock())
        self._carrying = asyncio.create_task(self.courier.carry())

    async def end(self) -> None:
        self._carrying.cancel()
        await asyncio.gather(self._carrying, return_exceptions=True)
        await self.courier.close()


def played(folder: Path, scene: Any) -> None:
    async def work() -> None:
        stage = Stage(folder)
        await scene(stage)
        await stage.end()

    run(work())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_an_act_of_grade_one_is_at_the_other_site_before_the_citizen_is_told(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.courier.keep(line(1), urgent=True)
        assert stage.wire.acts() == ["act-1"]

    played(tmp_path, scene)


def test_another_act_does_not_wait_and_goes_with_the_next_batch(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.courier.keep(line(1), urgent=False)
        await stage.courier.keep(line(2), urgent=False)
        assert (stage.wire.acts(), len(stage.spool)) == ([], 2)
        await stage.wire.until(2)
        assert [lines for lines, _ in stage.wire.batches if lines] == [["act-1", "act-2"]]

    played(tmp_path, scene)


def test_a_site_that_hangs_delays_one_act_for_a_bounded_time_and_the_next_not_at_all(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.wire.hangs = asyncio.Event()
        began = time.monotonic()
        await stage.courier.keep(line(1), urgent=True)
        assert time.monotonic() - began >= WAIT_SECONDS_MAX * 0.9
        await asyncio.wait_for(stage.courier.keep(line(2), urgent=True), WAIT_SECONDS_MAX / 2)
        stage.wire.hangs.set()
        stage.wire.hangs = None
        await stage.wire.until(2)

    played(tmp_path, scene)


def test_what_a_silent_site_did_not_take_it_gets_when_it_answers_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.wire.silent = True
        for number in (1, 2, 3):
            await stage.courier.keep(line(number), urgent=True)
        assert len(stage.spool) == 3
        stage.wire.silent = False
        await stage.wire.until(3)
        await stage.courier.keep(line(4), urgent=True)
        assert stage.wire.acts() == ["act-1", "act-2", "act-3", "act-4"]

    played(tmp_path, scene)


def test_a_door_without_acts_says_up_to_when_it_vouches_and_at_its_end_that_it_closed(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        async with asyncio.timeout(BOUND), stage.wire.sent:
            await stage.wire.sent.wait_for(lambda: len(stage.wire.batches) >= 2)

    wires: list[Wire] = []

    async def remembered(stage: Stage) -> None:
        wires.append(stage.wire)
        await scene(stage)

    played(tmp_path, remembered)
    assert wires[0].batches[0] == ([], False)
    assert wires[0].batches[-1] == ([], True)


def test_a_door_that_closes_hands_in_what_is_left_and_keeps_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        stage = Stage(tmp_path)
        await stage.courier.keep(line(1), urgent=False)
        await stage.end()
        assert stage.wire.batches[-1] == (["act-1"], True)
        with pytest.raises(NciaError, match="closing"):
            await stage.courier.keep(line(2), urgent=False)

    run(work())


def test_a_receipt_goes_to_the_courier_of_the_site_that_served_with_its_systems_name(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        estate = own_estate()
        couriers = Couriers({SiteId("daejeon"): stage.courier}, SystemClock())
        answer = Answer.of(201, {"id": "a", "content_sha256": "ab"}, {"x-ncia-epoch": "3"})
        await couriers.keep(estate.system("share"), SiteId("daejeon"), answer)
        await couriers.keep(estate.system("share"), SiteId("gwangju"), answer)
        assert stage.wire.acts() == ["a"]

    played(tmp_path, scene)


def test_over_http_a_batch_says_all_that_the_site_must_know_and_a_refusal_is_an_error(tmp_path: Path) -> None:
    seen: list[Request] = []
    answers = [Answer.of(200, {"taken": 1}), Answer.of(403, {"detail": "no valid receipts token was shown"})]

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return answers[len(seen) - 1]

    async def work() -> None:
        address = Address("127.0.0.1", free_port())
        wire = HttpWire(address, SiteId("citizens"), SiteId("daejeon"), "secret")
        spool = Spool(tmp_path, SystemClock().now())
        spool.put(line(1))
        batch = spool.batch(10, SystemClock().now())
        with pytest.raises(Unreachable):
            await wire.send(batch, closed=False)
        async with await listen(handler, address):
            await wire.send(batch, closed=False)
            with pytest.raises(NciaError, match="no valid receipts token"):
                await wire.send(batch, closed=True)
        told = json.loads(seen[0].body)
        assert (told["door"], told["served_by"], told["closed"]) == ("citizens", "daejeon", False)
        assert told["receipts"] == [list(line(1))]
        assert seen[0].headers["authorization"] == "Bearer secret"

    run(work())
