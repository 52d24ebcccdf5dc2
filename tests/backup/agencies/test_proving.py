"""A snapshot is proven by a restore that was compared, or by a reading of every byte; the last proven one stays."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.agencies.perform import AgencyWork
from backup.agencies.plan import over
from backup.agencies.ports import Brought, Engine, Place
from backup.agencies.proving import RETRY_SECONDS, SAMPLE_BYTES_MAX, SAMPLE_DOCUMENTS_MAX, Comparison, sample, unwell
from backup.agencies.task import AgencyTask
from backup.agencies.telling import repositories
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.estate import Estate
from ncia.core.estate.repository import Keep, Rotation
from ncia.core.journal.entries_care import SnapshotProofFailed, SnapshotProven
from ncia.core.journal.entries_repositories import RepositoryChecked, SnapshotForgotten
from ncia.core.work.documents import Seen
from ncia.core.work.jobs import Job, Limits
from tests.backup.agencies.test_reading import flip
from tests.backup.agencies.world import EAST, INTERVAL, LOOK_SECONDS, SELDOM, TAX, TREASURY, WEST, World, estate_of
from tests.fakes.documents import FakeDocuments

DAY = 86_400.0
WEEK = 7 * DAY


def estate(interval_seconds: float = SELDOM, prove_seconds: float = WEEK, keep: Keep | None = None) -> Estate:
    """Nothing but proofs is due."""
    base = estate_of()
    changed = {
        "interval_seconds": interval_seconds,
        "check": Rotation(SELDOM, parts=2),
        "prune_interval_seconds": SELDOM,
        "prove_interval_seconds": prove_seconds,
    }
    repository = replace(base.agencies[TREASURY].repository, **changed, **({"keep": keep} if keep else {}))
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both sites' stores have the same documents; one snapshot of them is in both places."""
    found = World(tmp_path, estate=estate())
    for site in (EAST, WEST):
        found.documents[site].put("2026/big", random.Random(7).randbytes(50_000), 1000.0)
    found.kept()
    yield found
    found.close()


def proofs(world: World) -> list[SnapshotProven | SnapshotProofFailed]:
    kinds = (SnapshotProven, SnapshotProofFailed)
    return [entry.body for entry in world.journal.entries(EAST) if isinstance(entry.body, kinds)]


def prove(world: World) -> Job:
    return world.jobs.wait(world.task.prove(TAX, "kim").id, 60)


def at_the_west(world: World) -> World:
    """Its controller, which reads of the same journal."""
    world.task = AgencyTask(replace(world.task.parts, site=WEST))
    world.jobs.close()
    world.jobs.freeze()
    world.works = AgencyWork(world.estate, WEST, world.tools).works()
    world.jobs.start(world.works, Limits())
    return world


def test_the_newest_snapshot_is_restored_and_compared_a_day_after_the_first_and_then_each_week(world: World) -> None:
    assert world.tick(DAY - 1000) == []
    (job,) = world.tick(1000)
    assert (job.order.verb, job.order.lane, job.state) == ("prove-snapshot", "prove-snapshot", "succeeded"), (
        job.sentence
    )
    (found,) = proofs(world)
    kept = world.fact(EAST).expected[-1].kept
    assert isinstance(found, SnapshotProven)
    assert (found.snapshot, found.tree, found.site) == (kept.snapshot, kept.tree, EAST)
    assert (found.documents, found.size_bytes, found.passed_over) == (2, 50_000 + 18, 0)
    assert [each.kept.snapshot for each in world.fact(EAST).proven_of(TAX, 2)] == [kept.snapshot]
    assert world.fact(WEST).proven_of(TAX, 2) == ()  # that place is the other centre's to prove
    assert list((world.folder / "proofs").iterdir()) == []
    assert world.tick(WEEK - 1000) == []
    assert [each.order.verb for each in world.tick(1000)] == ["prove-snapshot"]


def test_somebody_has_it_proven_now_and_all_is_told(world: World) -> None:
    assert prove(world).state == "succeeded"
    told = repositories(world.estate, world.states.snapshot(), world.clock.now())["snapshots"]
    kept = world.fact(EAST).expected[-1]
    assert [(each["site"], each["proven"], each["unproven"]) for each in told] == [
        (EAST, {"snapshot": kept.kept.snapshot, "at": to_text(kept.at)}, ""),
        (WEST, None, ""),
    ]
    with pytest.raises(Refusal, match="no whole snapshot of it"):
        world.task.prove("tax/rows", "kim")


def test_a_document_that_comes_back_with_other_content_refutes_the_snapshot(world: World) -> None:
    """The store's document is the one that was kept, by size and time: a restore that differs from it is wrong."""
    assert prove(world).state == "succeeded"
    content, at = world.documents[EAST].held["2026/a"]
    world.documents[EAST].held["2026/a"] = (content[::-1], at)
    job = prove(world)
    (_, failed) = proofs(world)
    assert (job.state, isinstance(failed, SnapshotProofFailed)) == ("failed", True)
    assert "2026/a came back with other content" in job.sentence
    assert world.fact(EAST).proven_of(TAX, 2) == ()
    assert unwell(world.fact(EAST), world.agency.repository, TAX, world.clock.now()).startswith("its snapshot ")
    world.documents[EAST].held["2026/a"] = (content, at)
    assert prove(world).state == "succeeded"
    assert len(world.fact(EAST).proven_of(TAX, 2)) == 1


def test_a_proof_that_failed_is_tried_again_a_day_later_and_not_in_a_week(world: World) -> None:
    held = world.documents[EAST].held
    content, at = held["2026/a"]
    held["2026/a"] = (content[::-1], at)
    assert prove(world).state == "failed"
    held["2026/a"] = (content, at)
    assert world.tick(DAY - 1000) == []
    (job,) = world.tick(1000)
    assert (job.order.verb, job.state) == ("prove-snapshot", "succeeded")
    assert world.tick(2 * DAY) == []


def test_a_pack_that_is_damaged_refutes_it_too(world: World) -> None:
    flip(world.stores[EAST])
    assert (prove(world).state, "2026/" in proofs(world)[0].error) == ("failed", True)


def test_a_place_that_does_not_answer_refutes_nothing_and_is_tried_again(world: World) -> None:
    class Silent:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            return getattr(self.engine, name)

        def restore(self, *_: object) -> None:
            raise NciaError("repository.failed", "load a pack", "the host does not answer")

    whole, world.engine = world.engine, Silent(world.engine)
    (job,) = world.tick(DAY)
    assert (job.state, proofs(world), world.tick(1)) == ("failed", [], [])
    world.engine = whole
    (job,) = world.tick(RETRY_SECONDS)
    assert (job.order.verb, job.state) == ("prove-snapshot", "succeeded")


def test_documents_that_were_written_anew_say_nothing_and_where_all_were_nothing_is_proven(world: World) -> None:
    world.documents[EAST].put("2026/a", b"of today", 5000.0)
    world.documents[EAST].put("2026/new", b"newer than the snapshot", 9e9)
    assert prove(world).state == "succeeded"
    (found,) = proofs(world)
    assert (found.documents, found.passed_over) == (1, 2)
    world.documents[EAST].put("2026/big", b"that one as well", 5000.0)
    assert "every document that was looked at is of another time or not in it" in prove(world).sentence


def test_a_document_that_a_snapshot_lacks_though_it_was_staged_for_it_and_a_day_older_refutes_it() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    comparison = Comparison(at)
    comparison.lack(Seen("a", 1, (at - timedelta(days=2)).timestamp()), staged=True)
    comparison.lack(Seen("b", 1, (at - timedelta(hours=2)).timestamp()), staged=True)
    comparison.lack(Seen("c", 1, (at - timedelta(days=2)).timestamp()), staged=False)
    assert (comparison.faults, comparison.passed_over) == (["a is not in it, and was staged for it"], 2)
    assert comparison.why_not(["c: it is damaged"]).startswith("c: it is damaged; a is not in it")


def test_what_the_passive_store_keeps_though_it_was_deleted_at_the_active_one_refutes_nothing(world: World) -> None:
    """A mirror never deletes: the west has a document more, older than the snapshot and rightly not in it."""
    world.documents[WEST].put("2026/a", b"a citizen's return", 1000.0)
    world.documents[WEST].put("2026/deleted", b"withdrawn", 1000.0)
    job = prove(at_the_west(world))
    assert job.state == "succeeded", job.sentence
    (found,) = proofs(world)
    assert (found.site, found.documents, found.passed_over) == (WEST, 2, 1)


def test_what_was_moved_into_the_active_store_with_its_old_time_refutes_nothing(world: World) -> None:
    world.documents[EAST].put("2025/moved", b"of the archive", 1000.0)
    assert prove(world).state == "succeeded"
    assert proofs(world)[0].passed_over == 1


def test_a_document_that_is_written_anew_between_its_listing_and_its_reading_refutes_nothing(world: World) -> None:
    class Busy(FakeDocuments):
        """Somebody saves the document as it is read."""

        def get(self, name: str) -> bytes | None:
            if name == "2026/a":
                self.put(name, b"of this moment", 5000.0)
            return super().get(name)

    busy = Busy(EAST)
    busy.held = world.documents[EAST].held
    world.documents[EAST] = busy
    job = prove(world)
    assert job.state == "succeeded", job.sentence
    assert (proofs(world)[0].documents, proofs(world)[0].passed_over) == (1, 1)


def test_what_was_staged_for_a_snapshot_and_is_not_in_it_refutes_it(world: World) -> None:
    class Forgetful:
        """Kept without one of the documents, and without a word of it."""

        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            return getattr(self.engine, name)

        def restore(self, place: Place, snapshot: str, target: Path, paths: Sequence[str] = ()) -> Brought:
            return self.engine.restore(place, snapshot, target, [each for each in paths if not each.endswith("2026/a")])

    world.engine = Forgetful(world.engine)
    job = prove(world)
    assert (job.state, "2026/a is not in it, and was staged for it" in job.sentence) == ("failed", True)


def test_a_store_that_lists_no_document_proves_nothing_and_nothing_is_restored_for_it(world: World) -> None:
    class Watched:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine
            self.restores = 0

        def __getattr__(self, name: str) -> object:
            self.restores += name == "restore"
            return getattr(self.engine, name)

    world.engine = watched = Watched(world.engine)
    world.documents[EAST].held.clear()
    job = prove(world)
    assert (job.state, watched.restores, world.fact(EAST).proven_of(TAX, 2)) == ("failed", 0, ())
    assert "nothing of it could be compared: the store lists no document, and 2 files are in it" in job.sentence


def test_an_empty_snapshot_takes_no_ones_place_that_has_documents(world: World) -> None:
    assert prove(world).state == "succeeded"
    (kept,) = world.fact(EAST).expected
    world.documents[EAST].held.clear()
    assert world.jobs.wait(world.task.ask(TAX, "kim", emptied=True).id, 60).state == "succeeded"
    assert prove(world).state == "succeeded"  # nothing is in it, and nothing in the store
    read_whole(world, world.clock.now() + timedelta(days=1))
    assert (len(world.fact(EAST).expected), world.fact(EAST).proven_of(TAX, 2)) == (2, (kept,))


def test_a_sample_is_bounded_in_bytes_and_number_and_another_one_each_time() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    many = [Seen(f"2025/{number}", 1000, 1.0) for number in range(1000)]
    later = [Seen(f"2026/{number}", 1000, 9e9) for number in range(1000)]
    first, second = (sample([*many, *later], seed, at) for seed in ("one", "two"))
    assert len(first) == len(second) == SAMPLE_DOCUMENTS_MAX
    assert ({*first} <= {*many}, first == second) == (True, False)
    big = [Seen(f"{number}", SAMPLE_BYTES_MAX // 3, 1.0) for number in range(10)]
    assert len(sample(big, "one", at)) == 3
    assert len(sample([Seen("huge", 2 * SAMPLE_BYTES_MAX, 1.0)], "one", at)) == 1


def read_whole(world: World, at: datetime) -> None:
    """Every byte of the place was read, and well, by readings that began then."""
    for part in (1, 2):
        world.journal.append(
            RepositoryChecked(
                job=f"check:{part}",
                agency=TREASURY,
                site=EAST,
                repository=world.fact(EAST).made.repository,
                part=part,
                of=2,
                bytes_read=1,
                bytes_all=2,
                faults=0,
                named=(),
                started_at=to_text(at),
                ended_at=to_text(at),
            ),
            by="x",
        )


def test_a_reading_of_every_byte_proves_what_was_kept_before_it_began_and_nothing_later(world: World) -> None:
    kept = world.fact(EAST).expected[-1]
    read_whole(world, kept.at - timedelta(seconds=1))
    assert world.fact(EAST).proven_of(TAX, 2) == ()
    read_whole(world, kept.at + timedelta(seconds=1))
    assert world.fact(EAST).proven_of(TAX, 2) == (kept,)
    assert world.fact(EAST).proven_of(TAX, 3) == ()  # of another division not all was read


def test_the_last_proven_snapshot_stays_whatever_the_rules_say_until_a_newer_one_is_proven(tmp_path: Path) -> None:
    world = World(tmp_path, estate=estate(INTERVAL, SELDOM, Keep(1)))
    world.kept()
    assert prove(world).state == "succeeded"
    (first,) = world.snapshots(EAST)
    for number in range(3):
        world.documents[EAST].put("2026/b", b"%d" % number, 2000.0 + number)
        world.tick(INTERVAL)
        world.tick(LOOK_SECONDS)
    newest = world.fact(EAST).expected[-1].kept.snapshot
    assert world.snapshots(EAST) == sorted({first, newest})  # by its rule one would be enough
    told = [body for body in world.told() if isinstance(body, SnapshotForgotten)]
    assert first not in {each.snapshot for each in told}
    assert prove(world).state == "succeeded"
    world.tick(LOOK_SECONDS + 1)
    assert world.snapshots(EAST) == [newest]
    world.close()


def test_an_officer_cannot_let_the_last_proven_one_go_either(world: World) -> None:
    fact = world.fact(EAST)
    now = world.clock.now()
    kept = [
        replace(
            fact.expected[-1],
            at=now - timedelta(hours=number),
            kept=fact.expected[-1].kept.model_copy(update={"snapshot": f"{number:064x}"}),
        )
        for number in range(9, 0, -1)
    ]
    proven = [kept[2].kept.snapshot, kept[0].kept.snapshot]
    gone = {each.kept.snapshot for each, _ in over(kept, Keep(1), now, 100, proven)}
    assert gone == {each.kept.snapshot for each in kept} - {proven[0], kept[-1].kept.snapshot}
