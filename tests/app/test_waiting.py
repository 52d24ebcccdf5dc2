"""What a controller answers while its journal is read only, and how it becomes a whole one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ncia.api.doors import TCP, UNIX, WIRE, Door
from ncia.app.waiting import Front, waiting_room
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal import Journal
from ncia.core.journal.entries import JournalSworn
from ncia.core.journal.tail import Held, OwnTail
from ncia.core.requests.caller import Caller
from ncia.core.requests.certificates import ProcessName
from tests.api.world import Certified
from tests.core.journal.sites import EAST, WEST, journal_of, said, sqlite_url


class Away:
    """A peer that does not answer."""

    site = WEST

    def held(self, site: SiteId) -> Held:
        raise Unreachable("journal.peer-unreachable", "ask west", "timed out")

    def entries_of(self, site: SiteId, start: int, limit: int) -> tuple[()]:
        return ()


@pytest.fixture
def east(tmp_path: Path) -> Journal:
    journal = journal_of(EAST, sqlite_url(tmp_path, "east"))
    journal.append_all([said("one"), said("two")], by="tester")
    return journal


@pytest.fixture
def tail(east: Journal) -> OwnTail:
    tail = OwnTail(east, [Away()])
    with pytest.raises(NciaError):
        tail.restore()
    return tail


class OnePeer:
    def machine(self, name: ProcessName, serial: str) -> Caller:
        if name.dns == "serve.west.ncia":
            return Caller(name.dns, "peer")
        raise Refusal("api.stranger", "know the caller", "a stranger")


def through(east: Journal, tail: OwnTail, door: str, name: str = "") -> TestClient:
    room = waiting_room(EAST, "test", OnePeer(), east, tail, {"kim"})
    return TestClient(Certified(Door(room, door), name, "1F00"))


def test_the_journal_is_offered_to_the_peer_from_the_first_moment_on(east: Journal, tail: OwnTail) -> None:
    assert through(east, tail, TCP).get(f"/v1/journal/{EAST}/held").status_code == 401
    peer = through(east, tail, WIRE, "serve.west.ncia")
    told = peer.get(f"/v1/journal/{EAST}/held").json()["held"]
    assert (told["site"], told["entries"], told["note"]) == (EAST, 2, east.checkpoint().note())
    assert len(peer.get(f"/v1/journal/{EAST}/entries").json()["entries"]) == 2


def test_health_tells_why_nothing_is_written(east: Journal, tail: OwnTail) -> None:
    told = through(east, tail, TCP).get("/v1/health").json()
    assert (told["site"], told["journal_size"]) == (EAST, 2)
    assert "west: timed out" in told["read_only"]


def test_all_else_is_put_off_with_the_reason_and_the_override(east: Journal, tail: OwnTail) -> None:
    for method, path in (("GET", "/v1/status"), ("POST", "/v1/recovery/plans"), ("GET", "/")):
        answer = through(east, tail, UNIX).request(method, path)
        told = answer.json()
        assert (answer.status_code, told["code"]) == (503, "serve.read-only")
        assert "ncia journal swear" in told["hint"]


def test_a_controller_whose_journal_is_whole_says_that_it_is_starting(east: Journal, tail: OwnTail) -> None:
    through(east, tail, UNIX).post("/v1/journal/swear", json={"by": "kim", "reason": "west burnt"})
    told = through(east, tail, UNIX).get("/v1/status").json()
    assert (told["code"], told["detail"]) == ("serve.starting", "east's controller is starting")


def test_a_person_of_the_estate_may_swear_on_the_sites_own_socket_only(east: Journal, tail: OwnTail) -> None:
    oath = {"by": "kim", "reason": "west burnt"}
    assert through(east, tail, TCP).post("/v1/journal/swear", json=oath).status_code == 401
    refused = through(east, tail, UNIX).post("/v1/journal/swear", json={**oath, "by": "nobody"})
    assert (refused.status_code, east.size(EAST)) == (400, 2)
    assert through(east, tail, UNIX).post("/v1/journal/swear", json={"by": "kim", "reason": ""}).status_code == 422
    assert through(east, tail, UNIX).post("/v1/journal/swear", json=oath).json()["size"] == 2
    assert isinstance(east.entries(EAST)[-1].body, JournalSworn)
    assert through(east, tail, UNIX).post("/v1/journal/swear", json=oath).status_code == 409


def test_a_request_that_comes_early_waits_for_the_whole_controller() -> None:
    async def answering() -> list[str]:
        heard: list[str] = []

        def room(word: str) -> Any:
            async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
                heard.append(f"{word} {scope['path']}")

            return application

        front = Front(room("waiting"))
        early = asyncio.create_task(front({"path": "/v1/status"}, None, None))
        await front({"path": "/v1/journal/checkpoint"}, None, None)
        front.become(room("whole"))
        await early
        await front({"path": "/v1/journal/checkpoint"}, None, None)
        return heard

    assert asyncio.run(answering()) == [
        "waiting /v1/journal/checkpoint",
        "whole /v1/status",
        "whole /v1/journal/checkpoint",
    ]
