"""The contract of the journal, held on every database that can keep it."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from ncia.core.base.errors import NciaError
from ncia.core.journal import Checkpoint, Entry, Journal
from ncia.core.journal.checkpoint import signed_by
from ncia.core.journal.entry import make_entry
from ncia.core.journal.store import Store
from ncia.core.journal.tree import Tree, verify_consistency, verify_inclusion
from tests.core.journal.conftest import Databases
from tests.core.journal.sites import EAST, EPOCH, KEYS, WEST, journal_of, said, signer, told


@pytest.fixture
def east(databases: Databases) -> Journal:
    return journal_of(EAST, databases("east"))


@pytest.fixture
def west(databases: Databases) -> Journal:
    return journal_of(WEST, databases("west"))


def words(journal: Journal, site: str = EAST) -> list[str]:
    return [told(entry) for entry in journal.entries(site)]


def hand_over(source: Journal, target: Journal) -> int:
    start = target.size(source.site)
    return target.accept_peer(source.entries(source.site, start), source.checkpoint())


def test_entries_are_numbered_from_0_and_read_back(east: Journal) -> None:
    written = [east.append(said(word), by="tester") for word in ("one", "two")]
    assert [entry.number for entry in written] == [0, 1]
    assert tuple(written) == east.entries(EAST)
    assert (east.size(EAST), east.size(WEST)) == (2, 0)


def test_entries_are_read_from_a_number_on_and_up_to_a_limit(east: Journal) -> None:
    east.append_all([said(str(number)) for number in range(10)], by="tester")
    assert [entry.number for entry in east.entries(EAST, 4, 3)] == [4, 5, 6]
    assert east.entries(EAST, 10) == ()


def test_a_journal_goes_on_where_it_ended(databases: Databases) -> None:
    first = journal_of(EAST, databases("east"))
    first.append_all([said(str(number)) for number in range(5)], by="tester")
    head = first.checkpoint()
    first.close()
    again = journal_of(EAST, databases("east"))
    assert head == again.checkpoint()
    assert again.append(said("more"), by="tester").number == 5


def test_a_body_that_cannot_be_written_leaves_nothing_of_its_batch(east: Journal) -> None:
    class Impostor:
        KIND, VERSION = "impostor", 1

        def model_dump(self, mode: str) -> dict:
            return {}

    with pytest.raises(NciaError):
        east.append_all([said("good"), Impostor()], by="tester")
    assert (east.size(EAST), east.entries(EAST)) == (0, ())
    assert east.append(said("next"), by="tester").number == 0


def test_many_threads_write_one_log_without_a_gap(east: Journal) -> None:
    heard: list[int] = []
    east.subscribe(lambda entry: heard.append(entry.number))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: east.append(said(str(number)), by="tester"), range(40)))
    assert list(range(40)) == heard
    assert list(range(40)) == [entry.number for entry in east.entries(EAST)]


def test_each_head_is_signed_and_extends_the_one_before(east: Journal) -> None:
    heads = [east.checkpoint()]
    for number in range(9):
        east.append(said(str(number)), by="tester")
        heads.append(east.checkpoint())
    assert all(signed_by(head, KEYS) for head in heads)
    for first, second in itertools.pairwise(heads):
        proof = east.consistency(first.size, second.size)
        assert verify_consistency(first.size, second.size, first.root, second.root, proof)


def test_every_entry_can_be_proven_to_be_in_the_log(east: Journal) -> None:
    east.append_all([said(str(number)) for number in range(11)], by="tester")
    head = east.checkpoint()
    for entry in east.entries(EAST):
        proof = east.inclusion(EAST, entry.number, head.size)
        assert verify_inclusion(entry.leaf_hash, entry.number, head.size, head.root, proof)


@pytest.mark.parametrize(("first", "second"), [(2, 1), (0, 4), (-1, 2)])
def test_a_proof_that_cannot_be_is_refused(east: Journal, first: int, second: int) -> None:
    east.append_all([said("x")] * 3, by="tester")
    with pytest.raises(NciaError) as refused:
        east.consistency(first, second)
    assert refused.value.code == "journal.no-proof"


def test_subscribers_hear_each_entry_once_it_is_durable(east: Journal, databases: Databases) -> None:
    heard: list[tuple[int, int]] = []
    other = Store(databases("east"))
    east.subscribe(lambda entry: heard.append((entry.number, other.size(EAST))))
    east.append_all([said("one"), said("two")], by="tester")
    other.close()
    assert heard == [(0, 2), (1, 2)]


def test_a_subscriber_may_append_and_all_hear_in_the_order_of_writing(east: Journal) -> None:
    first: list[str] = []
    second: list[str] = []

    def answering(entry: Entry) -> None:
        first.append(told(entry))
        if told(entry) == "question":
            east.append(said("answer"), by="tester")

    east.subscribe(answering)
    east.subscribe(lambda entry: second.append(told(entry)))
    east.append_all([said("question"), said("aside")], by="tester")
    assert ["question", "aside", "answer"] == first == second == words(east)


def test_a_subscriber_that_fails_undoes_nothing_and_silences_nobody(east: Journal) -> None:
    heard: list[int] = []

    def failing(entry: Entry) -> None:
        raise RuntimeError("a subscriber's own fault")

    east.subscribe(failing)
    east.subscribe(lambda entry: heard.append(entry.number))
    east.append(said("x"), by="tester")
    assert (heard, east.size(EAST)) == ([0], 1)


def test_the_peers_entries_are_stored_and_seen_from_then_on(east: Journal, west: Journal) -> None:
    east.append(said("before"), by="tester")
    west.append_all([said("one"), said("two")], by="tester")
    assert hand_over(west, east) == 2
    assert hand_over(west, east) == 0
    assert west.entries(WEST) == east.entries(WEST)
    assert [entry.peer_seen for entry in (*east.entries(EAST), east.append(said("after"), by="tester"))] == [0, 2]


def test_both_sites_merge_the_same_list(east: Journal, west: Journal) -> None:
    for number in range(6):
        west.append(said(f"west {number}"), by="tester")
        east.append(said(f"east {number}"), by="tester")
        if number % 2:
            hand_over(west, east)
        if number == 3:
            hand_over(east, west)
    hand_over(west, east)
    hand_over(east, west)
    assert [*east.merged()] == [*west.merged()]
    assert len([*east.merged()]) == 12


def test_peer_entries_come_in_batches_each_proven_under_one_head(east: Journal, west: Journal) -> None:
    west.append_all([said(str(number)) for number in range(10)], by="tester")
    head = west.checkpoint()
    for end in (3, 6, 10):
        batch = west.entries(WEST, east.size(WEST), end - east.size(WEST))
        east.accept_peer(batch, head, west.consistency(end, 10))
    assert west.entries(WEST) == east.entries(WEST)


def refuse(journal: Journal, entries: tuple[Entry, ...], head: Checkpoint, proof: tuple[bytes, ...] = ()) -> str:
    """The code of the refusal; nothing was stored."""
    before = journal.size(WEST)
    with pytest.raises(NciaError) as refused:
        journal.accept_peer(entries, head, proof)
    assert before == journal.size(WEST) == len(journal.entries(WEST))
    return refused.value.code


def test_nothing_is_taken_without_the_peers_signature(east: Journal, west: Journal) -> None:
    west.append(said("x"), by="tester")
    head = west.checkpoint()
    assert (
        refuse(east, west.entries(WEST), signer(WEST, "another key").sign(head.size, head.root))
        == "journal.forged-head"
    )
    assert refuse(east, west.entries(WEST), signer(EAST).sign(head.size, head.root)) == "journal.forged-head"


def test_nothing_is_taken_that_is_not_what_was_signed(east: Journal, west: Journal, databases: Databases) -> None:
    west.append_all([said("one"), said("two"), said("three")], by="tester")
    other = journal_of(WEST, databases("other"))
    other.append_all([said("one"), said("TWO"), said("three")], by="tester")
    one, two, three = west.entries(WEST)
    head, proof = west.checkpoint(), west.consistency(2, 3)
    assert refuse(east, (one, other.entries(WEST)[1], three), head) == "journal.unproven"
    assert refuse(east, (one, two), head) == "journal.unproven"
    assert refuse(east, other.entries(WEST)[:2], head, proof) == "journal.unproven"
    assert refuse(east, (one, three), head) == "journal.gap"
    assert refuse(east, (two, one, three), head) == "journal.gap"
    assert refuse(east, (two, three), head) == "journal.gap"
    assert east.accept_peer((one, two), head, proof) == 2
    assert refuse(east, (east.append(said("mine"), by="tester"),), head) == "journal.gap"


def test_a_fork_is_told_and_changes_nothing(east: Journal, west: Journal, databases: Databases) -> None:
    west.append_all([said("one"), said("two")], by="tester")
    hand_over(west, east)
    forked = journal_of(WEST, databases("forked"))
    forked.append_all([said("one"), said("TWO")], by="tester")
    assert refuse(east, (), forked.checkpoint()) == "journal.fork"
    forked.append(said("three"), by="tester")
    assert refuse(east, forked.entries(WEST, 2), forked.checkpoint()) == "journal.unproven"
    with pytest.raises(NciaError, match="FORK"):
        east.check_peer(forked.checkpoint(), forked.consistency(2, 3))


def test_a_peer_set_back_to_an_older_state_is_told(east: Journal, west: Journal) -> None:
    west.append(said("one"), by="tester")
    old = west.checkpoint()
    west.append(said("two"), by="tester")
    hand_over(west, east)
    assert refuse(east, (), old) == "journal.peer-went-back"


def test_a_log_that_lost_its_tail_does_not_write(databases: Databases, west: Journal) -> None:
    east = journal_of(EAST, databases("east"))
    east.append_all([said("one"), said("two")], by="tester")
    hand_over(east, west)
    west.append(said("seen both"), by="tester")
    east.close()
    restored = journal_of(EAST, databases("restored"))
    restored.append(said("one"), by="tester")
    hand_over(west, restored)
    with pytest.raises(NciaError) as refused:
        restored.append(said("another two"), by="tester")
    assert refused.value.code == "journal.lost-tail"
    assert words(restored) == ["one"]


def test_there_is_one_writer(east: Journal, databases: Databases) -> None:
    with pytest.raises(NciaError) as refused:
        journal_of(EAST, databases("east"))
    assert refused.value.code == "journal.second-writer"
    east.close()
    journal_of(EAST, databases("east")).close()


def test_a_number_taken_by_somebody_else_is_an_error_and_no_fork(east: Journal, databases: Databases) -> None:
    east.append(said("one"), by="tester")
    intruder = Store(databases("east"))
    intruding = make_entry(EAST, 1, EPOCH, "intruder", 0, said("two"))
    tree, _ = Tree().grow([east.entries(EAST)[0].leaf_hash])
    intruder.add(EAST, (intruding,), tree.grow([intruding.leaf_hash])[1], None)
    intruder.close()
    heard: list[str] = []
    east.subscribe(lambda entry: heard.append(told(entry)))
    with pytest.raises(NciaError) as refused:
        east.append(said("mine"), by="tester")
    assert refused.value.code == "journal.second-writer"
    assert east.append(said("after it was seen"), by="tester").number == 2
    assert ["one", "two", "after it was seen"] == words(east) == ["one", *heard]


def test_a_database_belongs_to_one_site(databases: Databases) -> None:
    journal_of(EAST, databases("east")).close()
    with pytest.raises(NciaError) as refused:
        journal_of(WEST, databases("east"))
    assert refused.value.code == "journal.other-site"


def test_readers_are_not_held_up_while_another_thread_writes(east: Journal) -> None:
    east.append(said("one"), by="tester")
    inside, done = threading.Event(), threading.Event()

    def slow(entry: Entry) -> None:
        inside.set()
        done.wait(10)

    east.subscribe(slow)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(east.append, said("two"), by="tester")
        assert inside.wait(10)
        assert words(east) == ["one", "two"]
        done.set()
        writing.result()


def _write_until_killed(url: str, ready: object) -> None:
    journal = journal_of(EAST, url)
    for number in range(100_000):
        journal.append(said(str(number)), by="tester")
        ready.send(number)


def test_what_append_returned_survives_the_kill_of_its_writer(databases: Databases) -> None:
    url = databases("east")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    writer = context.Process(target=_write_until_killed, args=(url, sender))
    writer.start()
    sender.close()
    while receiver.recv() < 25:
        pass
    writer.kill()
    writer.join()
    last = 25
    try:
        while True:
            last = receiver.recv()
    except EOFError:
        pass
    journal = _opened_once_free(url)
    assert journal.size(EAST) in (last + 1, last + 2)
    assert [str(number) for number in range(journal.size(EAST))] == words(journal)
    assert signed_by(journal.checkpoint(), KEYS)
    journal.append(said("goes on"), by="tester")


def _opened_once_free(url: str) -> Journal:
    """PostgreSQL notices the end of a killed session a moment later."""
    waiting = threading.Event()
    for _ in range(200):
        try:
            return journal_of(EAST, url)
        except NciaError as error:
            if error.code != "journal.second-writer":
                raise
            waiting.wait(0.05)
    raise AssertionError("the lock of a dead writer was not given back")


def test_commits_are_durable(east: Journal) -> None:
    engine = east._store.engine
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            assert (
                connection.scalar(text("PRAGMA journal_mode")),
                connection.scalar(text("PRAGMA synchronous")),
            ) == ("wal", 2)
        else:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"


def test_a_database_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(NciaError) as refused:
        Store("postgresql://ncia:secret@127.0.0.1:1/ncia")
    assert refused.value.code == "journal.store-failed"
    assert "secret" not in str(refused.value)
