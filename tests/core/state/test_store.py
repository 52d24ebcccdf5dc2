from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ncia.core.journal import Journal
from ncia.core.journal.entries import VerdictChange, VerdictsChanged
from ncia.core.state import StateStore, fold
from tests.core.journal.sites import EAST, EPOCH, PEER, WEST, JournalSource, SetClock, journal_of, sqlite_url
from tests.core.journal.specimens import AT, SPECIMENS


def verdict(subject: str, evidence: str) -> VerdictsChanged:
    """Every site writes about the same vantage, so that the order in which they are folded shows."""
    change = VerdictChange(subject=subject, verdict="up", previous="down", since=AT, evidence=evidence)
    return VerdictsChanged(vantage="witness", changes=(change,))


def pull(source: Journal, target: Journal, limit: int = 1000) -> None:
    start = target.size(source.site)
    batch = source.entries(source.site, start, limit)
    head = JournalSource(source).checkpoint()
    end = start + len(batch)
    target.accept_peer(batch, head, source.consistency(end, head.size) if end < head.size else ())


@pytest.fixture
def east(tmp_path: Path) -> Iterator[Journal]:
    journal = journal_of(EAST, sqlite_url(tmp_path, "east"))
    yield journal
    journal.close()


@pytest.fixture
def west(tmp_path: Path) -> Iterator[Journal]:
    journal = journal_of(WEST, sqlite_url(tmp_path, "west"))
    yield journal
    journal.close()


def test_a_store_starts_with_what_the_journal_holds(east: Journal) -> None:
    east.append_all(SPECIMENS, by="tester")
    assert StateStore(east).snapshot() == fold(east.merged())


def test_what_was_appended_is_in_the_next_snapshot_and_not_in_the_last(east: Journal) -> None:
    store = StateStore(east)
    before = store.snapshot()
    east.append_all(SPECIMENS, by="tester")
    assert (len(before.runs), len(store.snapshot().runs)) == (0, 1)


def test_a_later_subscriber_finds_the_state_current(east: Journal) -> None:
    store = StateStore(east)
    found: list[int] = []
    east.subscribe(lambda entry: found.append(store.snapshot().heads[EAST]))
    east.append_all(SPECIMENS[:3], by="tester")
    assert found == [1, 2, 3]


def test_a_pulled_entry_is_folded_where_it_belongs(east: Journal, west: Journal) -> None:
    """West wrote first, east did not know: east's word is the later one at both sites."""
    store_east, store_west = StateStore(east), StateStore(west)
    west.append(verdict("app:tax", "first"), by="tester")
    for _ in range(3):
        east.append(verdict("app:tax", "last"), by="tester")
    pull(west, east)
    pull(east, west)
    for store in (store_east, store_west):
        assert store.snapshot().verdicts["witness"]["app:tax"].evidence == "last"
    assert store_east.snapshot() == store_west.snapshot()


def test_a_long_absence_of_the_peer_is_made_good(east: Journal, west: Journal) -> None:
    store = StateStore(east)
    west.append(verdict("a", "early"), by="tester")
    east.append_all([verdict("a", f"late {number}") for number in range(900)], by="tester")
    for number in range(300):
        east.append(verdict("a", f"later {number}"), by="tester")
    assert store.snapshot().heads[EAST] == 1200
    pull(west, east)
    assert store.snapshot() == fold(east.merged())
    assert store.snapshot().verdicts["witness"]["a"].evidence == "later 299"


def test_snapshots_are_whole_while_many_threads_write(east: Journal) -> None:
    store = StateStore(east)
    done = threading.Event()
    torn: list[object] = []

    def look() -> None:
        while not done.is_set():
            state = store.snapshot()
            if sum(state.heads.values()) != len(state.verdicts.get("witness", {})):
                torn.append(state)

    with ThreadPoolExecutor(3) as threads:
        looking = threads.submit(look)
        list(threads.map(lambda number: east.append(verdict(f"s{number}", ""), by="tester"), range(60)))
        done.set()
        looking.result()
    assert not torn
    assert store.snapshot() == fold(east.merged())


class AnyClock(SetClock):
    """The two sites' clocks differ, and may go back."""

    offset = timedelta()

    def now(self) -> datetime:
        return EPOCH + self.offset


class TwoSites(RuleBasedStateMachine):
    """Two sites write, pull and look in any order; the state is always the fold of what is held."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ncia-state-"))
        self.clocks = {site: AnyClock() for site in PEER}
        self.journals = {site: journal_of(site, sqlite_url(self.folder, site), self.clocks[site]) for site in PEER}
        self.stores = {site: StateStore(journal, remember_every=3) for site, journal in self.journals.items()}
        self.words = 0

    @rule(site=st.sampled_from([EAST, WEST]), second=st.integers(0, 5), count=st.integers(1, 3))
    def write(self, site: str, second: int, count: int) -> None:
        self.clocks[site].offset = timedelta(seconds=second)
        for _ in range(count):
            self.words += 1
            self.journals[site].append(verdict("a", f"word {self.words}"), by="tester")

    @rule(site=st.sampled_from([EAST, WEST]), body=st.sampled_from(SPECIMENS))
    def write_anything(self, site: str, body: object) -> None:
        self.journals[site].append(body, by="tester")

    @rule(site=st.sampled_from([EAST, WEST]), limit=st.integers(1, 5))
    def pull(self, site: str, limit: int) -> None:
        pull(self.journals[PEER[site]], self.journals[site], limit)

    @rule(site=st.sampled_from([EAST, WEST]))
    def look(self, site: str) -> None:
        state, journal = self.stores[site].snapshot(), self.journals[site]
        assert state == fold(journal.merged())
        assert dict(state.heads) == {each: size for each, size in journal.sizes().items() if size}

    @rule()
    def meet(self) -> None:
        for site in (EAST, WEST):
            pull(self.journals[PEER[site]], self.journals[site])
        assert [*self.journals[EAST].merged()] == [*self.journals[WEST].merged()]
        assert self.stores[EAST].snapshot() == self.stores[WEST].snapshot()

    def teardown(self) -> None:
        for journal in getattr(self, "journals", {}).values():
            journal.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestTwoSites = TwoSites.TestCase
TestTwoSites.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
