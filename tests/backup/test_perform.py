"""Backups and proofs on a real cluster, with citizens writing."""

import itertools
import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from backup.stores.remote import RemoteStore, StoreSite
from backup.work import Protecting
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal import Entry
from ncia.core.journal.entries import BackupFinished, ProofFinished
from ncia.core.work.jobs import Job
from tests.backup.cluster import Cluster
from tests.backup.world import DATASET, NOW, STORE_HOST, WEST, Hands, World
from tests.demand import demand
from tests.fakes.jobs import MemorySteps, order
from tests.fakes.remote import LocalRemote

_count = itertools.count()


def taken(world: World) -> BackupFinished:
    return world.performer().back_up(world.charge, NOW, "backup-1")


class SmallDisk(LocalRemote):
    """A host whose store lies on a disk of its own size, mounted in a namespace that ``keeper`` holds."""

    def __init__(self, keeper: int) -> None:
        super().__init__()
        self.as_user = ("nsenter", f"--target={keeper}", "--user", "--mount", "--preserve-credentials")

    def shell(self, command: str) -> str:
        return self.run(STORE_HOST, ["sh", "-euc", command], timeout_seconds=60).demand("test.shell", command).text


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[SmallDisk]:
    demand("unshare", "a disk of its own size")
    demand("nsenter")
    root.mkdir(parents=True, exist_ok=True)
    mounting = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec sleep infinity'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", mounting, "sh", size, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"mounted\n"
            yield SmallDisk(keeper.pid)
        finally:
            keeper.kill()


Kept = tuple[World, BackupFinished]


def copied(kept: Kept) -> Kept:
    """The kept point under another name, to be damaged."""
    world, point = kept
    path = f"{point.path}-{next(_count)}"
    shutil.copytree(world.root / point.path, world.root / path, symlinks=True)
    return world, point.model_copy(update={"path": path})


def proof_of(world: World, performer: Hands, point: BackupFinished) -> ProofFinished:
    return performer.prove(point, "acts", f"proof-{next(_count)}")


@contextmanager
def citizens(cluster: Cluster) -> Iterator[list[int]]:
    """A load: inserts and updates in one transaction each, until the block ends; yields the numbers committed."""
    done: list[int] = []
    over = threading.Event()

    def act() -> None:
        with cluster.connect() as connection:
            number = connection.execute("select max(id) from civil.acts").fetchone()[0]
            while not over.is_set():
                number += 1
                with connection.transaction():
                    connection.execute("insert into civil.acts (id, citizen) values (%s, 'load')", [number])
                    connection.execute("insert into civil.ledger (act, change_won) values (%s, 1)", [number])
                    connection.execute("update civil.acts set citizen = citizen || '.' where id = %s", [number % 4000])
                connection.execute("update ncia.canary set written_at = now()")
                done.append(number)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def test_a_copy_taken_and_proven_under_load_matches_its_source(world: World, cluster: Cluster) -> None:
    with citizens(cluster) as done:
        point = taken(world)
        during = len(done)
        proof = proof_of(world, world.performer(), point)
        assert len(done) > during > 0
    assert proof.differences == ()
    assert proof.matched
    assert proof.copy_ == proof.source == point.source
    assert [each.table for each in proof.copy_] == [
        'civil."Odd ""name\'s"',
        "civil.acts",
        "civil.by_year_2010",
        "civil.ledger",
        "civil.nothing",
    ]
    assert {each.table: each.rows for each in proof.copy_}["civil.acts"] > 4000
    assert world.kinds() == ["backup.started", "backup.finished", "proof.started", "proof.finished"]
    assert world.leftovers() == []


def test_a_point_lies_in_the_store_with_data_wal_and_its_description(kept: Kept) -> None:
    world, point = kept
    folder = world.root / DATASET / point.point
    assert point.path == f"{DATASET}/{point.point}"
    assert sorted(each.name for each in folder.iterdir()) == ["data", "point.json", "wal"]
    told = json.loads((folder / "point.json").read_text())
    assert (told["point"], told["compare_lsn"]) == (point.point, point.compare_lsn)
    assert point.files > 900
    assert point.size_bytes > 20_000_000
    files = [path for path in world.root.rglob("*") if path.is_file() and path.stat().st_size < 100_000]
    assert not [path for path in files if b"not-a-secret" in path.read_bytes()]


def test_no_password_is_in_a_command_line_or_in_the_journal(kept: Kept) -> None:
    world, _ = kept
    assert not [argv for argv in world.remote.ran if any("not-a-secret" in part for part in argv)]
    assert not [entry for entry in world.journal.entries(WEST) if "not-a-secret" in entry.text]


def test_a_point_can_be_proven_again_when_its_source_is_gone(kept: Kept, cluster: Cluster) -> None:
    world, point = kept
    with cluster.connect() as connection:
        connection.execute("update civil.acts set citizen = 'changed since' where id = 7")
    with cluster.connect("postgres") as connection:
        connection.execute("alter role ncia_backup nologin")
    try:
        assert proof_of(world, world.performer(), point).matched
    finally:
        with cluster.connect("postgres") as connection:
            connection.execute("alter role ncia_backup login")


ALTERATIONS = {
    "one row altered": ("update acts set share = share * 1.0000000000000002 where id = 3", "civil.acts", "content"),
    "a row twice": ('insert into "Odd ""name\'s" values (\'한글\')', 'civil."Odd', "3 rows in the source, 4"),
    "a row twice, another gone": (
        "update acts set (citizen, sum_won, share, at, document, length, t) = (select citizen, sum_won, share, at, "
        "document, length, t from acts where id = 8) where id = 9",
        "civil.acts",
        "content",
    ),
    "values swapped between two rows": (
        "update acts a set sum_won = b.sum_won from acts b where (a.id, b.id) in ((5, 6), (6, 5))",
        "civil.acts",
        "content",
    ),
    "one row gone": ("delete from ledger where act = 77", "civil.ledger", "rows in the source"),
    "null became empty": ("update acts set t = '' where id = 14", "civil.acts", "content"),
    "a table dropped": ("drop table nothing", "civil.nothing", "missing in the copy"),
    "a table too many": ("create table extra (id int)", "civil.extra", "not in the source"),
    "a table emptied": ("truncate by_year", "civil.by_year_2010", "0 in the copy"),
}


def test_an_altered_copy_fails_the_proof_which_names_the_table(kept: Kept) -> None:
    world, point = kept
    for statement, table, word in ALTERATIONS.values():
        proof = proof_of(world, world.tampering(statement), point)
        assert not proof.matched, statement
        assert len(proof.differences) == 1
        assert proof.differences[0].startswith(table)
        assert word in proof.differences[0]
    assert proof_of(world, world.performer(), point).matched
    assert world.leftovers() == []


def biggest(folder: Path) -> Path:
    return max((path for path in folder.rglob("base/*/*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_flipped_byte_in_the_copy_fails_the_proof(kept: Kept) -> None:
    world, point = copied(kept)
    victim = biggest(world.root / point.path)
    content = bytearray(victim.read_bytes())
    content[5000] ^= 1
    victim.write_bytes(content)
    proof = proof_of(world, world.performer(), point)
    assert not proof.matched
    assert "checksum mismatch" in proof.differences[0]
    assert victim.name in proof.differences[0]


def test_a_truncated_copy_fails_the_proof(kept: Kept) -> None:
    world, point = copied(kept)
    victim = biggest(world.root / point.path)
    victim.write_bytes(victim.read_bytes()[:-8192])
    proof = proof_of(world, world.performer(), point)
    assert not proof.matched
    assert victim.name in proof.differences[0]


def test_a_manifest_that_was_rewritten_to_fit_fails_the_proof(kept: Kept) -> None:
    world, point = copied(kept)
    manifest = world.root / point.path / "data" / "backup_manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b"PostgreSQL", b"Postgresql") + b" ")
    proof = proof_of(world, world.performer(), point)
    assert not proof.matched
    assert "not the one that was journalled" in proof.differences[0]


def test_a_copy_whose_wal_ends_early_cannot_be_proven(kept: Kept) -> None:
    world, point = copied(kept)
    for segment in (world.root / point.path / "wal").iterdir():
        segment.unlink()
    with pytest.raises(NciaError):
        proof_of(world, world.performer(), point)
    assert world.kinds()[-1] == "proof.failed"
    assert world.leftovers() == []


def test_a_source_that_is_down_fails_the_backup_and_leaves_nothing(world: World, cluster: Cluster) -> None:
    with cluster.connect("postgres") as connection:
        connection.execute("alter role ncia_backup nologin")
    try:
        with pytest.raises(NciaError, match="not permitted to log in"):
            taken(world)
    finally:
        with cluster.connect("postgres") as connection:
            connection.execute("alter role ncia_backup login")
    assert world.kinds() == ["backup.started", "backup.failed"]
    assert world.leftovers() == []


def test_a_store_that_falls_silent_fails_the_backup_and_the_slot_is_dropped(world: World) -> None:
    world.remote.silent.add("west-store")
    with pytest.raises(NciaError, match="reach host west-store"):
        taken(world)
    assert world.kinds() == ["backup.started", "backup.failed"]
    assert world.cluster.slots() == []


def test_a_table_that_stays_locked_costs_the_proof_and_not_the_copy(world: World, cluster: Cluster) -> None:
    with cluster.connect() as blocker:
        blocker.execute("begin")
        blocker.execute("update civil.ledger set change_won = 1 where id = 1")
        point = taken(world)
        blocker.execute("rollback")
    assert point.compare_lsn == ""
    with pytest.raises(NciaError, match="could not be summed up"):
        proof_of(world, world.performer(), point)
    assert world.kinds() == ["backup.started", "backup.finished", "proof.started", "proof.failed"]
    assert world.leftovers() == []


def test_a_deleted_point_is_journalled_first_and_then_gone(world: World) -> None:
    point = taken(world)
    world.performer().delete(point, "newer points are proven")
    assert world.kinds()[-1] == "point.deleted"
    assert not (world.root / point.path).exists()
    assert world.states.snapshot().points[DATASET] == ()


def test_a_deletion_that_was_refused_for_want_of_a_second_place_is_carried_out_with_the_next_job(world: World) -> None:
    silent = [True]

    def permit(entry: Entry) -> None:
        if silent[0]:
            raise Refusal("journal.one-place", "delete a recovery point", "the peer and the witness are silent")

    point, hands = taken(world), world.performer(permit=permit)
    with pytest.raises(Refusal):
        hands.delete(point, "newer points are proven")
    assert (world.root / point.path / "data").is_dir()
    hands.performer.retire(hands.steps("backup-2", None, 1), world.charge)  # the next job, and still nobody hears it
    assert (world.root / point.path / "data").is_dir()
    silent[0] = False
    hands.performer.retire(hands.steps("backup-3", None, 1), world.charge)
    assert not (world.root / point.path).exists()
    assert world.kinds().count("point.deleted") == 1
    assert world.store.present([point.path]) == ()


def test_a_full_disk_at_the_store_fails_the_backup_in_one_sentence_and_costs_no_earlier_point(world: World) -> None:
    with small_disk(world.root, "300m") as disk:
        world.store = RemoteStore(
            disk, StoreSite(STORE_HOST, PurePosixPath(world.root), PurePosixPath(world.cluster.tools))
        )
        point = taken(world)
        disk.shell(f"head -c 1G /dev/zero > {world.root}/filler || true")
        with pytest.raises(NciaError) as failed:
            world.performer().back_up(world.charge, NOW, "backup-2")
        assert "No space left on device" in str(failed.value)
        assert "\n" not in str(failed.value)
        assert world.kinds()[-2:] == ["backup.started", "backup.failed"]
        assert disk.shell(f"ls -A {world.root}/{DATASET}") == f"{point.point}\n"  # nothing half
        world.store.reread(point.path, point.manifest_sha256)
        disk.shell(f"rm {world.root}/filler")
        assert world.performer().back_up(world.charge, NOW, "backup-3").files > 0


def test_what_a_killed_controller_left_is_swept_with_the_server_that_still_runs(world: World) -> None:
    point = taken(world)
    source = world.sources.of(world.charge.dataset, world.charge.source_site)
    source.hold("ncia_job_killed")
    world.store.take("backup-killed", source.origin, "ncia_job_killed")
    restoring = world.store.restore("proof-cafe01", point.path, "acts", point.compare_lsn, point.manifest_sha256)
    restoring.__enter__()  # and never left, as after kill -9
    scratch = world.root / ".scratch" / "cafe01"
    postmaster = int((scratch / "data" / "postmaster.pid").read_text().splitlines()[0])
    alive = os.pidfd_open(postmaster)
    assert world.store.sweep(lambda: ["killed", "cafe01"]) == ()
    assert world.store.sweep(list) == (str(scratch), str(world.root / DATASET / ".partial-backup-killed"))
    assert select.select([alive], [], [], 30)[0]  # readable once it has ended
    os.close(alive)
    assert world.cluster.slots() == ["ncia_job_killed"]
    world.performer().back_up(world.charge, NOW, "backup-2")
    assert world.leftovers() == []
    assert (world.root / point.path / "data").is_dir()


class Killed(BaseException):
    """What a kill -9 looks like from within."""


class DyingSteps(MemorySteps):
    """Steps of an executor that is killed when it has done ``at`` and not yet recorded it."""

    at: str = ""

    def _do(self, name: str, act: Callable[[], Any], *, heed_cancel: bool) -> Any:
        if name == self.at and name not in self.recorded:
            act()
            raise Killed
        return super()._do(name, act, heed_cancel=heed_cancel)


STEPS = [
    *(f"backup: {step}" for step in ("begin", "take", "compare", "release", "publish", "finish")),
    *(f"proof: {step}" for step in ("begin", "compare", "finish")),
    "retire: choose",
    "retire: delete",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_job_that_is_killed_in_any_step_is_ended_by_the_next_attempt_as_if_nothing_had_been(
    world: World, step: str
) -> None:
    works = Protecting(world.estate, world.performer().performer)
    charge = world.charge
    details = {"source_site": charge.source_site, "store_site": charge.store_site, "interval_seconds": 60.0}
    asked = order("backup:tax/rows:x", due_at=to_text(NOW), details=details)
    dying = DyingSteps(Job(asked, "running", fence=1))
    dying.at = step
    with pytest.raises(Killed):
        works.protect(dying.job, dying)
    after = MemorySteps(Job(asked, "running", fence=2), dying.recorded)
    assert "5 tables" in works.protect(after.job, after)
    assert world.kinds() == ["backup.started", "backup.finished", "proof.started", "proof.finished"]
    assert world.leftovers() == []
    (point,) = world.states.snapshot().points[DATASET]
    assert point.proven
    assert [each.name for each in (world.root / DATASET).iterdir()] == [point.id]
