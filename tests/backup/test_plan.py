"""What is due, missed, deletable: on facts alone."""

from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from backup.plan import (
    FIRST_AFTER_SECONDS,
    RETRY_SECONDS_MIN,
    attempt_name,
    charges,
    due,
    due_at,
    expected,
    job_token,
    open_jobs,
    proof_job,
    provable,
    retired,
    slot_name,
    underway,
)
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SystemId
from ncia.core.estate.model import Address
from ncia.core.journal.entries import BackupFailed, BackupFinished, BackupStarted, ProofFailed, ProofFinished
from ncia.core.state import Job, Proof, RecoveryPoint, State
from tests.backup.world import DATASET, EAST, NOW, WEST, charge_of, estate_with, later

ESTATE = estate_with(Address("127.0.0.1", 5))
CHARGE = charge_of(ESTATE)
HOUR = 3600.0


def backup(name: str, compare_lsn: str = "0/10", store: str = WEST) -> BackupFinished:
    return BackupFinished(
        job=f"backup-{name}",
        point=name,
        dataset=DATASET,
        store_site=store,
        path=f"{DATASET}/{name}",
        size_bytes=1,
        files=1,
        start_lsn="0/1",
        stop_lsn="0/2",
        manifest_sha256="",
        seconds=1,
        compare_lsn=compare_lsn,
    )


def proof(name: str, at: datetime, matched: bool) -> Proof:
    outcome = ProofFinished(
        job="proof-1",
        point=name,
        dataset=DATASET,
        matched=matched,
        compare_lsn="0/10",
        source=(),
        copy_=(),
        differences=() if matched else ("civil.acts: missing in the copy",),
        restore_seconds=1,
        seconds=1,
    )
    return Proof(at, outcome)


def point(name: str, at: datetime, matched: bool | None = True, store: str = WEST) -> RecoveryPoint:
    found = None if matched is None else proof(name, at, matched)
    return RecoveryPoint(name, DATASET, at, backup(name, store=store), found)


def state(*points: RecoveryPoint, jobs: tuple[Job, ...] = ()) -> State:
    return State(points={DATASET: points}, jobs={job.id: job for job in jobs})


def failed(name: str, at: datetime) -> Job:
    started = BackupStarted(job=name, dataset=DATASET, source_site=EAST, store_site=WEST, due_at=to_text(at))
    return Job(name, WEST, at, started, at, BackupFailed(job=name, dataset=DATASET, error="no"))


def test_a_site_protects_the_rows_that_are_active_at_the_other_site() -> None:
    assert charges(ESTATE, WEST, {}) == (CHARGE,)
    assert charges(ESTATE, EAST, {}) == ()


def test_after_a_move_the_other_site_protects() -> None:
    moved = {SystemId("tax"): WEST}
    assert charges(ESTATE, WEST, moved) == ()
    assert [each.store_site for each in charges(ESTATE, EAST, moved)] == [EAST]


def test_what_was_never_proven_is_due_soon_after_the_start() -> None:
    assert due_at(CHARGE, state(), NOW) == later(NOW, FIRST_AFTER_SECONDS)
    assert due((CHARGE,), state(), NOW, later(NOW, FIRST_AFTER_SECONDS - 1)) == ()
    assert [each.charge for each in due((CHARGE,), state(), NOW, later(NOW, FIRST_AFTER_SECONDS))] == [CHARGE]


def test_the_next_run_is_due_an_interval_after_the_newest_proven_point_at_this_store() -> None:
    known = state(
        point("old", NOW), point("unproven", later(NOW, 500), None), point("elsewhere", later(NOW, 600), store=EAST)
    )
    assert due_at(CHARGE, known, later(NOW, 9 * HOUR)) == later(NOW, HOUR)


def test_a_run_is_due_at_once_where_the_newest_proof_failed_wherever_that_was() -> None:
    proven = point("p1", NOW)
    spoilt = Proof(later(NOW, 100), proof("p2", later(NOW, 100), matched=False).outcome)
    known = State(points={DATASET: (proven,)}, proofs={DATASET: spoilt})
    assert due_at(CHARGE, known, NOW) == later(NOW, 100)
    undone = Proof(later(NOW, 100), ProofFailed(job="j", point="p2", dataset=DATASET, error="it was moved"))
    for store, wanted in ((EAST, later(NOW, 100)), (WEST, later(NOW, CHARGE.interval_seconds))):
        other = point("p2", later(NOW, 90), matched=None, store=store)
        assert due_at(CHARGE, State(points={DATASET: (proven, other)}, proofs={DATASET: undone}), NOW) == wanted
    older = State(points={DATASET: (proven,)}, proofs={DATASET: replace(spoilt, at=later(NOW, -1))})
    assert due_at(CHARGE, older, NOW) == later(NOW, CHARGE.interval_seconds)


def test_failures_are_followed_by_growing_pauses_never_longer_than_the_interval() -> None:
    start = later(NOW, 60)
    for count, pause in ((1, RETRY_SECONDS_MIN), (2, 2 * RETRY_SECONDS_MIN), (3, 4 * RETRY_SECONDS_MIN), (30, HOUR)):
        known = state(jobs=tuple(failed(f"backup-{n}", start) for n in range(count)))
        assert due((CHARGE,), known, NOW, later(start, pause - 1)) == ()
        assert len(due((CHARGE,), known, NOW, later(start, pause))) == 1


def test_failures_before_the_newest_proof_do_not_count() -> None:
    known = state(point("p", NOW), jobs=(failed("backup-1", later(NOW, -10)),))
    assert len(due((CHARGE,), known, NOW, later(NOW, HOUR))) == 1


def test_the_ledger_watches_a_window_of_half_the_interval_and_at_least_two_minutes() -> None:
    watched = expected(CHARGE, state(point("p", NOW)), NOW)
    assert (watched.work, watched.first_due, watched.window_seconds) == (f"backup:{DATASET}", later(NOW, HOUR), 1800)
    short = charge_of(estate_with(Address("127.0.0.1", 5), interval_seconds=60))
    assert short.window_seconds == 120


def test_points_are_kept_until_newer_ones_are_proven() -> None:
    known = [point(str(n), later(NOW, n), None) for n in range(5)]
    assert retired(known) == ()
    known[1] = point("1", later(NOW, 1))
    assert [each.id for each in retired(known)] == ["0"]
    known[4] = point("4", later(NOW, 4))
    assert [each.id for each in retired(known)] == ["0", "1", "2"]


@given(st.lists(st.sampled_from([True, False, None]), max_size=12))
def test_retention_never_costs_the_newest_proven_point_nor_the_two_newest(found: list[bool | None]) -> None:
    known = [point(str(n), later(NOW, n), matched) for n, matched in enumerate(found)]
    gone = {each.id for each in retired(known)}
    proven = [each.id for each in known if each.proven]
    assert not gone & {each.id for each in known[-2:]}
    assert not gone & set(proven[-1:])
    assert not gone or proven


def test_only_a_point_with_its_sources_sums_can_be_proven() -> None:
    bare = RecoveryPoint("bare", DATASET, later(NOW, 9), backup("bare", compare_lsn=""))
    assert provable([point("p", NOW), bare, point("there", later(NOW, 8), store=EAST)], WEST).id == "p"
    assert provable([bare], WEST) is None


def test_a_job_without_an_end_is_open_at_its_own_site() -> None:
    started = BackupStarted(job="backup-1", dataset=DATASET, source_site=EAST, store_site=WEST, due_at=to_text(NOW))
    known = state(jobs=(Job("backup-1", WEST, NOW, started), failed("backup-2", NOW)))
    assert [job.id for job in open_jobs(known, WEST)] == ["backup-1"]
    assert open_jobs(known, EAST) == ()


def test_a_slot_is_named_after_its_job_in_letters_that_postgresql_allows() -> None:
    assert slot_name("backup-20260101T000000-abcdef") == "ncia_job_backup_20260101t000000_abcdef"


def test_work_that_a_site_has_begun_excuses_it_for_one_interval() -> None:
    started = BackupStarted(job="backup-1", dataset=DATASET, source_site=EAST, store_site=WEST, due_at=to_text(NOW))
    known = state(jobs=(Job("backup-1", WEST, NOW, started), failed("backup-2", NOW)))
    assert underway(known, CHARGE, WEST, later(NOW, HOUR - 1))
    assert not underway(known, CHARGE, WEST, later(NOW, HOUR))
    assert not underway(known, CHARGE, EAST, later(NOW, 1))


def test_a_due_run_has_the_same_name_until_it_fails_or_an_interval_has_passed() -> None:
    at = later(NOW, FIRST_AFTER_SECONDS)
    (first,) = due((CHARGE,), state(), NOW, at)
    assert first.job == f"backup:{DATASET}:{to_text(at)}:1"
    assert due((CHARGE,), state(), NOW, later(at, HOUR - 1))[0].job == first.job
    tried = state(jobs=(failed("backup-1", at),))
    assert due((CHARGE,), tried, NOW, later(at, 60))[0].job == f"backup:{DATASET}:{to_text(at)}:2"
    assert due((CHARGE,), state(), NOW, later(at, HOUR))[0].job == f"backup:{DATASET}:{to_text(later(at, HOUR))}:1"


def test_the_places_of_a_jobs_attempts_share_its_token_and_nothing_else() -> None:
    job = f"backup:{DATASET}:{to_text(NOW)}:1"
    names = [attempt_name(job, 1), attempt_name(job, 2), attempt_name(proof_job(job), 1)]
    assert names == [f"backup-{job_token(job)}x1", f"backup-{job_token(job)}x2", f"proof-{job_token(job)}x1"]
    assert len({slot_name(name) for name in names}) == 3
    assert job_token(job) != job_token(job[:-1] + "2")
