"""Reads over kept connections, against servers that keep, close or say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ncia.core.estate import Address
from ncia.lab.apps.http import Answer, NoAnswer, NotSent, Reads, Request, listen
from tests.ports import free_port

READ = Request("GET", "/acts/latest")
PATIENCE = {"connect_seconds": 5.0, "seconds": 5.0}


class Site:
    """A server that remembers from which of the caller's ports each request came. ``silent``: it answers no more."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", free_port())
        self.callers: list[int] = []
        self.silent = False
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.callers.append(writer.get_extra_info("peername")[1])
                if not self.silent:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def hang_up(self) -> None:
        """Every connection ends, as those of a process that dies."""
        for writer in self._writers:
            writer.transport.abort()


def with_site(story: Callable[[Site, Reads], Awaitable[None]]) -> None:
    async def run() -> None:
        site = Site()
        async with await asyncio.start_server(site.serve, site.address.host, site.address.port):
            await story(site, Reads())
            site.hang_up()

    asyncio.run(run())


def test_a_second_read_goes_over_the_connection_of_the_first():
    async def story(site: Site, reads: Reads) -> None:
        assert [(await reads.send(site.address, READ, **PATIENCE)).status for _ in range(3)] == [200, 200, 200]
        assert len(set(site.callers)) == 1

    with_site(story)


def test_reads_at_once_have_a_connection_each():
    async def story(site: Site, reads: Reads) -> None:
        answers = await asyncio.gather(*(reads.send(site.address, READ, **PATIENCE) for _ in range(3)))
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert len(set(site.callers)) == 3

    with_site(story)


def test_a_kept_connection_that_has_died_costs_no_read():
    async def story(site: Site, reads: Reads) -> None:
        await reads.send(site.address, READ, **PATIENCE)
        site.hang_up()
        assert (await reads.send(site.address, READ, **PATIENCE)).status == 200
        assert len(set(site.callers)) == 2

    with_site(story)


def test_a_silent_site_is_not_asked_twice_and_its_connection_is_not_used_again():
    async def story(site: Site, reads: Reads) -> None:
        await reads.send(site.address, READ, **PATIENCE)
        site.silent = True
        with pytest.raises(NoAnswer):
            await reads.send(site.address, READ, connect_seconds=5.0, seconds=0.1)
        assert len(site.callers) == 2
        site.silent = False
        assert (await reads.send(site.address, READ, **PATIENCE)).status == 200
        assert len(set(site.callers)) == 2

    with_site(story)


def test_who_gives_up_leaves_no_answer_for_the_next_question():
    async def story(site: Site, reads: Reads) -> None:
        await reads.send(site.address, READ, **PATIENCE)
        site.silent = True
        asking = asyncio.create_task(reads.send(site.address, READ, **PATIENCE))
        while len(site.callers) < 2:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        site.silent = False
        await reads.send(site.address, READ, **PATIENCE)
        assert len(set(site.callers)) == 2

    with_site(story)


def test_a_port_that_nobody_listens_on_was_not_sent_to():
    async def run() -> None:
        with pytest.raises(NotSent):
            await Reads().send(Address("127.0.0.1", free_port()), READ, **PATIENCE)

    asyncio.run(run())


def test_a_server_of_ours_keeps_the_connection_of_a_read():
    async def run() -> None:
        peers: list[Request] = []

        async def answer(request: Request) -> Answer:
            peers.append(request)
            return Answer.of(200, {})

        address, reads = Address("127.0.0.1", free_port()), Reads()
        async with await listen(answer, address):
            for _ in range(2):
                assert (await reads.send(address, READ, **PATIENCE)).status == 200
        assert [each.headers["connection"] for each in peers] == ["keep-alive", "keep-alive"]

    asyncio.run(run())
