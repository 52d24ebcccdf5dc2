"""The gate turn by turn, on a clock that the test moves and a database that the test speaks for."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Address
from recovery.fencing.files import GATE_FILE, LEASE_FILE, GateFile, LeaseFile, Standing, read, replace
from recovery.fencing.gate import BUFFER_BYTES, LOOK_NS, Door, Gate
from recovery.fencing.pgwire import CANCEL_CODE, GSS_CODE, SSL_CODE
from tests.ports import free_ports

EAST, WEST = SiteId("east"), SiteId("west")
TAX = SystemId("tax")
SECOND = 1_000_000_000
STARTUP = struct.pack("!II", 17, 196608) + b"user\0me\0\0"
HELLO = b"R" + struct.pack("!II", 8, 0)
READY = b"Z" + struct.pack("!I", 5) + b"I"
EPOCH_1 = b"S" + struct.pack("!I", 17) + b"ncia_epoch\x001\x00"


class World:
    """A gate of ``east`` for one system, its lease.json, and the database behind it."""

    def __init__(self, run: Path) -> None:
        self.run, self.ns, self.version = run, 1000 * SECOND, 0
        self.database = socket.create_server(("127.0.0.1", 0))
        self.database.settimeout(2)
        self.port = free_ports(1)[0]
        server = Address("127.0.0.1", self.database.getsockname()[1])
        doors = {TAX: Door(TAX, Address("127.0.0.1", self.port), server)}
        self.gate = Gate(EAST, doors, run, 10, lambda: self.ns, os.getpid(), boot="boot")
        self.gate.open()
        self.sockets = [self.database]

    def permit(self, seconds: float = 10, *, site: SiteId = EAST, epoch: int = 1, boot: str = "boot") -> None:
        """lease.json as a warden would write it, and one look of the gate at it."""
        self.version += 1
        deadline = self.ns + int(seconds * SECOND) if seconds else 0
        lease = LeaseFile(self.version, EAST, "w", boot, deadline, deadline, "lease held", {TAX: Standing(epoch, site)})
        replace(self.run / LEASE_FILE, lease.to_json())
        self.look()

    def look(self) -> None:
        self.ns += LOOK_NS
        self.gate.turn()

    def turns(self, count: int = 6) -> None:
        """Let the gate serve what is ready. It waits for traffic until its next look, so each turn is made one."""
        for _ in range(count):
            self.look()

    def dial(self, first: bytes = STARTUP) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(0.2)
        client.sendall(first)
        self.sockets.append(client)
        self.turns()
        return client

    def accept(self) -> socket.socket:
        self.turns()
        server, _ = self.database.accept()
        server.settimeout(0.2)
        self.sockets.append(server)
        self.turns()
        return server

    def session(self) -> tuple[socket.socket, socket.socket]:
        """A client that has been greeted, and its server side."""
        client = self.dial()
        server = self.accept()
        assert server.recv(100) == STARTUP
        server.sendall(HELLO + READY)
        self.turns()
        assert client.recv(200) == HELLO + EPOCH_1 + READY
        return client, server

    def said(self) -> GateFile:
        found = read(self.run / GATE_FILE, GateFile.from_json)
        assert found is not None
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.gate.close()
    for sock in made.sockets:
        sock.close()


def ended(sock: socket.socket) -> bool:
    """The other end is gone, and left nothing to read."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def silent(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], 0.05)[0]


def test_without_a_word_of_the_warden_it_refuses_with_57P03(world: World) -> None:
    client = world.dial()
    told = client.recv(500)
    assert told.startswith(b"E")
    assert b"C57P03\0" in told
    assert b"Mncia gate: tax lease expired or not held at east: the warden has said nothing yet\0" in told
    assert ended(client)


def test_elsewhere_active_it_names_the_site(world: World) -> None:
    world.permit(site=WEST, epoch=4)
    assert b"Mncia gate: tax is active at west, not here\0" in world.dial().recv(500)


def test_it_tells_the_epoch_before_the_first_ready(world: World) -> None:
    world.permit()
    world.session()


@pytest.mark.parametrize("code", [SSL_CODE, GSS_CODE])
def test_a_wish_for_encryption_is_answered_n_and_the_start_goes_on(world: World, code: int) -> None:
    world.permit()
    client = world.dial(struct.pack("!II", 8, code))
    assert client.recv(10) == b"N"
    client.sendall(STARTUP)
    assert world.accept().recv(100) == STARTUP


def test_a_cancel_request_is_passed_on(world: World) -> None:
    world.permit()
    cancel = struct.pack("!IIII", 16, CANCEL_CODE, 1, 2)
    client = world.dial(cancel)
    server = world.accept()
    assert server.recv(100) == cancel
    server.close()
    world.turns()
    assert ended(client)


def test_garbage_is_hung_up_on(world: World) -> None:
    world.permit()
    assert ended(world.dial(b"GET / HTTP/1.1\r\n\r\n"))


def test_a_dead_database_is_told_as_such(world: World) -> None:
    world.permit()
    world.database.close()
    client = world.dial()
    world.turns()
    assert b"does not accept connections" in client.recv(500)


def test_both_directions_pass_while_the_lease_is_held(world: World) -> None:
    world.permit()
    client, server = world.session()
    client.sendall(b"commit")
    world.turns()
    assert server.recv(100) == b"commit"
    server.sendall(b"done")
    world.turns()
    assert client.recv(100) == b"done"


def test_an_answer_that_comes_after_the_deadline_is_never_passed_on(world: World) -> None:
    world.permit()
    client, server = world.session()
    client.sendall(b"commit")
    world.turns()
    assert server.recv(100) == b"commit"
    server.sendall(b"done")
    world.ns += 10 * SECOND  # as after a freeze: the answer is already in the socket when the gate wakes
    world.turns()
    assert ended(client)
    assert ended(server)


def test_a_request_that_comes_after_the_deadline_is_never_passed_on(world: World) -> None:
    world.permit()
    client, server = world.session()
    client.sendall(b"commit")
    world.ns += 10 * SECOND
    world.turns()
    assert ended(server)
    assert ended(client)


def test_after_a_freeze_the_old_deadline_counts_even_where_the_lease_was_renewed(world: World) -> None:
    world.permit()
    client, server = world.session()
    server.sendall(b"done")
    world.ns += 10 * SECOND
    lease = LeaseFile(9, EAST, "w", "boot", world.ns + 9 * SECOND, 0, "lease held", {TAX: Standing(1, EAST)})
    replace(world.run / LEASE_FILE, lease.to_json())
    world.turns()
    assert ended(client)
    world.session()


def test_a_check_fails_also_between_receiving_and_sending(world: World) -> None:
    """The clock jumps while the gate is within one turn: the buffer that it has already received stays with it."""
    world.permit()
    client, server = world.session()
    deadline = world.ns + int(9.9 * SECOND)
    calls = iter([world.ns] * 2)
    world.gate._now_ns = lambda: next(calls, deadline + SECOND)
    server.sendall(b"done")
    world.gate.turn()
    assert ended(client)


def test_what_a_full_socket_did_not_take_is_checked_again_before_it_is_sent(world: World) -> None:
    world.permit()
    client, server = world.session()
    server.settimeout(0)
    sent = 0
    for _ in range(200):
        try:
            sent += server.send(b"x" * BUFFER_BYTES)
        except BlockingIOError:
            world.turns(2)
    world.ns += 10 * SECOND
    world.turns()
    got = 0
    try:
        while data := client.recv(BUFFER_BYTES):
            got += len(data)
    except (ConnectionResetError, TimeoutError):
        pass
    assert 0 < got < sent


def test_a_slow_reader_gets_all_while_the_lease_is_held(world: World) -> None:
    world.permit()
    client, server = world.session()
    server.settimeout(0)
    data, sent, got = os.urandom(1 << 20) * 8, 0, bytearray()
    while len(got) < len(data):
        if sent < len(data):
            with suppress(BlockingIOError):
                sent += server.send(data[sent : sent + 300_000])
        world.gate.turn()
        if not silent(client):
            got += client.recv(100_000)
    assert bytes(got) == data


def test_fencing_on_purpose_cuts_within_one_look(world: World) -> None:
    world.permit()
    client, server = world.session()
    world.permit(0)
    assert ended(client)
    assert ended(server)
    assert world.said().open == ()
    assert world.said().version_seen == world.version


def test_a_higher_epoch_cuts_connections_of_the_lower(world: World) -> None:
    world.permit()
    client, _ = world.session()
    world.permit(epoch=2)
    assert ended(client)


def test_a_renewed_lease_leaves_connections_alone(world: World) -> None:
    world.permit()
    client, server = world.session()
    for _ in range(5):
        world.ns += 5 * SECOND
        world.permit()
    server.sendall(b"done")
    world.turns()
    assert client.recv(100) == b"done"


def test_a_lease_of_another_boot_is_none(world: World) -> None:
    world.permit(boot="the boot before")
    assert b"57P03" in world.dial().recv(500)


def test_a_deadline_further_than_one_ttl_is_cut_to_it(world: World) -> None:
    world.permit(1_000_000)
    client, _ = world.session()
    world.ns += 10 * SECOND
    world.turns()
    assert ended(client)


def test_an_unreadable_lease_file_does_not_lengthen_or_shorten_what_stands(world: World) -> None:
    world.permit()
    client, server = world.session()
    replace(world.run / LEASE_FILE, "{")
    world.look()
    server.sendall(b"done")
    world.turns()
    assert client.recv(100) == b"done"
    world.ns += 10 * SECOND
    world.turns()
    assert ended(client)


def test_gate_json_says_what_is_open_and_since_when_it_is_shut(world: World) -> None:
    world.permit()
    assert (world.said().open, world.said().fenced_at_boottime_ns) == ((TAX,), None)
    world.ns += 10 * SECOND
    world.look()
    shut = world.ns
    assert (world.said().open, world.said().fenced_at_boottime_ns) == ((), shut)
    world.ns += 2 * SECOND
    world.look()
    assert (world.said().boottime_ns, world.said().fenced_at_boottime_ns) == (world.ns, shut)


def test_the_end_of_the_server_ends_the_client_after_its_last_words(world: World) -> None:
    world.permit()
    client, server = world.session()
    server.sendall(b"bye")
    server.close()
    world.turns()
    assert client.recv(100) == b"bye"
    assert ended(client)


def test_a_client_that_never_says_who_it_is_is_hung_up_on(world: World) -> None:
    world.permit()
    client = world.dial(b"\0\0")
    world.ns += 11 * SECOND
    world.turns()
    assert ended(client)


def test_a_taken_address_is_named(world: World) -> None:
    doors = {TAX: Door(TAX, Address("127.0.0.1", world.port), Address("127.0.0.1", 1))}
    with pytest.raises(NciaError, match=f"open the gate of tax at 127.0.0.1:{world.port}"):
        Gate(EAST, doors, world.run, 10, lambda: 0, 1, boot="boot").open()
