"""Ports for servers that tests start: outside of the range from which a machine takes those of outgoing connections, or
another test's connection could have the port before its server does."""

from __future__ import annotations

import random
import socket

BELOW_EPHEMERAL = range(12_000, 32_000)


def free_port(host: str = "127.0.0.1") -> int:
    """A port of ``host`` on which nobody listens."""
    draw = random.SystemRandom()  # processes that test side by side draw different ones
    while True:
        port = draw.choice(BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """As many, all different."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
