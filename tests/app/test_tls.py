"""The wire on real sockets: who is let in by certificate, and a renewal that needs no restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitors.probes.wire import NoAnswer, Wire, request
from monitors.probes.wire import tls as dial_tls
from ncia.api.doors import CERTIFICATE, WIRE
from ncia.app.tls import Identity, console_context, server_name
from ncia.app.web import Opening, serve, tcp_socket
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_settings
from ncia.core.estate import Address
from ncia.core.journal.peer_http import HttpPeerSource
from ncia.core.requests.certificates import shown_by
from tests.identities import identity

EAST, WEST = SiteId("east"), SiteId("west")


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    shown = shown_by(scope["state"][CERTIFICATE])
    assert shown is not None
    body = json.dumps({"name": shown[0].dns, "serial": shown[1], "proof": [shown[0].dns.encode().hex()]}).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def at_the_wire(server: Identity, ask: Callable[[Address], Awaitable[Any]]) -> Any:
    """What ``ask`` brings from a wire that ``server`` serves."""

    async def world() -> Any:
        listener = tcp_socket(Address("127.0.0.1", 0))
        serving = asyncio.create_task(serve(application, [Opening(WIRE, listener, server.server())]))
        try:
            return await ask(Address("127.0.0.1", listener.getsockname()[1]))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    return asyncio.run(world())


async def told(address: Address, client: Identity, name: str) -> dict[str, Any]:
    wire = Wire(dial_tls(address, client.client(), name), str(address), 5.0)
    try:
        answer = await wire.ask(request("GET", "/", "ncia"))
    finally:
        await wire.close()
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_an_agents_connection_says_whose_it_is(tmp_path: Path) -> None:
    server, agent = identity(tmp_path, EAST, "serve"), identity(tmp_path, WEST, "agent")
    found = at_the_wire(server, lambda at: told(at, agent, server_name(EAST)))
    assert (found["name"], found["serial"]) == ("agent.west.ncia", agent.pki.facts("agent").serial)


def test_the_other_controller_is_asked_by_its_name_whatever_its_address(tmp_path: Path) -> None:
    server, peer = identity(tmp_path, EAST, "serve"), identity(tmp_path, WEST, "serve")

    async def ask(at: Address) -> Any:
        source = HttpPeerSource(f"https://{at}", EAST, tls=peer.client(), server_name=server_name(EAST))
        try:
            return await asyncio.to_thread(source.consistency, 0, 1)
        finally:
            source.close()

    assert at_the_wire(server, ask) == (b"serve.west.ncia",)


@pytest.mark.parametrize("case", ["another name is expected", "another root", "no certificate", "in the clear"])
def test_whoever_is_not_of_the_estate_gets_no_answer(tmp_path: Path, case: str) -> None:
    server, agent = identity(tmp_path, EAST, "serve"), identity(tmp_path, WEST, "agent")

    async def ask(at: Address) -> None:
        if case == "another name is expected":
            await told(at, agent, server_name(WEST))
        elif case == "another root":
            await told(at, identity(tmp_path, WEST, "agent", "forged"), server_name(EAST))
        else:
            scheme = "http" if case == "in the clear" else "https"
            async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - a stranger who would believe anything
                await client.get(f"{scheme}://{at}/")

    with pytest.raises((NoAnswer, httpx.TransportError)):
        at_the_wire(server, ask)


def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    server, agent = identity(tmp_path, EAST, "serve"), identity(tmp_path, WEST, "agent")
    first = agent.pki.facts("agent").serial

    async def ask(at: Address) -> list[str]:
        seen = [(await told(at, agent, server_name(EAST)))["serial"]]
        renewed = agent.pki.issue("agent", SystemClock().now())
        seen.append((await told(at, agent, server_name(EAST)))["serial"])
        agent.refresh()
        server.pki.issue("serve", SystemClock().now())
        server.refresh()
        seen.append((await told(at, agent, server_name(EAST)))["serial"])
        assert seen[2] == renewed.serial
        return seen

    assert at_the_wire(server, ask)[:2] == [first, first]


def test_a_renewal_that_cannot_be_read_leaves_the_old_certificate_in_use(tmp_path: Path) -> None:
    server, agent = identity(tmp_path, EAST, "serve"), identity(tmp_path, WEST, "agent")
    agent.pki.file("agent").write_text("half of it")
    agent.refresh()
    assert at_the_wire(server, lambda at: told(at, agent, server_name(EAST)))["name"] == "agent.west.ncia"


def test_without_a_certificate_a_process_does_not_start_and_says_what_to_do(tmp_path: Path) -> None:
    identity(tmp_path, EAST, "serve").pki.file("agent").unlink()
    with pytest.raises(NciaError, match=r"agent\.pem.*ncia pki issue"):
        identity(tmp_path, EAST, "agent")


def test_people_are_served_in_the_clear_where_nobody_else_can_listen_only(tmp_path: Path) -> None:
    identity(tmp_path, EAST, "serve")
    settings = load_settings(tmp_path / "root-east" / "site.yaml")
    assert console_context(settings, Address("127.10.0.1", 8000)) is None
    with pytest.raises(NciaError, match="others can read"):
        console_context(settings, Address("10.1.0.1", 8000))
    (settings.secrets / "pki" / "console.pem").write_bytes((settings.secrets / "pki" / "serve.pem").read_bytes())
    assert console_context(replace(settings), Address("10.1.0.1", 8000)) is not None
