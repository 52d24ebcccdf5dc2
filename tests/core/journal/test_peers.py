from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from ncia.api.doors import TCP, Door
from ncia.api.guard import Guard
from ncia.api.routes import journal
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.journal import Entry, Journal
from ncia.core.journal.peer_http import HttpPeerSource
from ncia.core.journal.peers import PeerLink
from ncia.core.journal.reader import WireReader
from ncia.core.requests.caller import Caller
from tests.core.journal.sites import EAST, WEST, JournalSource, SetClock, journal_of, said, signer, sqlite_url


@pytest.fixture
def east(tmp_path: Path) -> Journal:
    return journal_of(EAST, sqlite_url(tmp_path, "east"))


@pytest.fixture
def west(tmp_path: Path) -> Journal:
    return journal_of(WEST, sqlite_url(tmp_path, "west"))


def link_of(journal: Journal, source: JournalSource, batch: int = 1000) -> PeerLink:
    return PeerLink(journal, source, SetClock(), batch=batch)


def write(journal: Journal, count: int) -> None:
    journal.append_all([said(str(number)) for number in range(count)], by="tester")


def test_a_pull_brings_all_in_bounded_batches_and_a_second_brings_nothing(east: Journal, west: Journal) -> None:
    write(west, 10)
    source = JournalSource(west)
    link = link_of(east, source, batch=4)
    assert link.pull() == 10
    assert [each for each in source.asked if "entries" in each] == ["entries 0 4", "entries 4 4", "entries 8 2"]
    assert link.pull() == 0
    assert west.entries(WEST) == east.entries(WEST)


def test_a_pull_with_nothing_new_asks_one_question(east: Journal, west: Journal) -> None:
    write(west, 3)
    link_of(east, JournalSource(west)).pull()
    source = JournalSource(west)
    link_of(east, source).pull()
    assert source.asked == ["checkpoint"]


def test_a_pull_broken_off_goes_on_where_it_ended(east: Journal, west: Journal) -> None:
    write(west, 10)

    class Breaking(JournalSource):
        def entries(self, start: int, limit: int) -> tuple[Entry, ...]:
            if start == 4:
                raise Unreachable("journal.peer-unreachable", "read", "the link was cut")
            return super().entries(start, limit)

    with pytest.raises(Unreachable):
        link_of(east, Breaking(west), batch=4).pull()
    assert east.size(WEST) == 4
    write(west, 1)
    assert link_of(east, JournalSource(west), batch=4).pull() == 7
    assert west.entries(WEST) == east.entries(WEST)


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_a_fork_is_told_loudly_and_the_journal_stays_as_it_was(
    east: Journal, west: Journal, tmp_path: Path, kept: int
) -> None:
    write(west, 4)
    link_of(east, JournalSource(west)).pull()
    held = east.entries(WEST)
    fork = journal_of(WEST, sqlite_url(tmp_path, "fork"))
    fork.append_all([said(str(n) if n < kept - 1 else f"fork {n}") for n in range(kept + 3)], by="tester")
    with pytest.raises(NciaError) as refused:
        link_of(east, JournalSource(fork)).pull()
    assert ("journal.fork", held) == (refused.value.code, east.entries(WEST))


class Altering(JournalSource):
    """Answers entries that are not those of its head."""

    def entries(self, start: int, limit: int) -> tuple[Entry, ...]:
        first, *rest = super().entries(start, limit)
        return (*rest, first)


class Withholding(JournalSource):
    def entries(self, start: int, limit: int) -> tuple[Entry, ...]:
        return ()


class Overstating(JournalSource):
    def checkpoint(self, after=-1, patience_seconds=0.0):
        return signer(WEST, "stolen").sign(99, b"x" * 32)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Altering, "journal.gap"), (Withholding, "journal.withheld"), (Overstating, "journal.forged-head")],
)
def test_an_answer_that_does_not_hold_is_refused(east: Journal, west: Journal, kind: type, code: str) -> None:
    write(west, 3)
    with pytest.raises(NciaError) as refused:
        link_of(east, kind(west)).pull()
    assert (code, 0) == (refused.value.code, east.size(WEST))


def test_the_status_tells_the_fault_while_it_lasts(east: Journal, west: Journal) -> None:
    write(west, 3)
    source = Withholding(west)
    link = link_of(east, source)
    link.pull_once()
    assert (link.status.pulled_at, link.status.fault and link.status.fault.code) == (None, "journal.withheld")
    source.__class__ = JournalSource  # type: ignore[assignment]
    link.pull_once()
    assert link.status.fault is None
    assert link.status.pulled_at


def test_pulling_goes_on_until_it_is_told_to_stop(east: Journal, west: Journal) -> None:
    stop = threading.Event()
    east.subscribe(lambda entry: stop.set() if entry.number == 4 else None)
    west.subscribe(lambda entry: None)
    write(west, 4)
    pulling = threading.Thread(target=link_of(east, JournalSource(west)).keep_pulling, args=(stop, 0.01))
    pulling.start()
    write(west, 1)
    pulling.join(20)
    assert (pulling.is_alive(), east.size(WEST)) == (False, 5)


def test_an_answer_that_nobody_foresaw_does_not_end_the_pulling(east: Journal, west: Journal) -> None:
    write(west, 1)

    class Odd(JournalSource):
        def checkpoint(self, after=-1, patience_seconds=0.0):
            if not self.asked:
                self.asked.append("odd")
                raise ValueError("what is this?")
            return super().checkpoint(after, patience_seconds)

    stop = threading.Event()
    east.subscribe(lambda entry: stop.set())
    pulling = threading.Thread(target=link_of(east, Odd(west)).keep_pulling, args=(stop, 0.01))
    pulling.start()
    pulling.join(20)
    assert (pulling.is_alive(), east.size(WEST)) == (False, 1)


def test_a_peer_that_has_nothing_new_answers_when_it_has(west: Journal) -> None:
    write(west, 2)
    reader = WireReader(west)

    async def go() -> list[int]:
        await reader.grown(1, 30.0)
        await reader.grown(2, 0.01)
        sizes = [reader.size()]
        waiting = asyncio.create_task(reader.grown(2, 30.0))
        await asyncio.sleep(0)
        await asyncio.to_thread(write, west, 1)
        await asyncio.wait_for(waiting, 5)
        return [*sizes, reader.size()]

    assert asyncio.run(go()) == [2, 3]


@pytest.fixture
def served(west: Journal) -> Iterator[str]:
    """West's journal behind the real routes, at a port of the kernel's choice."""
    application = FastAPI()
    platform: Any = SimpleNamespace(journal=WireReader(west), accounts=OneAuditor())
    application.include_router(journal(platform))
    application.add_middleware(Guard, platform=platform)
    server = uvicorn.Server(uvicorn.Config(Door(application, TCP), port=0, log_level="error", lifespan="off"))
    listener = server.config.bind_socket()
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    serving.join()


def test_the_log_comes_over_http(east: Journal, west: Journal, served: str) -> None:
    write(west, 25)
    link = PeerLink(east, HttpPeerSource(served, WEST, "the-peer"), SetClock(), batch=10)
    assert link.pull() == 25
    write(west, 5)
    assert link.pull() == 5
    assert west.entries(WEST) == east.entries(WEST)
    assert west.checkpoint().root == east.root(WEST, 30)


def test_an_entry_comes_over_http_while_the_peer_is_asked(east: Journal, west: Journal, served: str) -> None:
    write(west, 1)
    source = HttpPeerSource(served, WEST, "the-peer")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(source.checkpoint, 1, 4.0)
        write(west, 1)
        assert asking.result(30).size == 2
    assert source.checkpoint(2, 0.01).size == 2
    with pytest.raises(NciaError, match="422"):
        source.checkpoint(2, 3600.0)


class OneAuditor:
    def caller(self, secret: str) -> Caller:
        if secret == "the-peer":
            return Caller("choi", "auditor")
        raise Refusal("api.signed-out", "know the caller", "nobody has an account here")


def test_without_the_token_nothing_comes(east: Journal, served: str) -> None:
    with pytest.raises(NciaError) as refused:
        PeerLink(east, HttpPeerSource(served, WEST, "wrong"), SetClock()).pull()
    assert refused.value.code == "journal.peer-refused"
    assert "wrong" not in str(refused.value)


def test_a_peer_that_is_away_is_unreachable(east: Journal) -> None:
    with pytest.raises(Unreachable):
        PeerLink(east, HttpPeerSource("http://127.0.0.1:1", WEST, "x"), SetClock()).pull()
