"""Both doors of the API on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path
from typing import Any

import httpx

from ncia.api.doors import TCP, UNIX
from ncia.app.web import HEAD_BYTES_MAX, Opening, serve, tcp_socket, unix_socket
from ncia.core.estate import Address


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["ncia.door"].encode()})


def test_each_socket_is_marked_with_its_own_door_and_the_unix_one_is_private(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    unix, tcp = unix_socket(path), tcp_socket(Address("127.0.0.1", 0))

    async def world() -> tuple[str, str]:
        serving = asyncio.create_task(serve(application, [Opening(UNIX, unix), Opening(TCP, tcp)]))
        async with (
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as inside,
            httpx.AsyncClient() as outside,
        ):
            told = (
                (await inside.get("http://ncia/")).text,
                (await outside.get(f"http://127.0.0.1:{tcp.getsockname()[1]}/")).text,
            )
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return told

    assert asyncio.run(world()) == ("unix", "tcp")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_head_of_a_request_is_bounded() -> None:
    tcp = tcp_socket(Address("127.0.0.1", 0))

    async def world() -> bytes:
        serving = asyncio.create_task(serve(application, [Opening(TCP, tcp)]))
        reader, writer = await asyncio.open_connection(*tcp.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nx: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(HEAD_BYTES_MAX // 1000 + 20):
                writer.write(b"x" * 1000)
                await writer.drain()
        told = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return told

    assert asyncio.run(world()).startswith(b"HTTP/1.1 400 ")


def test_a_dead_predecessors_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    unix_socket(path).close()
    with unix_socket(path) as again:
        assert again.getsockname() == str(path)
