"""How the lab sets the faults of an end's links: one JSON line each way over a unix socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ncia.core.base.errors import NciaError, Unreachable
from ncia.lab.relay.faults import Faults
from ncia.lab.relay.link import Link

SOCKET = "control.sock"
ANSWER_SECONDS_MAX = 5.0


def set_faults(folder: Path, peers: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Change the faults of the end in ``folder`` towards ``peers``, in their order, in one go; answers its state.

    ``changes``: fields of :class:`Faults`.
    """
    return ask(folder, {"peers": list(peers), "changes": changes})


def state(folder: Path) -> dict[str, Any]:
    """``{peer: {connected, channels, bytes_sent, delay_seconds, bytes_per_second, cut, swallow}}`` of an end."""
    return ask(folder, {"peers": [], "changes": {}})


def ask(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    # The path of a unix socket is bounded (107 bytes): go through the open folder.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.settimeout(ANSWER_SECONDS_MAX)
            own.connect(f"/proc/self/fd/{handle}/{SOCKET}")
            own.sendall(json.dumps(request).encode() + b"\n")
            answer = own.makefile("rb").readline()
    except OSError as error:
        raise Unreachable("lab.relay-silent", f"ask the relay end {folder.name}", str(error), "lab status") from error
    finally:
        os.close(handle)
    told: dict[str, Any] = json.loads(answer or b'{"error": "no answer"}')
    if "error" in told:
        raise NciaError("lab.relay-refused", f"set the relay end {folder.name}", str(told["error"]))
    return told


async def serve(folder: Path, links: dict[str, Link]) -> asyncio.AbstractServer:
    """Answer :func:`ask` for these links. The socket's folder is the process's working folder."""
    (folder / SOCKET).unlink(missing_ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            writer.write(json.dumps(_obey(json.loads(line), links)).encode() + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(answer, path=os.path.relpath(folder / SOCKET))


def _obey(request: dict[str, Any], links: dict[str, Link]) -> dict[str, Any]:
    strangers = [peer for peer in request["peers"] if peer not in links]
    if strangers or not set(request["changes"]) <= set(Faults().as_json()):
        return {"error": f"no link to {', '.join(strangers)}" if strangers else "no such fault"}
    for peer in request["peers"]:
        links[peer].set_faults(replace(links[peer].faults, **request["changes"]))
    return {peer: _state(link) for peer, link in links.items()}


def _state(link: Link) -> dict[str, Any]:
    return {
        "connected": link.connected,
        "channels": len(link.channels),
        "bytes_sent": link.bytes_sent,
        **link.faults.as_json(),
    }
