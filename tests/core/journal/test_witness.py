"""The witness cosigns what extends its memory, refuses all else, and never forgets; in memory and through its door."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.app.tls import server_name
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.journal import Checkpoint, Journal
from ncia.core.journal.cosign import vouches
from ncia.core.journal.kept import Keeper
from ncia.core.journal.witness import Ask, Conflict, Witness, ask_text, read_ask
from ncia.core.journal.witness_door import AT_ONCE, open_door
from ncia.core.journal.witness_http import HttpWitness
from tests.core.journal.sites import (
    ALL_KEYS,
    EAST,
    KEYS,
    THIRD,
    WEST,
    SetClock,
    cosigner,
    journal_of,
    said,
    signer,
    sqlite_url,
)
from tests.identities import identity


def witness_in(folder: Path) -> Witness:
    return Witness(folder, cosigner(THIRD), KEYS, SetClock())


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return witness_in(tmp_path / "witness")


@pytest.fixture
def keeper(witness: Witness, tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "witness" / "kept", witness)


@pytest.fixture
def east(tmp_path: Path) -> Journal:
    journal = journal_of(EAST, sqlite_url(tmp_path, "east"))
    journal.append_all([said(str(number)) for number in range(5)], by="tester")
    return journal


def ask_of(journal: Journal, old: int) -> Ask:
    head = journal.checkpoint()
    return Ask(old, journal.consistency(old, head.size), head)


def cosigned(head: Checkpoint, *lines) -> set[tuple[str, int]]:
    return {(vouch.by, vouch.size) for vouch in vouches(head.with_cosignatures(lines), ALL_KEYS)}


def test_a_head_that_extends_the_last_is_cosigned(witness: Witness, east: Journal) -> None:
    first = witness.add(ask_of(east, 0))
    assert cosigned(east.checkpoint(), first) == {(THIRD, 5)}
    east.append_all([said("more"), said("and more")], by="tester")
    second = witness.add(ask_of(east, 5))
    assert cosigned(east.checkpoint(), second) == {(THIRD, 7)}
    assert witness.head(EAST) == east.checkpoint().with_cosignatures([second])


def test_the_same_head_may_be_cosigned_again(witness: Witness, east: Journal) -> None:
    witness.add(ask_of(east, 0))
    assert cosigned(east.checkpoint(), witness.add(ask_of(east, 5))) == {(THIRD, 5)}


def test_it_remembers_across_a_restart(witness: Witness, east: Journal, tmp_path: Path) -> None:
    line = witness.add(ask_of(east, 0))
    again = witness_in(tmp_path / "witness")
    assert again.head(EAST) == east.checkpoint().with_cosignatures([line])
    assert again.head(WEST) is None
    with pytest.raises(Conflict) as told:
        again.add(ask_of(east, 0))
    assert told.value.size == 5


def test_what_it_cannot_read_it_does_not_take_for_nothing(witness: Witness, east: Journal, tmp_path: Path) -> None:
    witness.add(ask_of(east, 0))
    (tmp_path / "witness" / "east.note").write_text("ncia/journal/east\n5\n")
    with pytest.raises(NciaError) as refused:
        witness_in(tmp_path / "witness")
    assert refused.value.code == "witness.damaged"


def test_a_cosignature_is_handed_out_only_when_the_head_is_on_disk(east: Journal, tmp_path: Path) -> None:
    witness = witness_in(tmp_path / "witness")
    (tmp_path / "witness" / ".east.note.new").mkdir()  # nothing can be written
    with pytest.raises(OSError):
        witness.add(ask_of(east, 0))
    assert witness.head(EAST) is None


def fork_of(east: Journal, tmp_path: Path, sizes: int) -> Journal:
    """East's key over another history that parts at entry 3."""
    fork = journal_of(EAST, sqlite_url(tmp_path, "fork"))
    fork.append_all([said(str(n) if n < 3 else f"fork {n}") for n in range(sizes)], by="tester")
    return fork


@pytest.mark.parametrize("size", [5, 6, 9])
def test_another_history_is_refused_whatever_its_length(
    witness: Witness, east: Journal, tmp_path: Path, size: int
) -> None:
    witness.add(ask_of(east, 0))
    with pytest.raises(Refusal) as refused:
        witness.add(ask_of(fork_of(east, tmp_path, size), 5))
    assert refused.value.code == "witness.no-extension"
    assert witness.head(EAST).root == east.checkpoint().root


def test_it_never_goes_back(witness: Witness, east: Journal) -> None:
    shorter = east.checkpoint()
    east.append(said("more"), by="tester")
    witness.add(ask_of(east, 0))
    with pytest.raises(Conflict):
        witness.add(Ask(5, (), shorter))
    with pytest.raises(Refusal) as refused:
        witness.add(Ask(6, (), shorter))
    assert refused.value.code == "witness.no-extension"


@pytest.mark.parametrize("head", [signer(THIRD).sign(1, b"r" * 32), signer(EAST, "stolen").sign(1, b"r" * 32)])
def test_a_head_that_is_not_its_sites_is_refused(witness: Witness, head: Checkpoint) -> None:
    with pytest.raises(Refusal) as refused:
        witness.add(Ask(0, (), head))
    assert refused.value.code == "witness.forged-head"


def test_a_request_is_read_as_it_was_written(east: Journal) -> None:
    for old in (0, 3, 5):
        assert read_ask(ask_text(ask_of(east, old))) == ask_of(east, old)


NOTE = signer(EAST).sign(7, b"r" * 32).note()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"\n{NOTE}",
        f"old x\n\n{NOTE}",
        f"old -1\n\n{NOTE}",
        f"old 01\n\n{NOTE}",
        f"new 1\n\n{NOTE}",
        f"old 1\nAAAA\n\n{NOTE}",
        f"old 1\n###\n\n{NOTE}",
        "old 1\n\nnot a note",
        "old 1\n" + f"{'A' * 43}=\n" * 64 + f"\n{NOTE}",
    ],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(NciaError):
        read_ask(text)


# --- through the door --------------------------------------------------------------------------------------------


class OpenDoor:
    """Asked as a process of the east, of this estate or another."""

    def __init__(self, folder: Path, address: tuple[str, int]) -> None:
        self.address = address
        self._folder = folder

    def __call__(self, process: str = "serve", root: str = "root", expected: str = "witness") -> HttpWitness:
        tls = identity(self._folder, EAST, process, root).client()
        return HttpWitness("https://{}:{}".format(*self.address), THIRD, tls, server_name(THIRD, expected))


@pytest.fixture
def door(witness: Witness, keeper: Keeper, tmp_path: Path) -> Iterator[OpenDoor]:
    own = identity(tmp_path, THIRD, "witness")
    server = open_door(("127.0.0.1", 0), own.server(), [server_name(EAST), server_name(WEST)], witness, keeper)
    yield OpenDoor(tmp_path, server.server_address)
    server.shutdown()
    server.server_close()


def test_the_door_tells_what_the_witness_does(door, east: Journal, tmp_path: Path) -> None:
    asked = door()
    assert asked.held(EAST).head is None
    line = asked.add(ask_of(east, 0))
    assert asked.held(EAST).head == east.checkpoint().with_cosignatures([line])
    with pytest.raises(Conflict) as conflict:
        asked.add(ask_of(east, 3))
    assert conflict.value.size == 5
    with pytest.raises(Refusal) as fork:
        asked.add(ask_of(fork_of(east, tmp_path, 6), 5))
    assert fork.value.code == "journal.fork"
    with pytest.raises(NciaError) as forged:
        asked.add(Ask(0, (), signer(EAST, "stolen").sign(1, b"r" * 32)))
    assert forged.value.code == "journal.witness-refused"


def test_the_door_opens_to_the_centres_controllers_only(door, east: Journal, witness: Witness) -> None:
    with pytest.raises(NciaError, match=r"this is agent\.east\.ncia") as refused:
        door("agent").add(ask_of(east, 0))
    assert (refused.value.code, witness.head(EAST)) == ("journal.witness-refused", None)
    for stranger in (door(root="another"), door(expected="serve")):
        with pytest.raises(Unreachable):
            stranger.add(ask_of(east, 0))
    assert witness.head(EAST) is None


def test_whoever_dials_and_says_nothing_holds_up_nobody(door, east: Journal, witness: Witness) -> None:
    asked = door()
    silent = [socket.create_connection(door.address) for _ in range(AT_ONCE * 4)]
    assert asked.add(ask_of(east, 0))
    for each in silent:
        each.close()


def test_a_witness_that_is_away_is_unreachable(tmp_path: Path) -> None:
    tls = identity(tmp_path, EAST, "serve").client()
    with pytest.raises(Unreachable):
        HttpWitness("https://127.0.0.1:1", THIRD, tls, server_name(THIRD, "witness")).held(EAST)


def test_nothing_of_the_entries_is_in_the_witness_folder(witness: Witness, east: Journal, tmp_path: Path) -> None:
    witness.add(ask_of(east, 0))
    assert os.listdir(tmp_path / "witness") == ["east.note"]
    assert (tmp_path / "witness" / "east.note").read_text() == witness.head(EAST).note()
