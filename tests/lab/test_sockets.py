from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys

import pytest

from ncia.lab.sockets import ESTABLISHED, LISTENING, End, Rules, Snapshot, joined, judge, look

WORLD = ipaddress.IPv4Network("127.60.0.0/16")
RULES = Rules(
    (WORLD,),
    {
        "east": (ipaddress.IPv4Network("127.60.0.0/24"),),
        "west": (ipaddress.IPv4Network("127.60.1.0/24"),),
        "relay/west": (ipaddress.IPv4Network("127.60.1.0/24"), ipaddress.IPv4Network("127.60.9.0/24")),
    },
)
ANY = ("0.0.0.0", 0)  # noqa: S104  as the kernel tells it
SERVICE, CLIENT = ("127.60.0.1", 80), ("127.0.0.1", 40000)
SERVER, CALLER = 11, 22  # processes


def seen(client_ground: str, *more: End, unix: dict[int, int] | None = None, holders=None) -> Snapshot:
    """A service of east at :80, and a client of ``client_ground`` joined to it."""
    ends = (
        End("tcp", SERVICE, ANY, LISTENING, 1),
        End("tcp", SERVICE, CLIENT, ESTABLISHED, 2),
        End("tcp", CLIENT, SERVICE, ESTABLISHED, 3),
        *more,
    )
    held = {1: {SERVER}, 2: {SERVER}, 3: {CALLER}, **(holders or {})}
    grounds = {SERVER: "east", **({CALLER: client_ground} if client_ground else {})}
    return Snapshot(ends, unix or {}, held, grounds, {SERVER: "service", CALLER: "client"})


@pytest.mark.parametrize("ground", ["east", "relay/east"])
def test_a_site_may_talk_to_itself_and_to_its_own_relay_end(ground):
    assert judge(seen(ground), RULES) == {}


@pytest.mark.parametrize("ground", ["west", "relay/west"])
def test_a_client_of_another_site_is_caught_though_its_address_says_nothing(ground):
    assert list(judge(seen(ground), RULES).values()) == [
        f"service (11) of east is joined directly to client (22) of {ground}"
    ]


def test_a_client_of_no_site_is_caught_unless_it_is_the_one_who_asks():
    assert list(judge(seen(""), RULES).values()) == [
        "tcp 127.0.0.1:40000 ↔ 127.60.0.1:80 belongs to client (22) of nobody"
    ]
    assert judge(seen(""), RULES, ignore={CALLER}) == {}


def test_a_connection_that_waits_to_be_accepted_belongs_to_its_listener():
    waiting = End("tcp", SERVICE, ("127.0.0.1", 40001), ESTABLISHED, 0)
    assert judge(seen("east", waiting), RULES) == {}


def test_a_connection_of_no_process_at_all_is_caught():
    orphan = End("tcp", ("127.60.0.7", 81), ("127.0.0.1", 40001), ESTABLISHED, 0)
    assert list(judge(seen("east", orphan), RULES).values()) == [
        "tcp 127.60.0.7:81 ↔ 127.0.0.1:40001 belongs to no process"
    ]


def test_a_site_may_not_listen_on_another_sites_address():
    stolen = End("tcp", ("127.60.1.5", 80), ANY, LISTENING, 4)
    told = judge(seen("east", stolen, holders={4: {SERVER}}), RULES)
    assert list(told.values()) == ["tcp 127.60.1.5:80 is not an address of east"]


def test_one_socket_in_the_hands_of_two_sites_is_caught():
    told = judge(seen("west", holders={3: {SERVER, CALLER}}), RULES)
    assert "unattributed" in {kind for kind, _ in told}


def test_unix_sockets_between_two_sites_are_caught():
    told = judge(seen("west", unix={50: 51, 51: 50}, holders={3: {SERVER}, 50: {SERVER}, 51: {CALLER}}), RULES)
    assert list(told.values()) == ["service (11) of east is joined directly to client (22) of west"]


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [("east", "east", True), ("relay/east", "relay/west", True), ("relay/west", "west", True), ("east", "west", False)],
)
def test_who_may_be_joined(one, other, may):
    assert (joined(one, other), joined(other, one)) == (may, may)


SERVE = """
import socket, sys
tcp = socket.create_server(("127.60.0.1", 0)); unix = socket.socket(socket.AF_UNIX); unix.bind("s"); unix.listen()
print(tcp.getsockname()[1], flush=True)
kept = [tcp.accept(), unix.accept()]
print("joined", flush=True)
sys.stdin.read()
"""
CALL = """
import socket, sys
tcp = socket.create_connection(("127.60.0.1", int(sys.argv[1])))
unix = socket.socket(socket.AF_UNIX); unix.connect("../east/s")
held = open("../east/file") if sys.argv[2:] else None
print("calling", flush=True)
sys.stdin.read()
"""


def spawn(folder, program: str, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, start_new_session=True, **pipes)


def test_a_planted_connection_and_file_between_two_real_processes_are_caught(tmp_path):
    server = spawn(tmp_path / "east", SERVE)
    port = server.stdout.readline().strip()
    (tmp_path / "east" / "file").touch()
    caller = spawn(tmp_path / "west", CALL, port, "file")
    try:
        assert (caller.stdout.readline(), server.stdout.readline()) == ("calling\n", "joined\n")
        told = judge(look(tmp_path), RULES, ignore={os.getpid()})
    finally:
        for child in (server, caller):
            child.communicate("")
    assert sorted(kind for kind, _ in told) == ["direct", "direct", "file"]
    assert all(
        f"({server.pid}) of east" in s and f"({caller.pid}) of west" in s for (k, _), s in told.items() if k == "direct"
    )


def test_the_same_two_within_one_site_are_as_they_should_be(tmp_path):
    server = spawn(tmp_path / "east", SERVE)
    caller = spawn(tmp_path / "east", CALL, server.stdout.readline().strip())
    try:
        assert (caller.stdout.readline(), server.stdout.readline()) == ("calling\n", "joined\n")
        assert judge(look(tmp_path), RULES, ignore={os.getpid()}) == {}
    finally:
        for child in (server, caller):
            child.communicate("")


def test_our_own_socket_pair_is_seen_with_both_its_ends(tmp_path):
    one, other = socket.socketpair()
    with one, other:
        peers = look(tmp_path).unix_peers
        inodes = [os.fstat(own.fileno()).st_ino for own in (one, other)]
    assert (peers[inodes[0]], peers[inodes[1]]) == (inodes[1], inodes[0])
