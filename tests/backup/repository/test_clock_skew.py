"""A clock that is a day wrong, at a writer or at whoever removes: nothing proven is lost, nothing hollow is kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.forgetting import FUTURE, Policy, judge
from backup.repository.care.pruning import Wish, prune
from backup.repository.care.removal import alone
from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from backup.repository.save.reading import Figures
from backup.repository.save.saving import Request, Saved, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.faults import SkewedClock
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new
from tests.lab_apps.world import eventually

DAY = 86_400.0
CLOCK = SystemClock()
PRUNER = Holder("officer", "elsewhere")


def skewed(seconds: float) -> SkewedClock:
    clock = SkewedClock(CLOCK)
    clock.seconds = seconds
    return clock


def opened(repository: Repository) -> Repository:
    return open_repository(repository.store, PASSWORD)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(noise(1, 3_000_000))
    return tmp_path / "source"


def backup(repository: Repository, source: Path, clock: SkewedClock, tell: object = lambda _: None) -> Saved:
    return save(opened(repository), Request((str(source),), HOLDER), clock, tell)


@pytest.mark.parametrize("skew", [-DAY, DAY])
def test_backups_of_a_writer_whose_clock_is_wrong_are_whole_and_the_right_ones_go_on(source: Path, skew: float) -> None:
    repository = new()
    wrong = backup(repository, source, skewed(skew))
    (source / "file").write_bytes(noise(2, 3_000_000))
    right = backup(repository, source, skewed(0))
    assert (right.snapshot.parent == wrong.snapshot.id) is (skew < 0)  # none of the future is counted on
    checked = Checking(opened(repository), Share()).run()
    assert (checked.faults, checked.snapshots) == ([], 2)
    kept = {each.snapshot.id: each.kept for each in judge(opened(repository).snapshots(), Policy(last=1), CLOCK.now())}
    assert kept[right.snapshot.id]
    if skew > 0:
        (told,) = [
            each.why
            for each in judge(opened(repository).snapshots(), Policy(last=1), CLOCK.now())
            if FUTURE in each.why
        ]
        assert kept[wrong.snapshot.id]
        assert "takes no place" in told


def test_whoever_removes_waits_for_a_writer_whose_clock_is_a_day_fast(source: Path) -> None:
    repository = new()
    refused: list[str] = []

    def meanwhile(_: object) -> None:
        if not refused:
            with pytest.raises(Refusal) as told, alone(opened(repository), PRUNER, CLOCK):
                raise AssertionError("it was alone")
            refused.append(told.value.hint or "")

    saved = backup(repository, source, skewed(DAY), meanwhile)
    assert "ahead of ours, so one of the two clocks is wrong" in refused[0]
    assert [each.id for each in opened(repository).snapshots()] == [saved.snapshot.id]


@pytest.mark.parametrize("grace", [timedelta(days=7), timedelta(0)])
def test_a_writer_whose_clock_is_a_day_slow_is_taken_for_dead_and_keeps_nothing_hollow(
    source: Path, grace: timedelta
) -> None:
    """Its lock is passed over and cleared, and what it had kept and not named is removed. It finds that out before its
    next index or snapshot."""
    repository = new()
    first = backup(repository, source, skewed(0))
    before = packs(repository)
    for number in range(15):
        (source / f"more{number}").write_bytes(noise(30 + number, 6_000_000))
    pruned: list[int] = []

    def meanwhile(figures: Figures) -> None:
        if figures.bytes > 80_000_000 and not pruned:  # two open packs cannot hold what was cut by now
            eventually(lambda: packs(repository) > before, seconds=60)
            other = opened(repository)
            with alone(other, PRUNER, CLOCK) as lock:
                pruned.append(prune(other, lock, CLOCK.now(), Wish(grace, 0.0)).removed)

    ends = "somebody removed its lock|the store took it, and does not have it"  # of a pack, between saved and looked at
    with pytest.raises(NciaError, match=ends):
        backup(repository, source, skewed(-DAY), meanwhile)
    assert (pruned[0] > 0) is (not grace)
    checked = Checking(opened(repository), Share()).run()
    assert (checked.faults, checked.snapshots) == ([], 1)
    assert [each.id for each in opened(repository).snapshots()] == [first.snapshot.id]
    backup(repository, source, skewed(0))
    assert Checking(opened(repository), Share()).run().faults == []


def packs(repository: Repository) -> set[str]:
    return {each.name for each in repository.store.names(Kind.DATA)}


def test_a_lock_that_is_told_anew_while_it_is_asked_for_is_not_taken_for_removed(source: Path) -> None:
    repository = new()

    class Renamed(Lock):
        """Told anew between the look at its name and the question to the store."""

        asked = 0

        def demand(self) -> None:
            super().demand()
            self.asked += 1

    with Renamed(repository, HOLDER, CLOCK) as lock:
        store = repository.store
        honest = store.size

        def size(kind: Kind, name: str) -> int:
            if not renamed:
                renamed.append(name)
                lock.refresh()
            return honest(kind, name)

        renamed: list[str] = []
        store.size = size
        lock.demand_there()
        del store.size
    assert renamed
    assert list(repository.store.names(Kind.LOCKS)) == []


def test_a_pruner_whose_clock_is_a_day_fast_removes_nothing_before_its_grace(source: Path) -> None:
    repository = new()
    backup(repository, source, skewed(0))
    (source / "file").write_bytes(noise(4, 3_000_000))
    second = backup(repository, source, skewed(0))
    other = opened(repository)
    gone = next(each for each in other.snapshots() if each.id != second.snapshot.id)
    other.store.remove(Kind.SNAPSHOTS, gone.id)
    fast = skewed(DAY)
    with alone(other, PRUNER, fast) as lock:
        assert prune(other, lock, fast.now(), Wish(timedelta(days=7), 0.0)).removed == 0
    again = opened(repository)
    with alone(again, PRUNER, CLOCK) as lock:  # the marks are dated ahead now: they begin anew, and go no sooner
        assert prune(again, lock, CLOCK.now(), Wish(timedelta(days=7), 0.0)).removed == 0
    assert Checking(opened(repository), Share()).run().faults == []
