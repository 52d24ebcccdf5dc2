"""Escrow: any one person recovers the repository, and a crash at any call leaves each twin a way in."""

from __future__ import annotations

import copy
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from backup.repository.escrow import (
    Entrance,
    Escrow,
    Opened,
    Recipient,
    escrow_of,
    open_escrow,
    opened_of,
    put,
    recipients_of,
    recover,
    rotate,
    stored,
)
from backup.repository.faults import Damaged
from backup.repository.format.keys import add_key, list_keys
from backup.repository.ports import Kind
from backup.repository.repository import Repository, create, open_repository
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError
from tests.age import demand_age
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new
from tests.fakes.repository import FakeStore
from tests.restic import demand_restic

KIM, LEE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
PEOPLE = (Recipient("kim", str(KIM.to_public())), Recipient("lee", str(LEE.to_public())))
NEXT = "the next password"


def escrow_at(repository: Repository) -> Escrow:
    ((_, escrow),) = stored(repository.store)
    return escrow


def test_any_one_of_the_recipients_recovers_it_alone() -> None:
    repository = new()
    put([repository], PEOPLE, HOLDER, NOW, CHEAP)
    for identity in (KIM, LEE):
        found = recover(repository.store, open_escrow(escrow_at(repository), f"# a comment\n{identity}\n"))
        assert (found.key, found.config) == (repository.key, repository.config)


def test_an_ssh_key_opens_what_was_sealed_for_it(tmp_path: Path) -> None:
    repository = new()
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kim@office", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True)
    text = f"kim {(tmp_path / 'key.pub').read_text()}\n# the other one\nlee {PEOPLE[1].public}\n"
    put([repository], recipients_of(text, "recipients"), HOLDER, NOW, CHEAP)
    opened = open_escrow(escrow_at(repository), (tmp_path / "key").read_text())
    assert recover(repository.store, opened).key == repository.key


def test_it_opens_the_repository_when_all_of_its_keys_are_gone() -> None:
    repository = new()
    text = put([repository], PEOPLE, HOLDER, NOW, CHEAP).escrow.text
    for stored_key in list(repository.store.names(Kind.KEYS)):
        repository.store.remove(Kind.KEYS, stored_key.name)
    found = recover(repository.store, open_escrow(escrow_of(text), str(LEE)))
    add_key(repository.store, found.key, NEXT, HOLDER, NOW, CHEAP)
    assert open_repository(repository.store, NEXT).config == repository.config


def test_it_tells_whose_it_is_and_of_which_repository_and_no_secret() -> None:
    repository = new()
    made = put([repository], PEOPLE, HOLDER, NOW, CHEAP)
    opened = open_escrow(made.escrow, str(KIM))
    text = made.escrow.text
    assert f"repository: {repository.config.id}\n" in text
    assert [f"recipient: {each.name} {each.public}\n" in text for each in PEOPLE] == [True, True]
    secrets = (opened.password, opened.key_file, repository.key.as_json()["encrypt"], PASSWORD)
    words = f"{text} {opened!r} {made!r} {repository.store.load(Kind.KEYS, made.name)!r}"
    assert [secret in words for secret in secrets] == [False] * 4


def test_a_new_escrow_follows_the_older_one_at_both_twins() -> None:
    first = new()
    second = create(FakeStore(), "another", HOLDER, NOW, CHEAP, twin=first)
    before = put([first, second], PEOPLE, HOLDER, NOW, CHEAP)
    after = put([first, second], PEOPLE, HOLDER, NOW, CHEAP)
    assert after.removed == (before.name,)
    assert [[name for name, _ in stored(each.store)] for each in (first, second)] == [[after.name]] * 2
    assert first.store.load(Kind.KEYS, after.name) == second.store.load(Kind.KEYS, after.name)
    with pytest.raises(NciaError, match="opens none"):
        open_repository(first.store, open_escrow(before.escrow, str(KIM)).password)


def test_two_repositories_that_are_no_twins_have_no_escrow_in_common() -> None:
    with pytest.raises(NciaError, match="not the same id and master key"):
        put([new(), new()], PEOPLE, HOLDER, NOW, CHEAP)


def test_somebody_else_opens_nothing_and_is_told_whose_it_is() -> None:
    escrow = put([new()], PEOPLE, HOLDER, NOW, CHEAP).escrow
    with pytest.raises(NciaError, match="said to be sealed for kim, lee"):
        open_escrow(escrow, str(pyrage.x25519.Identity.generate()))
    with pytest.raises(NciaError, match="no secret key that opens") as told:
        open_escrow(escrow, "AGE-SECRET-KEY-1WRONG")
    assert "WRONG" not in str(told.value)


def test_an_escrow_of_another_repository_is_found_out_before_anything_is_written() -> None:
    one, other = new(), new()
    opened = open_escrow(put([other], PEOPLE, HOLDER, NOW, CHEAP).escrow, str(KIM))
    before = dict(one.store.held)
    with pytest.raises(Damaged, match="authenticator does not fit"):
        recover(one.store, opened)
    made = put([one], PEOPLE, HOLDER, NOW, CHEAP).escrow
    lying = Escrow(other.config.id, made.made, made.recipients, made.sealed)
    with pytest.raises(NciaError, match="somebody wrote another name over it"):
        open_escrow(lying, str(KIM))
    mixed = Opened(other.config.id, open_escrow(made, str(KIM)).password, open_escrow(made, str(KIM)).key_file)
    with pytest.raises(NciaError, match=f"it opens repository {one.config.id[:8]}"):
        recover(one.store, mixed)
    with pytest.raises(Damaged, match="does not open its key file"):
        recover(one.store, Opened(one.config.id, "guess", mixed.key_file))
    assert before.items() <= one.store.held.items()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"kim {PEOPLE[0].public}\n", "1 named, and at least 2 people"),
        (f"kim {PEOPLE[0].public}\nlee {PEOPLE[0].public}\n", "a name or a key stands there twice"),
        (f"kim {PEOPLE[0].public}\nkim {PEOPLE[1].public}\n", "a name or a key stands there twice"),
        (f"kim {PEOPLE[0].public}\nlee age1nonsense\n", "line 2: lee has no public key"),
        (f"{PEOPLE[0].public}\n", "has no public key"),
        ("kim ssh-ed25519 AAAA\n", "has no public key"),
    ],
    ids=["one", "one key twice", "one name twice", "nonsense", "no name", "another kind"],  # keys are new each time
)
def test_recipients_are_two_people_with_keys_of_their_own(text: str, why: str) -> None:
    with pytest.raises(NciaError, match=why):
        recipients_of(text, "recipients")


@pytest.mark.parametrize("text", ["", "ncia-escrow 1\n", "x" * 70_000, "ncia-escrow 1\nrepository: ..\n-----BEGIN AGE"])
def test_what_is_no_escrow_is_refused(text: str) -> None:
    with pytest.raises(Damaged):
        escrow_of(text)
    with pytest.raises(Damaged):
        opened_of(text.encode())


def test_half_a_key_file_shuts_nobody_out() -> None:
    repository = new()
    whole = repository.store.load(Kind.KEYS, repository.key_name)
    repository.store.save(Kind.KEYS, "0" * 64, whole[:99])
    assert open_repository(repository.store, PASSWORD).key == repository.key


def test_a_rotation_leaves_the_new_password_the_escrow_and_what_others_hold() -> None:
    repository = new()
    others = add_key(repository.store, repository.key, "the auditor's", HOLDER, NOW, CHEAP)
    add_key(repository.store, repository.key, PASSWORD, HOLDER, NOW, CHEAP)  # the same password twice
    put([repository], PEOPLE, HOLDER, NOW, CHEAP)
    done = rotate([Entrance(repository.store, PASSWORD)], NEXT, PEOPLE, HOLDER, NOW, CHEAP)
    assert (len(done.removed), done.left) == (2, (others,))
    assert len(list(list_keys(repository.store))) == 3
    with pytest.raises(NciaError, match="opens none"):
        open_repository(repository.store, PASSWORD)
    again = rotate([Entrance(repository.store, NEXT)], NEXT, PEOPLE, HOLDER, NOW, CHEAP)
    assert (again.removed, again.left) == ((), (others,))


@dataclass
class Pair:
    """Twins under passwords of their own, with an escrow, each behind calls that may fail."""

    held: list[dict[tuple[Kind, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = new()
        second = create(FakeStore(), "another", HOLDER, NOW, CHEAP, twin=first)
        put([first, second], PEOPLE, HOLDER, NOW, CHEAP)
        self.held = [dict(first.store.held), dict(second.store.held)]
        self.key = first.key

    def stores(self) -> list[FakeStore]:
        found = [FakeStore(), FakeStore()]
        for store, held in zip(found, self.held, strict=True):
            store.held = copy.copy(held)
        return found

    def rotate(self, stores: list[FaultyStore] | list[FakeStore]) -> None:
        ways = [Entrance(store, password) for store, password in zip(stores, (PASSWORD, "another"), strict=True)]
        rotate(ways, NEXT, PEOPLE, HOLDER, NOW, CHEAP)

    def judge(self, stores: list[FakeStore]) -> None:
        """At each place a password opens, and an escrow that either person opens; a second run ends the rotation."""
        for store, password in zip(stores, (PASSWORD, "another"), strict=True):
            assert any(opens(store, each) for each in (password, NEXT))
            assert any(recover(store, open_escrow(escrow, str(LEE))).key == self.key for _, escrow in stored(store))
        self.rotate(stores)
        for store, password in zip(stores, (PASSWORD, "another"), strict=True):
            assert (opens(store, password), opens(store, NEXT)) == (False, True)
            ((_, escrow),) = stored(store)
            assert recover(store, open_escrow(escrow, str(KIM))).key == self.key


def opens(store: FakeStore, password: str) -> bool:
    try:
        open_repository(store, password)
    except NciaError:
        return False
    return True


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.FULL, Fault.IO_ERROR, Fault.LOST])
def test_a_rotation_that_ends_at_any_call_leaves_both_sites_a_way_in_and_goes_on(fault: Fault) -> None:
    pair = Pair()
    counting = [FaultyStore(store) for store in pair.stores()]
    pair.rotate(counting)
    for site in (0, 1):
        for at in range(1, len(counting[site].calls) + 1):
            stores = pair.stores()
            faulty = [
                FaultyStore(store, fault if number == site else Fault.NONE, at) for number, store in enumerate(stores)
            ]
            with suppress(Killed, NciaError):
                pair.rotate(faulty)
            pair.judge(stores)


def test_a_store_that_keeps_nothing_or_half_of_it_costs_no_way_in() -> None:
    """The old password and escrow go only when the new ones were read back from both sites."""
    pair = Pair()
    counting = FaultyStore(pair.stores()[0])
    pair.rotate([counting, FaultyStore(pair.stores()[1])])
    for fault in (Fault.KEEPS_NOTHING, Fault.HALF):
        for at in range(1, len(counting.calls) + 1):
            stores = pair.stores()
            faulty = [FaultyStore(stores[0], fault, at), FaultyStore(stores[1])]
            with suppress(Killed, NciaError):
                pair.rotate(faulty)
            pair.judge(stores)


def test_age_itself_opens_an_escrow_and_restic_the_repository_with_what_is_in_it(tmp_path: Path) -> None:
    age, restic = demand_age(), demand_restic()
    repository = create(FolderStore(tmp_path / "repository"), PASSWORD, HOLDER, NOW, CHEAP)
    made = put([repository], PEOPLE, HOLDER, NOW, CHEAP)
    (tmp_path / "escrow").write_text(made.escrow.text)
    (tmp_path / "identity").write_text(f"{LEE}\n")
    line = next(line for line in made.escrow.text.splitlines() if line.startswith("open: "))
    line = line.removeprefix("open: ").replace("THIS_FILE", "escrow").replace("IDENTITY_FILE", "identity")
    command = ["sh", "-c", line.replace("| age ", f"| {age} ")]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    told = json.loads(printed)
    assert restic.run(tmp_path / "repository", "snapshots", password=told["password"]) is not None
    for key in (tmp_path / "repository" / "keys").iterdir():
        key.unlink()
    (tmp_path / "repository" / told["key_file_path"]).write_text(told["key_file"])
    restic.run(tmp_path / "repository", "check", password=told["password"])
    assert recover(repository.store, opened_of(printed)).key == repository.key


def test_restic_works_in_a_repository_with_an_escrow(tmp_path: Path) -> None:
    restic = demand_restic()
    repository = create(FolderStore(tmp_path / "repository"), PASSWORD, HOLDER, NOW, CHEAP)
    put([repository], PEOPLE, HOLDER, NOW, CHEAP)
    restic.run(tmp_path / "repository", "backup", str(Path(__file__)), password=PASSWORD)
    restic.run(tmp_path / "repository", "check", "--read-data", password=PASSWORD)
    assert "escrow" in restic.run(tmp_path / "repository", "key", "list", password=PASSWORD)
