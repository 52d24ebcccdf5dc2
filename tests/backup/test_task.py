"""The task over fakes of source and store, on a real journal: what is asked, when, and what is written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backup.ledger import JournalLedger
from backup.perform import Performer
from backup.plan import FIRST_AFTER_SECONDS, job_token
from backup.ports import BaseBackup, ComparePoint, Origin, RestoredCopy
from backup.task import UNKNOWN, BackupTask, Desk, Parts
from backup.work import Protecting
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import DatasetId, HostId, SiteId, SystemId
from ncia.core.estate.model import Address, Dataset, Estate, Host, System
from ncia.core.journal.entries import BackupFinished, BackupStarted, ControllerStarted, ProofStarted, TableSum
from ncia.core.journal.entries_care import SetAside
from ncia.core.state import StateStore
from ncia.core.work.jobs import Job, Limits
from ncia.core.work.ledger import PEER_GRACE_SECONDS
from tests.backup.world import DATASET, EAST, NOW, WEST, estate_with, later
from tests.core.journal.sites import SetClock, journal_of, sqlite_url
from tests.fakes.jobs import FakeJobs

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
    kept_by_sweep: Collection[str] = ()
    silent: bool = False
    set_aside: Sequence[SetAside] = ()

    def take(self, job: str, origin: Origin, slot: str) -> BaseBackup:
        self.meanwhile()
        return BaseBackup(1, 1, "0/1", "0/2", "")

    def join_wal(self, job: str, origin: Origin, slot: str, end_lsn: str) -> None: ...

    def publish(self, job: str, dataset: DatasetId, point: str, description: bytes) -> str:
        self.kept.append(point)
        return f"{dataset}/{point}"

    def fetch(self, job: str, point: BackupFinished) -> str:
        self.kept.append(f"copy of {point.point}")
        return point.path

    def discard(self, job: str, dataset: DatasetId) -> None: ...

    @contextmanager
    def restore(self, job: str, path: str, database: str, lsn: str, manifest_sha256: str) -> Iterator[RestoredCopy]:
        yield FakeCopy(lsn, self.content)

    def remove(self, path: str) -> None:
        self.removed.append(path)

    def present(self, paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(path for path in paths if path not in self.removed)

    def abandon(self, job: str) -> None: ...

    def aside(self) -> Sequence[SetAside]:
        if self.silent:
            raise Unreachable("remote.unreachable", "reach the store", "it is silent")
        return self.set_aside

    def sweep(self, kept: Callable[[], Collection[str]]) -> tuple[str, ...]:
        if self.silent:
            raise Unreachable("remote.unreachable", "reach the store", "it is silent")
        self.sweeps += 1
        self.kept_by_sweep = kept()
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
        self.jobs = FakeJobs()
        ledger = JournalLedger(self.journal, self.states, self.jobs.check)
        works = Protecting(self.estate, Performer(ledger, self.sources, self.store, self.clock)).works()
        self.jobs.start(works, Limits(self.estate.settings.jobs_at_once))
        self.task = self.made()

    def made(self, site: SiteId = WEST) -> BackupTask:
        parts = Parts(
            self.estate, site, self.journal, self.states, self.jobs, self.store, self.clock, lambda: self.active
        )
        return BackupTask(parts)

    def wait(self, job: Job) -> Job:
        return self.jobs.wait(job.id, 10)

    def settle(self) -> None:
        """Until no job is open."""
        for job in self.jobs.open():
            self.wait(job)

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
    here.jobs.close()
    here.journal.close()


def test_everything_of_the_other_site_is_backed_up_and_proven(bench: Bench) -> None:
    ended = bench.task.protect_all()
    assert [(each.order.dataset, each.state) for each in ended] == [
        ("tax/rows", "succeeded"),
        ("tax1/rows", "succeeded"),
        ("tax2/rows", "succeeded"),
    ]
    assert "1 tables, 2 rows the same" in ended[0].sentence
    assert sorted(bench.kinds()) == sorted(3 * ["backup.started", "backup.finished", "proof.started", "proof.finished"])
    assert bench.sources.held == set()


def test_a_copy_is_ordered_for_each_proven_point_of_the_other_site_that_is_not_here(bench: Bench) -> None:
    bench.task.protect_all()
    east_store = Host(HostId("east-store"), EAST, Address("127.0.0.1", 22), "ncia", ("store",))
    bench.estate = replace(bench.estate, hosts={**bench.estate.hosts, east_store.id: east_store})
    there = bench.made(EAST)
    asked = there.copy("tax/rows", "kim")
    assert [(job.order.dataset, job.order.verb, job.order.link, job.order.lane) for job in asked] == [
        ("tax/rows", "copy", "east-west", "copy")
    ]
    assert bench.wait(asked[0]).state == "succeeded"
    assert [job.order.dataset for job in there.copy(None, "kim")] == ["tax1/rows", "tax2/rows"]
    bench.settle()
    assert there.copy(None, "kim") == ()
    with pytest.raises(Refusal, match="without being at east too"):
        there.copy("tax/rows", "kim")
    with pytest.raises(NciaError, match="not in the estate"):
        there.copy("nobody/rows", "kim")
    assert bench.task.to_json()["points"][-1]["copies"] == ["east"]


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
    assert [job.id for job in bench.task.ask("protect", DATASET, "lee")] == [first.id]
    assert [job.id for job in bench.task.ask("prove", DATASET, "lee")] == [first.id]
    assert bench.task.due(later(NOW, 1e6))[0].charge.dataset.id != DATASET
    go_on.set()
    assert bench.wait(first).state == "succeeded"
    assert bench.kinds().count("backup.started") == 1


def test_a_proof_asked_for_while_another_verb_is_at_work_is_refused_the_other_way_round(bench: Bench) -> None:
    bench.wait(bench.task.ask("protect", DATASET, "kim")[0])
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
    assert bench.wait(proving).state == "succeeded"


def test_proving_what_has_no_point_yet_makes_one_first(bench: Bench) -> None:
    (first,) = bench.task.ask("prove", DATASET, "kim")
    assert first.order.verb == "protect"
    assert first.id.startswith("backup-")
    bench.wait(first)
    (again,) = bench.task.ask("prove", DATASET, "kim")
    assert again.id.startswith("proof-")
    bench.wait(again)
    assert bench.kinds() == [
        "backup.started",
        "backup.finished",
        *2 * ["proof.started", "proof.finished"],
    ]


def test_a_copy_that_differs_fails_the_job_in_one_sentence(bench: Bench) -> None:
    bench.store.content = (TableSum(table="civil.acts", rows=1, sum128="00" * 16),)
    ended = bench.wait(bench.task.ask("protect", DATASET, "kim")[0])
    assert ended.state == "failed"
    assert ended.sentence.endswith("is not its source: civil.acts: 2 rows in the source, 1 in the copy")
    assert bench.states.snapshot().newest_proven(DATASET) is None


def test_an_unforeseen_failure_ends_the_job_and_is_journalled(bench: Bench) -> None:
    def broken() -> None:
        raise RuntimeError("disk on fire")

    bench.store.meanwhile = broken
    ended = bench.wait(bench.task.ask("protect", DATASET, "kim")[0])
    assert (ended.state, ended.sentence) == ("failed", "RuntimeError: disk on fire")
    assert bench.kinds() == ["backup.started", "backup.failed"]
    assert bench.sources.held == set()


def test_the_tick_asks_for_what_is_due_and_not_before(bench: Bench) -> None:
    bench.task.tick(later(NOW, FIRST_AFTER_SECONDS - 1))
    assert bench.kinds() == []
    bench.task.tick(later(NOW, FIRST_AFTER_SECONDS + 1))
    bench.settle()
    assert bench.kinds().count("proof.finished") == 3


def test_a_double_tick_and_a_restart_ask_for_nothing_twice(bench: Bench) -> None:
    moment = later(NOW, FIRST_AFTER_SECONDS + 1)
    bench.task.tick(moment)
    bench.task.tick(moment)
    bench.made().tick(moment)
    bench.settle()
    began = {job.id for job in bench.jobs.list()}
    assert len(began) == 3
    assert bench.kinds().count("backup.started") == 3


def test_a_run_that_was_cancelled_is_asked_for_again_an_interval_later(bench: Bench) -> None:
    bench.jobs.freeze()
    moment = later(NOW, FIRST_AFTER_SECONDS + 1)
    bench.task.tick(moment)
    for job in bench.jobs.open():
        bench.jobs.cancel(job.id, "kim")
    bench.task.tick(later(moment, 30))
    assert bench.jobs.open() == ()
    bench.task.tick(later(moment, 3600))
    assert len(bench.jobs.open()) == 3


def test_a_missed_run_is_written_once_and_settled_by_the_next_success(bench: Bench) -> None:
    bench.store.silent = True

    def down() -> None:
        raise Unreachable("remote.unreachable", "reach the store", "it is silent")

    bench.store.meanwhile = down
    late = later(NOW, FIRST_AFTER_SECONDS + 1801)
    for now in (late, later(late, 1)):
        bench.task.tick(now)
        bench.settle()
    missed = [each.run for each in bench.states.snapshot().missed]
    assert [each.dataset for each in missed] == ["tax/rows", "tax1/rows", "tax2/rows"]
    assert missed[0].job == "backup:tax/rows"
    assert missed[0].reason == "no success within 1800 s"
    bench.store.meanwhile = nothing
    bench.wait(bench.task.ask("protect", DATASET, "kim")[0])
    assert [each.run.dataset for each in bench.states.snapshot().missed] == ["tax1/rows", "tax2/rows"]


def test_jobs_that_a_crash_cut_off_are_told_to_be_unknown_and_their_traces_swept(bench: Bench) -> None:
    begun = BackupStarted(job="backup-1", dataset=DATASET, source_site=EAST, store_site=WEST, due_at=to_text(NOW))
    bench.journal.append(begun, by="calendar")
    bench.journal.append(ProofStarted(job="proof-2", point="p", dataset=DATASET), by="calendar")
    restarted = bench.made()
    restarted.recover()
    restarted.recover()
    assert bench.kinds()[2:] == ["backup.failed", "proof.failed"]
    assert bench.journal.entries(WEST)[2].body.error == UNKNOWN
    assert bench.store.sweeps == 1


def test_a_job_that_the_queue_still_holds_is_neither_told_to_be_unknown_nor_swept(bench: Bench) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        entered.set()
        assert go_on.wait(10)

    bench.store.meanwhile = meanwhile
    (job,) = bench.task.ask("protect", DATASET, "kim")
    assert entered.wait(10)
    bench.made().recover()
    assert list(bench.store.kept_by_sweep) == [job_token(job.id)]
    go_on.set()
    assert bench.wait(job).state == "succeeded"
    assert "backup.failed" not in bench.kinds()


def test_what_the_silent_peer_should_have_done_is_written_down_once_by_the_other_one(bench: Bench) -> None:
    bench.active.update(dict.fromkeys(bench.estate.systems, WEST))  # so the east is to protect it
    bench.journal.append(ControllerStarted(release="1", estate_hash=""), by="controller")
    window = FIRST_AFTER_SECONDS + 1800
    bench.task.tick(later(NOW, window + PEER_GRACE_SECONDS - 2))
    assert bench.states.snapshot().missed == ()
    for seconds in (2, 3, 60):
        bench.task.tick(later(NOW, window + PEER_GRACE_SECONDS + seconds))
    missed = [each.run for each in bench.states.snapshot().missed]
    assert [each.job for each in missed] == ["backup:tax/rows", "backup:tax1/rows", "backup:tax2/rows"]
    assert missed[0].reason == ("east has said neither that it was done nor that it was missed; we have no entry of it")
    assert bench.kinds().count("schedule.missed") == 3


def test_a_store_that_was_silent_at_the_start_is_swept_later(bench: Bench) -> None:
    bench.store.silent = True
    bench.task.recover()
    bench.store.silent = False
    bench.task.recover()
    assert bench.store.sweeps == 1


def test_old_points_go_once_newer_ones_are_proven(bench: Bench) -> None:
    for _ in range(4):
        bench.wait(bench.task.ask("protect", DATASET, "kim")[0])
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
    asked = desk.prove(None, "kim")["jobs"]
    assert [(job["dataset"], job["verb"]) for job in asked] == [
        ("tax/rows", "protect"),
        ("tax1/rows", "protect"),
        ("tax2/rows", "protect"),
    ]
    for job in asked:
        bench.jobs.wait(job["job"], 10)
    told = desk.list()
    assert {point["dataset"]: point["proof"] for point in told["points"]} == dict.fromkeys(
        ("tax/rows", "tax1/rows", "tax2/rows"), "matched"
    )
    assert [each["state"] for each in told["jobs"]] == ["succeeded"] * 3
    assert told["datasets"][0]["source_site"] == EAST
    assert desk.run(DATASET, "kim")["jobs"][0]["verb"] == "protect"
