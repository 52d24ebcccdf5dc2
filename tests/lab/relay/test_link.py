"""Two real ends with mTLS between them, in one process: what a link carries, holds back and loses."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace

import pytest

from ncia.lab.relay.end import End
from ncia.lab.relay.faults import Faults
from tests.lab.relay.ends import echo, holds, pair, write_certificates
from tests.ports import free_port

SILENCE_SECONDS = 0.4


def run(coroutine) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def fault(made, **changes) -> None:
    for link in (made.near.links["b"], made.far.links["a"]):
        link.set_faults(Faults(**changes))


async def say(stream, data: bytes) -> bytes:
    reader, writer = stream
    writer.write(data)
    await writer.drain()
    return await reader.readexactly(len(data))


async def silent(awaitable) -> bool:
    """Whether it answers nothing for a while; it goes on waiting."""
    done, _ = await asyncio.wait({awaitable}, timeout=SILENCE_SECONDS)
    return not done


def test_bytes_come_back_unchanged_over_many_channels_at_once(tmp_path):
    async def one(made, size: int) -> bool:
        reader, writer = await asyncio.open_connection(*made.door)
        sent = os.urandom(size)
        writer.write(sent)
        writer.write_eof()
        got = await reader.read(-1)
        writer.close()
        return hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()

    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            sizes = [1, 17, 16 * 1024, 256 * 1024 + 1, 3_000_000] * 4
            assert all(await asyncio.gather(*(one(made, size) for size in sizes)))
            await holds(lambda: not made.link.channels and not made.far.links["a"].channels)

    run(scenario())


def test_a_reader_that_stops_holds_up_its_own_channel_only(tmp_path):
    async def flood(reader, writer) -> None:
        first = await reader.read(5)
        if first == b"flood":
            for _ in range(200):
                writer.write(b"x" * 65536)
                await writer.drain()
        else:
            writer.write(first)
            await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with pair(tmp_path, flood) as made:
            _, stuck = await asyncio.open_connection(*made.door, limit=1)
            stuck.write(b"flood")
            await asyncio.sleep(SILENCE_SECONDS)
            assert await say(await asyncio.open_connection(*made.door), b"hello") == b"hello"
            stuck.transport.abort()

    run(scenario())


def test_a_dead_service_resets_the_connection(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            reader, _ = await asyncio.open_connection(*made.dead_door)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            await holds(lambda: not made.link.channels)

    run(scenario())


def test_a_cut_link_answers_nobody_and_goes_on_after_heal_with_nothing_lost(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            before = await asyncio.open_connection(*made.door)
            assert await say(before, b"before") == b"before"
            fault(made, cut=True)
            answer = asyncio.create_task(say(before, b"during" * 50_000))
            new = asyncio.create_task(asyncio.open_connection(*made.door))
            assert await silent(answer)
            assert await silent(new)
            fault(made)
            assert await answer == b"during" * 50_000
            # Its SYN is sent again by the kernel after a second: nobody had refused it.
            assert await say(await new, b"after") == b"after"

    run(scenario())


def test_a_connection_ended_during_a_cut_ends_at_the_far_side_after_heal(tmp_path):
    async def scenario() -> None:
        ended = asyncio.Event()

        async def serve(reader, writer) -> None:
            await reader.read(-1)
            ended.set()
            writer.close()

        async with pair(tmp_path, serve) as made:
            _, writer = await asyncio.open_connection(*made.door)
            await holds(lambda: len(made.far.links["a"].channels) == 1)
            fault(made, cut=True)
            writer.close()
            await asyncio.sleep(SILENCE_SECONDS)
            assert not ended.is_set()
            fault(made)
            await ended.wait()

    run(scenario())


def test_a_swallowed_link_loses_what_was_sent_and_sends_neither_fin_nor_rst(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            before = await asyncio.open_connection(*made.door)
            assert await say(before, b"before") == b"before"
            fault(made, swallow=True)
            answer = asyncio.create_task(say(before, b"lost"))
            new = asyncio.create_task(asyncio.open_connection(*made.door))
            assert await silent(answer)
            assert await silent(new)
            await made.far.stop()  # the far site dies: still nobody is told
            assert await silent(answer)
            assert await silent(new)
            for task in (answer, new):
                task.cancel()
            before[1].transport.abort()

    run(scenario())


def test_connections_of_a_swallowed_time_are_reset_once_the_link_is_whole(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            before = await asyncio.open_connection(*made.door)
            assert await say(before, b"before") == b"before"
            fault(made, swallow=True)
            answer = asyncio.create_task(say(before, b"lost"))
            assert await silent(answer)
            fault(made)
            with pytest.raises(ConnectionResetError):
                await answer
            await made.joined()
            assert await say(await asyncio.open_connection(*made.door), b"new") == b"new"

    run(scenario())


def test_a_dead_far_end_neither_accepts_nor_refuses(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            await made.far.stop()
            await holds(lambda: not made.link.connected)
            assert await silent(asyncio.create_task(asyncio.open_connection(*made.door)))

    run(scenario())


def test_a_slow_link_delays_each_way(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            stream = await asyncio.open_connection(*made.door)
            await say(stream, b"warm")
            fault(made, delay_seconds=0.15)
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await say(stream, b"slow") == b"slow"
            assert loop.time() - began >= 0.3
            stream[1].close()

    run(scenario())


def test_a_throttled_link_carries_no_more_than_its_rate(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            fault(made, bytes_per_second=200_000)
            stream = await asyncio.open_connection(*made.door)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await say(stream, b"x" * 120_000)
            assert loop.time() - began >= (120_000 - 32_768) / 200_000
            stream[1].close()

    run(scenario())


def test_an_end_with_a_certificate_of_another_authority_is_not_let_in(tmp_path):
    async def scenario() -> None:
        async with pair(tmp_path, echo) as made:
            await made.far.stop()
            await holds(lambda: not made.link.connected)
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            write_certificates(elsewhere, ("b",))
            impostor = End(replace(made.far.settings, address=f"127.0.0.1:{free_port()}"), elsewhere / "b")
            await impostor.start()
            await asyncio.sleep(SILENCE_SECONDS)
            assert (made.link.connected, impostor.links["a"].connected) == (False, False)
            await impostor.stop()

    run(scenario())
