"""The task over fakes of source and store, on a real journal: what is asked, when, and what is written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backup.plan import FIRST_AFTER_SECONDS
from backup.ports import BaseBackup, ComparePoint, Origin, RestoredCopy
from backup.task import UNKNOWN, BackupTask, Desk, Parts
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import DatasetId, SiteId, SystemId
from ncia.core.estate.model import Address, Dataset, Estate, System
from ncia.core.journal.entries import BackupStarted, ProofStarted, TableSum
from ncia.core.state import StateStore
from tests.backup.world import DATASET, EAST, NOW, WEST, estate_with, later
from tests.core.journal.sites import SetClock, journal_of, sqlite_url

TABLES = (TableSum(table="civil.acts", rows=2, sum128="ab" * 16),)


def nothing() -> None: ...


@dataclass
class FakeSource:
    origin: Origin
    held: set[str]

    def hold(self, slot: str) -> None:
        self.held.add(slot)

    def release(self, slot: str) -> None:
        self.held.discard(slot)

    def compare_point(self) -> ComparePoint:
        return ComparePoint("0/10", "0/20", TABLES)


@dataclass
class FakeSources:
    held: set[str] = field(default_factory=set)

    def of(self, dataset: Dataset, site: str) -> FakeSource:
        return FakeSource(Origin(dataset.id, dataset.copies[SiteId(site)].server, "ncia_backup", ""), self.held)


@dataclass
class FakeCopy:
    reached_lsn: str
    content: tuple[TableSum, ...]

    def tables(self) -> tuple[TableSum, ...]:
        return self.content


@dataclass
class FakeStore:
    """``meanwhile`` is called in the middle of each base backup."""

    meanwhile: Callable[[], None] = nothing
    content: tuple[TableSum, ...] = TABLES
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    sweeps: int = 0
    silent: bool = False

    def take(self, job: str, origin: Origin, slot: str) -> BaseBackup:
        self.meanwhile()
        return BaseBackup(1, 1, "0/1", "0/2", "")

    def join_wal(self, job: str, origin: Origin, slot: str, end_lsn: str) -> None: ...

    def publish(self, job: str, dataset: DatasetId, point: str, description: bytes) -> str:
        self.kept.append(point)
        return f"{dataset}/{point}"

    def discard(self, job: str, dataset: DatasetId) -> None: ...

    @contextmanager
    def restore(self, job: str, path: str, database: str, lsn: str, manifest_sha256: str) -> Iterator[RestoredCopy]:
        yield FakeCopy(lsn, self.content)

    def remove(self, path: str) -> None:
        self.removed.append(path)

    def sweep(self) -> tuple[str, ...]:
        if self.silent:
            raise Unreachable("remote.unreachable", "reach the store", "it is silent")
        self.sweeps += 1
        return ()


@dataclass
class Bench:
    folder: Path
    store: FakeStore = field(default_factory=FakeStore)
    sources: FakeSources = field(default_factory=FakeSources)
    clock: SetClock = field(default_factory=SetClock)
    active: dict[SystemId, SiteId] = field(default_factory=dict)
    systems: int = 3

    def __post_init__(self) -> None:
        self.estate = several(self.systems)
        self.journal = journal_of(WEST, sqlite_url(self.folder, "west"), self.clock)
        self.states = StateStore(self.journal)
        self.task = self.made()

    def made(self) -> BackupTask:
        parts = Parts(
            self.estate, WEST, self.journal, self.states, self.sources, self.store, self.clock, lambda: self.active
        )
        return BackupTask(parts)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.entries(WEST)]


def several(count: int) -> Estate:
    """Systems like the first one: ``tax``, ``tax1``, …"""
    estate = estate_with(Address("127.0.0.1", 5))
    first = estate.systems[SystemId("tax")]
    copies = [first, *(copied(first, f"tax{n}") for n in range(1, count))]
    return replace(estate, systems={system.id: system for system in copies})


def copied(system: System, name: str) -> System:
    datasets = tuple(
        replace(each, id=DatasetId(each.id.replace("tax", name)), system=SystemId(name)) for each in system.datasets
    )
    return replace(system, id=SystemId(name), datasets=datasets)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.task.close()
    here.journal.close()


def test_everything_of_the_other_site_is_backed_up_and_proven(bench: Bench) -> None:
    ended = bench.task.protect_all()
    assert [(each.dataset, each.state) for each in ended] == [
        ("tax/rows", "succeeded"),
        ("tax1/rows", "succeeded"),
        ("tax2/rows", "succeeded"),
    ]
    assert "1 tables, 2 rows the same" in ended[0].sentence
    assert sorted(bench.kinds()) == sorted(3 * ["backup.started", "backup.finished", "proof.started", "proof.finished"])
    assert bench.sources.held == set()


def test_at_most_as_many_jobs_run_at_once_as_the_estate_allows(bench: Bench) -> None:
    running, most, lock = 0, 0, threading.Lock()
    pair = threading.Barrier(2, timeout=10)

    def meanwhile() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            first = running < 2 and most < 2
        if first or most == 2:
            try:
                pair.wait(timeout=0.5)
            except threading.BrokenBarrierError:
                pair.reset()
        with lock:
            running -= 1

    bench.store.meanwhile = meanwhile
    bench.task.protect_all()
    assert most == bench.estate.settings.jobs_at_once == 2


def test_a_dataset_is_worked_on_by_one_job_at_a_time(bench: Bench) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        entered.set()
        assert go_on.wait(10)

    bench.store.meanwhile = meanwhile
    (first,) = bench.task.ask("protect", DATASET, "kim")
    assert entered.wait(10)
    assert bench.task.ask("protect", DATASET, "lee") == (bench.task.ticket(first.job),)
    assert bench.task.ask("prove", DATASET, "lee")[0].job == first.job
    assert bench.task.due(later(NOW, 1e6))[0].charge.dataset.id != DATASET
    go_on.set()
    assert bench.task.wait(first.job, 10).state == "succeeded"
    assert bench.kinds().count("backup.started") == 1


def test_a_proof_asked_for_while_another_verb_is_at_work_is_refused_the_other_way_round(bench: Bench) -> None:
    bench.task.wait(bench.task.ask("protect", DATASET, "kim")[0].job, 10)
    entered, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slow(*arguments: str) -> Iterator[RestoredCopy]:
        entered.set()
        assert go_on.wait(10)
        yield FakeCopy("0/10", TABLES)

    bench.store.restore = slow  # type: ignore[method-assign, assignment]
    (proving,) = bench.task.ask("prove", DATASET, "kim")
    assert entered.wait(10)
    with pytest.raises(Refusal, match="works on it"):
        bench.task.ask("protect", DATASET, "lee")
    go_on.set()
    assert bench.task.wait(proving.job, 10).state == "succeeded"


def test_proving_what_has_no_point_yet_makes_one_first(bench: Bench) -> None:
    (ticket,) = bench.task.ask("prove", DATASET, "kim")
    assert ticket.verb == "protect"
    bench.task.wait(ticket.job, 10)
    (again,) = bench.task.ask("prove", DATASET, "kim")
    bench.task.wait(again.job, 10)
    assert bench.kinds() == [
        "backup.started",
        "backup.finished",
        *2 * ["proof.started", "proof.finished"],
    ]


def test_a_copy_that_differs_fails_the_job_in_one_sentence(bench: Bench) -> None:
    bench.store.content = (TableSum(table="civil.acts", rows=1, sum128="00" * 16),)
    ticket = bench.task.wait(bench.task.ask("protect", DATASET, "kim")[0].job, 10)
    assert ticket.state == "failed"
    assert ticket.sentence.endswith("is not its source: civil.acts: 2 rows in the source, 1 in the copy")
    assert bench.states.snapshot().newest_proven(DATASET) is None


def test_an_unforeseen_failure_ends_the_job_and_is_journalled(bench: Bench) -> None:
    def broken() -> None:
        raise RuntimeError("disk on fire")

    bench.store.meanwhile = broken
    ticket = bench.task.wait(bench.task.ask("protect", DATASET, "kim")[0].job, 10)
    assert (ticket.state, ticket.sentence) == ("failed", "RuntimeError: disk on fire")
    assert bench.kinds() == ["backup.started", "backup.failed"]
    assert bench.sources.held == set()


def test_the_tick_asks_for_what_is_due_and_not_before(bench: Bench) -> None:
    bench.task.tick(later(NOW, FIRST_AFTER_SECONDS - 1))
    assert bench.kinds() == []
    bench.task.tick(later(NOW, FIRST_AFTER_SECONDS + 1))
    bench.task.close()
    assert bench.kinds().count("proof.finished") == 2 or bench.kinds().count("proof.finished") == 3


def test_a_missed_run_is_written_once_and_settled_by_the_next_success(bench: Bench) -> None:
    bench.store.silent = True

    def down() -> None:
        raise Unreachable("remote.unreachable", "reach the store", "it is silent")

    bench.store.meanwhile = down
    late = later(NOW, FIRST_AFTER_SECONDS + 1801)
    for now in (late, later(late, 1)):
        bench.task.tick(now)
        for job in list(bench.task._tickets):
            bench.task.wait(job, 10)
    missed = [each.run for each in bench.states.snapshot().missed]
    assert [each.dataset for each in missed] == ["tax/rows", "tax1/rows", "tax2/rows"]
    assert missed[0].job == "backup:tax/rows"
    assert missed[0].reason == "no success within 1800 s"
    bench.store.meanwhile = nothing
    bench.task.wait(bench.task.ask("protect", DATASET, "kim")[0].job, 10)
    assert [each.run.dataset for each in bench.states.snapshot().missed] == ["tax1/rows", "tax2/rows"]


def test_jobs_that_a_crash_cut_off_are_told_to_be_unknown_and_their_traces_swept(bench: Bench) -> None:
    begun = BackupStarted(job="backup-1", dataset=DATASET, source_site=EAST, store_site=WEST, due_at=to_text(NOW))
    bench.journal.append(begun, by="calendar")
    bench.journal.append(ProofStarted(job="proof-2", point="p", dataset=DATASET), by="calendar")
    restarted = bench.made()
    restarted.recover()
    restarted.recover()
    restarted.close()
    assert bench.kinds()[2:] == ["backup.failed", "proof.failed"]
    assert bench.journal.entries(WEST)[2].body.error == UNKNOWN
    assert bench.store.sweeps == 1


def test_a_store_that_was_silent_at_the_start_is_swept_later(bench: Bench) -> None:
    bench.store.silent = True
    bench.task.recover()
    bench.store.silent = False
    bench.task.recover()
    assert bench.store.sweeps == 1


def test_old_points_go_once_newer_ones_are_proven(bench: Bench) -> None:
    for _ in range(4):
        bench.task.wait(bench.task.ask("protect", DATASET, "kim")[0].job, 10)
    assert bench.store.removed == [f"{DATASET}/{point}" for point in bench.store.kept[:2]]
    assert [point.id for point in bench.states.snapshot().points[DATASET]] == bench.store.kept[2:]


def test_a_dataset_of_no_estate_and_one_of_the_other_sites_charge_are_told_apart(bench: Bench) -> None:
    with pytest.raises(NciaError) as unknown:
        bench.task.ask("protect", "tax/nothing", "kim")
    assert unknown.value.code == "backup.no-such-dataset"
    bench.active[SystemId("tax1")] = WEST
    with pytest.raises(Refusal, match="active at the other site"):
        bench.task.ask("protect", "tax1/rows", "kim")


def test_the_desk_tells_points_proofs_and_jobs_as_json(bench: Bench) -> None:
    desk = Desk(bench.task)
    asked = desk.prove(None)["jobs"]
    assert [(job["dataset"], job["verb"]) for job in asked] == [
        ("tax/rows", "protect"),
        ("tax1/rows", "protect"),
        ("tax2/rows", "protect"),
    ]
    for job in asked:
        bench.task.wait(job["job"], 10)
    told = desk.list()
    assert {point["dataset"]: point["proof"] for point in told["points"]} == dict.fromkeys(
        ("tax/rows", "tax1/rows", "tax2/rows"), "matched"
    )
    assert [each["state"] for each in told["jobs"]] == ["succeeded"] * 3
    assert told["datasets"][0]["source_site"] == EAST
    assert desk.run(DATASET)["jobs"][0]["verb"] == "protect"
