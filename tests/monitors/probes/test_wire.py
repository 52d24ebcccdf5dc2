import asyncio
import time

import pytest

from monitors.probes.wire import BODY_BYTES_MAX, NoAnswer, Wire, request, tcp
from ncia.core.estate.model import Address
from tests.monitors.servers import HttpServer, free_address, http_server, reply

GET = request("GET", "/", "x")
TIMEOUT = 0.4


def wire(address: Address) -> Wire:
    return Wire(tcp(address), str(address), TIMEOUT)


def test_a_kept_connection_is_used_again() -> None:
    async def go() -> HttpServer:
        async with http_server(lambda _: reply(200, b"yes")) as server:
            asking = wire(server.address)
            assert [(await asking.ask(GET)).body for _ in range(3)] == [b"yes"] * 3
            await asking.close()
            return server

    assert asyncio.run(go()).connections == 1


def test_a_connection_that_went_stale_is_replaced_inside_the_same_ask() -> None:
    async def go() -> HttpServer:
        async with http_server(lambda _: reply(200)) as server:
            asking = wire(server.address)
            await asking.ask(GET)
            server.hang_up()
            assert (await asking.ask(GET)).status == 200
            await asking.close()
            return server

    assert asyncio.run(go()).connections == 2


def test_what_must_not_be_sent_twice_is_not() -> None:
    """The server takes the second request and hangs up without a word."""
    taken = []

    def answer(head: bytes) -> bytes | None:
        taken.append(head)
        if len(taken) == 2:
            server_of[0].hang_up()
            return None
        return reply(200)

    server_of: list[HttpServer] = []

    async def go() -> None:
        async with http_server(answer) as server:
            server_of.append(server)
            asking = wire(server.address)
            await asking.ask(GET)
            with pytest.raises(NoAnswer) as caught:
                await asking.ask(GET, again_when_stale=False)
            assert caught.value.code == "broken"

    asyncio.run(go())
    assert len(taken) == 2


def test_the_time_out_is_absolute_also_for_a_server_that_drips() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    async def go() -> float:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        asking = wire(Address(*server.sockets[0].getsockname()[:2]))
        begin = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            await asking.ask(GET)
        assert caught.value.code == "timeout"
        server.close()
        return time.monotonic() - begin

    assert TIMEOUT <= asyncio.run(go()) < TIMEOUT * 3


def test_a_silent_server_and_a_refusing_address_are_told_apart() -> None:
    async def go() -> list[str]:
        codes = []
        async with http_server(lambda _: None) as server:
            for address in (server.address, free_address()):
                with pytest.raises(NoAnswer) as caught:
                    await wire(address).ask(GET)
                codes.append(caught.value.code)
        return codes

    assert asyncio.run(go()) == ["timeout", "refused"]


def test_while_one_ask_hangs_the_next_one_dials_for_itself() -> None:
    served = []

    def answer(head: bytes) -> bytes | None:
        served.append(head)
        return None if len(served) == 1 else reply(200)

    async def go() -> tuple[str, int]:
        async with http_server(answer) as server:
            asking = wire(server.address)
            hanging = asyncio.create_task(asking.ask(GET))
            while not served:
                await asyncio.sleep(0)
            answered = await asking.ask(GET)
            with pytest.raises(NoAnswer) as caught:
                await hanging
            await asking.close()
            return caught.value.code, answered.status

    assert asyncio.run(go()) == ("timeout", 200)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (reply(200, b"x" * (BODY_BYTES_MAX * 2)), b"x" * (BODY_BYTES_MAX * 2)),
    ],
)
def test_bodies_are_read_by_length_chunks_or_not_at_all(raw: bytes, body: bytes) -> None:
    async def go() -> bytes:
        async with http_server(lambda _: raw) as server:
            return (await wire(server.address).ask(GET)).body

    found = asyncio.run(go())
    assert found == body or found == body[:BODY_BYTES_MAX]


@pytest.mark.parametrize("raw", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_what_is_no_http_is_a_broken_answer(raw: bytes) -> None:
    async def go() -> str:
        async with http_server(lambda _: raw) as server:
            with pytest.raises(NoAnswer) as caught:
                await wire(server.address).ask(GET)
            return caught.value.code

    assert asyncio.run(go()) == "broken"
