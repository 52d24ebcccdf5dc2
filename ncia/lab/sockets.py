"""Who talks to whom: every socket of the lab by inode → process → site. Addresses prove nothing.

A client that binds to nothing shows 127.0.0.1 whoever it is; what cannot lie is which process holds which end. Nothing
may reach another site but through the relay: a process of a site talks to its own site and its own relay end, relay
ends talk to each other.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ncia.core.estate import Estate
from ncia.lab import proc
from ncia.lab.layout import PEOPLE, RELAY

SETTLE_SECONDS = 0.3  # a socket may be between two hands for a moment; a violation lasts
LISTENING, ESTABLISHED = 10, 1  # states of /proc/net/tcp (include/net/tcp_states.h)
SOCKET_LINK = re.compile(r"socket:\[(\d+)\]")
TABLES = ("tcp", "tcp6", "udp", "udp6")
Networks = tuple[ipaddress.IPv4Network, ...]


@dataclass(frozen=True)
class End:
    """One socket of an internet family. Inode 0: the kernel's own (not accepted yet, or closing)."""

    family: str
    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    inode: int


@dataclass(frozen=True)
class Snapshot:
    """What the kernel tells at one moment; ``grounds`` names where each process works (absent: not in the lab)."""

    ends: tuple[End, ...]
    unix_peers: Mapping[int, int]  # inode → inode of the other end
    holders: Mapping[int, Collection[int]]  # inode → processes
    grounds: Mapping[int, str]  # process → ground
    names: Mapping[int, str]
    files: tuple[tuple[int, str], ...] = ()  # open files below another ground than the process's own: (process, path)

    def held_by(self, inode: int) -> frozenset[str]:
        """The grounds that hold the socket; empty where nobody of the lab does."""
        return frozenset(self.grounds[pid] for pid in self.holders.get(inode, ()) if pid in self.grounds)

    def told(self, inode: int) -> str:
        pids = sorted(self.holders.get(inode, ()))
        return ", ".join(f"{self.names.get(pid, '?')} ({pid}) of {self.grounds.get(pid, 'nobody')}" for pid in pids)


@dataclass(frozen=True)
class Rules:
    """The lab's addresses: which belong to it at all, and which each ground may listen on."""

    networks: Networks
    may_listen: Mapping[str, Networks] = field(default_factory=dict)

    @staticmethod
    def of(estate: Estate) -> Rules:
        own: dict[str, Networks] = {}
        for site in estate.sites.values():
            own[site.id] = (ipaddress.IPv4Network(site.network),)
        for viewer in estate.sites:
            seen = [s.seen_from[viewer] for s in estate.sites.values() if viewer in s.seen_from]
            own[f"{RELAY}/{viewer}"] = (*own[viewer], *(ipaddress.IPv4Network(prefix) for prefix in seen))
        return Rules(tuple({network for networks in own.values() for network in networks}), own)

    def ours(self, host: str) -> bool:
        return any(ipaddress.IPv4Address(host) in network for network in self.networks)


def violations(home: Path, estate: Estate, ignore: Collection[int] = ()) -> tuple[str, ...]:
    """Every socket of the lab that nobody's, or that joins two sites directly; empty where all is as it should be.

    ``ignore``: processes of the one who asks (tests, command lines), which stand outside the lab.
    """
    rules = Rules.of(estate)
    first = judge(look(home), rules, ignore)
    if not first:
        return ()
    time.sleep(SETTLE_SECONDS)
    again = judge(look(home), rules, ignore)
    return tuple(sentence for key, sentence in sorted(again.items()) if key in first)


def judge(seen: Snapshot, rules: Rules, ignore: Collection[int] = ()) -> dict[tuple[str, int], str]:
    """The violations in a snapshot, each under what names it for ever (kind, inode or process). Pure."""
    found: dict[tuple[str, int], str] = {}
    ours = [end for end in seen.ends if concerns(end, seen, rules) and not ignored(end.inode, seen, ignore)]
    listeners = {end.local for end in ours if end.state == LISTENING}
    for end in ours:
        grounds = seen.held_by(end.inode)
        if end.inode == 0:
            if end.state == ESTABLISHED and end.local not in listeners:
                found["orphan", hash((end.local, end.remote))] = f"{told(end)} belongs to no process"
        elif len(grounds) != 1:
            holders = seen.told(end.inode) or "no process"
            found["unattributed", end.inode] = f"{told(end)} belongs to {holders}"
        elif end.state == LISTENING and not may_listen(next(iter(grounds)), end, rules):
            found["listens", end.inode] = f"{told(end)} is not an address of {next(iter(grounds))}"
    for a, b in pairs(ours, seen, ignore):
        if not all(joined(x, y) for x in seen.held_by(a) for y in seen.held_by(b)):
            found["direct", min(a, b)] = f"{seen.told(a)} is joined directly to {seen.told(b)}"
    for pid, path in seen.files:
        found["file", pid] = f"{seen.names.get(pid, '?')} ({pid}) of {seen.grounds[pid]} has {path} open"
    return found


def concerns(end: End, seen: Snapshot, rules: Rules) -> bool:
    """On an address of the lab, or held by one of its processes."""
    return rules.ours(end.local[0]) or rules.ours(end.remote[0]) or bool(seen.held_by(end.inode))


def ignored(inode: int, seen: Snapshot, ignore: Collection[int]) -> bool:
    holders = seen.holders.get(inode, ())
    return bool(holders) and all(pid in ignore for pid in holders)


def may_listen(ground: str, end: End, rules: Rules) -> bool:
    return any(ipaddress.IPv4Address(end.local[0]) in network for network in rules.may_listen.get(ground, ()))


def pairs(ends: list[End], seen: Snapshot, ignore: Collection[int]) -> Iterator[tuple[int, int]]:
    """Both ends of each connection, internet and unix; the ends of those who ask are left out."""
    by_place = {(end.family[:3], end.local, end.remote): end.inode for end in ends if end.inode}
    for (family, local, remote), inode in by_place.items():
        other = by_place.get((family, remote, local))
        if other is not None and inode < other:
            yield inode, other
    for inode, peer in seen.unix_peers.items():
        both = inode < peer and not ignored(inode, seen, ignore) and not ignored(peer, seen, ignore)
        if both and (seen.held_by(inode) and seen.held_by(peer)):
            yield inode, peer


def joined(one: str, other: str) -> bool:
    """Whether two grounds may hold the two ends of one connection."""
    wan = f"{RELAY}/"
    if one == other or (one.startswith(wan) and other.startswith(wan)):
        return True
    return one == f"{wan}{other}" or other == f"{wan}{one}"


def told(end: End) -> str:
    remote = "" if end.state == LISTENING else f" ↔ {end.remote[0]}:{end.remote[1]}"
    return f"{end.family} {end.local[0]}:{end.local[1]}{remote}"


# --- reading the kernel ------------------------------------------------------------------------------------------


def look(home: Path) -> Snapshot:
    grounds: dict[int, str] = {}
    others: list[int] = []
    for pid in proc.pids():
        ground = ground_of(home, proc.folder_of(pid))
        if ground:
            grounds[pid] = ground
        else:
            others.append(pid)
    ends = tuple(end for table in TABLES for end in internet(table))
    peers = unix_peers()
    holders, files = hold(home, grounds)
    # The rest of the machine is asked only where somebody outside the lab must hold the other end.
    wanted = {end.inode for end in ends if end.inode} | {peers[inode] for inode in holders if inode in peers}
    if not wanted <= set(holders):
        for inode, pids in hold(home, dict.fromkeys(others, ""))[0].items():
            holders.setdefault(inode, set()).update(pids)
    names = {pid: told[0] for pids in holders.values() for pid in pids if (told := proc.stat_of(pid)) is not None}
    return Snapshot(ends, peers, holders, grounds, names, files)


def hold(home: Path, processes: Mapping[int, str]) -> tuple[dict[int, set[int]], tuple[tuple[int, str], ...]]:
    """What ``processes`` hold: by inode who has the socket, and files of another ground than their own."""
    holders: dict[int, set[int]] = {}
    files: list[tuple[int, str]] = []
    for pid, ground in processes.items():
        for target in descriptors(pid):
            match = SOCKET_LINK.fullmatch(target)
            if match:
                holders.setdefault(int(match[1]), set()).add(pid)
            elif ground and ground_of(home, target) not in ("", ground):
                files.append((pid, target))
    return holders, tuple(files)


def ground_of(home: Path, place: str | None) -> str:
    """``daejeon``, ``relay/daejeon``, …; empty outside the lab's sites."""
    if place is None or not place.startswith(f"{home}/"):
        return ""
    parts = Path(place).relative_to(home).parts
    if parts[0] == RELAY:
        return "/".join(parts[:2])
    return "" if (len(parts) == 1 and "." in parts[0]) or parts[0] == PEOPLE else parts[0]  # lab.json, lab.lock


def descriptors(pid: int) -> Iterator[str]:
    folder = proc.PROC / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue


def internet(table: str) -> Iterator[End]:
    """The rows of /proc/net/{tcp,tcp6,udp,udp6} of our own network."""
    try:
        rows = (proc.PROC / "net" / table).read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        words = row.split()
        yield End(table, place(words[1]), place(words[2]), int(words[3], 16), int(words[9]))


def place(text: str) -> tuple[str, int]:
    """``0100007F:1F90`` to (127.0.0.1, 8080); the kernel prints addresses as machine words."""
    host, port = text.split(":")
    words = [struct.pack("=I", int(host[i : i + 8], 16)) for i in range(0, len(host), 8)]
    return (socket.inet_ntoa(words[-1]), int(port, 16))


# sock_diag(7): struct unix_diag_req, and of each answer struct unix_diag_msg with attributes.
SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE = 20, 2, 3
NLM_F_REQUEST_DUMP = 0x301
UDIAG_SHOW_PEER, UNIX_DIAG_PEER = 4, 2
NETLINK_SOCK_DIAG = 4
MESSAGE_HEADER, REQUEST = struct.Struct("=IHHII"), struct.Struct("=BBHIIIII")
ANSWER, ATTRIBUTE = struct.Struct("=BBBBIII"), struct.Struct("=HH")
ALL_STATES = 0xFFFFFFFF
DATAGRAM_BYTES = 256 * 1024


def unix_peers() -> dict[int, int]:
    """Inode to the inode of the other end, of every connected unix socket (what ``ss -x`` shows)."""
    request = REQUEST.pack(socket.AF_UNIX, 0, 0, ALL_STATES, 0, UDIAG_SHOW_PEER, 0, 0)
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as asking:
        size = MESSAGE_HEADER.size + len(request)
        asking.send(MESSAGE_HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        while True:
            received = asking.recv(DATAGRAM_BYTES)
            start = 0
            while start + MESSAGE_HEADER.size <= len(received):
                length, kind, *_ = MESSAGE_HEADER.unpack_from(received, start)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                inode, peer = diag_answer(received[start + MESSAGE_HEADER.size : start + length])
                if peer:
                    found[inode] = peer
                start += aligned(length)


def diag_answer(body: bytes) -> tuple[int, int]:
    """(inode, peer's inode or 0) of one ``unix_diag_msg``."""
    inode = ANSWER.unpack_from(body)[4]
    start = ANSWER.size
    while start + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, start)
        if kind == UNIX_DIAG_PEER:
            return inode, int(struct.unpack_from("=I", body, start + ATTRIBUTE.size)[0])
        start += aligned(max(length, ATTRIBUTE.size))
    return inode, 0


def aligned(size: int) -> int:
    return (size + 3) & ~3
