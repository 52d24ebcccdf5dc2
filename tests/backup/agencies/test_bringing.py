"""Points and programs back out of an agency's repository, into a store that has lost them."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from backup.agencies.ports import Place
from backup.engines.restic import ResticEngine
from backup.ports import CopyDamaged
from backup.repository.ports import Kind
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal.entries import BackupFinished, PointBrought, PointDeleted, ProgramBrought
from ncia.core.journal.entries_repositories import RepositoryMade
from tests.backup.agencies.points_world import (
    BASE,
    EAST,
    PROGRAM,
    ROWS,
    WEST,
    PointsWorld,
    files_below,
    tar_of,
)
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.fakes.jobs import MemorySteps
from tests.fakes.repository import FakeStore
from tests.restic import demand_restic


class Taking:
    """A store that takes points back and looks into them with nothing but a tar."""

    def __init__(self, world: PointsWorld) -> None:
        self.world = world
        self.wrong = ""
        self.discarded: list[str] = []

    def read(self, point: BackupFinished, take: Callable[[bytes], object]) -> None:
        self.world.store.read(point, take)

    def put_back(self, job: str, point: BackupFinished, archive: Iterable[bytes]) -> bool:
        if self.wrong:
            raise CopyDamaged("proof.copy-damaged", "put it back", self.wrong)
        with tarfile.open(fileobj=BytesIO(b"".join(archive))) as opened:
            opened.extractall(self.world.root / point.path, filter="data")
        return False

    def discard(self, job: str, dataset: str) -> None:
        self.discarded.append(job)

    def is_whole(self, point: BackupFinished) -> bool:
        return (self.world.root / point.path / "point.json").exists()

    def present(self, paths: Sequence[str]) -> tuple[str, ...]:
        return self.world.store.present(paths)

    def holds_points(self) -> bool:
        return self.world.store.holds_points()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PointsWorld]:
    found = PointsWorld(tmp_path).with_repositories()
    found.taking = Taking(found)  # type: ignore[attr-defined]
    found.work_with(found.taking)  # type: ignore[attr-defined]
    yield found
    found.close()


def burn(world: PointsWorld) -> dict[str, bytes]:
    """The store with all that is in it; answers what was there."""
    before = files_below(world.root)
    shutil.rmtree(world.root)
    return before


def brought(world: PointsWorld) -> PointBrought:
    (entry,) = world.journal.of_kind(PointBrought.KIND)
    assert isinstance(entry.body, PointBrought)
    return entry.body


def test_a_point_of_a_burnt_store_is_back_under_its_own_name_and_is_proven_again(world: PointsWorld) -> None:
    point = world.lay()
    world.keep()
    before = burn(world)
    job = world.bring()
    assert job.state == "succeeded", job.sentence
    assert job.sentence.startswith("point-1 is back from west's place in west's store; restored in 0.5 s")
    assert files_below(world.root) == before
    assert (world.root / point.path / "data" / "pg_notify").is_dir()
    assert [(each.point, each.store_site, each.path) for each in world.proven] == [("point-1", WEST, point.path)]
    told = brought(world)
    assert (told.from_site, told.store_site, told.manifest_sha256) == (WEST, WEST, point.manifest_sha256)
    assert (told.snapshot, world.staged()) == (world.snapshots(WEST)[0], [])


def test_a_point_that_the_store_had_let_go_of_is_one_again(world: PointsWorld) -> None:
    point = world.lay("point-1")
    world.keep()
    taken = world.states.snapshot().point(ROWS, "point-1")
    gone = PointDeleted(point="point-1", dataset=ROWS, store_site=WEST, path=point.path, reason="newer ones")
    world.journal.append(gone, by="test")
    world.lay("point-2")
    burn(world)
    assert world.bring(subject="point-1").state == "succeeded"
    first, second = world.states.snapshot().points[ROWS]
    assert ((first.id, first.backup, first.at), second.id) == (("point-1", point, taken.at), "point-2")
    ledger = world.tools.ledger
    assert ledger.retired(ROWS, WEST) == ()  # what somebody has brought is not cleared away under their hands
    world.clock.moment += timedelta(days=8)
    world.lay("point-3")
    world.lay("point-4")
    assert "point-1" in [each.point for each in ledger.retired(ROWS, WEST)]


def test_the_point_of_the_other_sites_store_comes_into_this_one_as_a_second_copy(world: PointsWorld) -> None:
    point = world.lay("point-1")
    world.keep()
    other = point.model_copy(update={"store_site": EAST})
    world.journal.append_all(
        [PointDeleted(point="point-1", dataset=ROWS, store_site=WEST, path=point.path, reason="x"), other], by="test"
    )
    burn(world)
    assert world.bring().state == "succeeded"
    state = world.states.snapshot()
    assert (state.point(ROWS, "point-1").backup.store_site, state.holds(ROWS, "point-1", WEST)) == (EAST, True)


def test_it_comes_from_the_other_sites_place_where_this_one_is_gone_or_damaged(world: PointsWorld) -> None:
    world.lay()
    world.keep()
    burn(world)
    for key in [key for key in world.stores[WEST].held if key[0] is Kind.DATA]:
        world.stores[WEST].held[key] = bytes(len(world.stores[WEST].held[key]))
    job = world.bring()
    assert (job.state, brought(world).from_site) == ("succeeded", EAST), job.sentence
    world.stores[WEST] = FakeStore()
    shutil.rmtree(world.root)
    assert world.bring().state == "succeeded"


def test_where_no_place_has_it_whole_both_say_why_and_the_store_stays_as_it_is(world: PointsWorld) -> None:
    world.lay()
    world.keep()
    burn(world)
    (name,) = world.snapshots(WEST)
    del world.stores[WEST].held[Kind.SNAPSHOTS, name]
    world.stores[EAST] = FakeStore()
    job = world.bring()
    assert job.state == "failed"
    assert f"at west: snapshot {name[:8]} is not there; at east: " in job.sentence
    assert (world.root.exists(), world.staged(), world.proven) == (False, [], [])
    assert world.journal.of_kind(PointBrought.KIND) == ()


def test_another_tree_than_was_kept_is_not_brought(world: PointsWorld) -> None:
    """A snapshot's id is the hash of its file: this is what a journal of another day, or a liar's, would say."""
    world.lay()
    world.keep()
    state = world.states.snapshot()
    (expected,) = state.repositories["agency", WEST].expected
    kept = expected.kept.model_copy(update={"tree": "00" * 32, "snapshot": expected.kept.snapshot})
    burn(world)
    job = world.points.bring(ROWS, "", "kim", burnt=True)
    order = {**job.order.details, "snapshots": [(WEST, {"id": kept.snapshot, "tree": kept.tree, "size_bytes": 1})]}
    world.jobs.wait(job.id, 60)
    work = world.works["bring-point"]
    other = replace(job, order=replace(job.order, details=order), state="running", fence=1)
    burn(world)
    with pytest.raises(NciaError, match="has another tree than was kept"):
        work(other, MemorySteps(other, {}))


def test_what_the_store_refuses_is_not_said_to_be_back(world: PointsWorld) -> None:
    world.lay()
    world.keep()
    burn(world)
    world.taking.wrong = "base/1/1259 has another checksum"  # type: ignore[attr-defined]
    job = world.bring()
    assert (job.state, "base/1/1259 has another checksum" in job.sentence) == ("failed", True)
    assert world.journal.of_kind(PointBrought.KIND) == ()
    assert len(world.taking.discarded) == 1  # type: ignore[attr-defined]


def test_what_is_there_and_whole_stays(world: PointsWorld) -> None:
    world.lay()
    captured = world.capture(program())
    world.keep()
    world.keep(PROGRAM)
    for dataset, name in ((ROWS, "point-1"), (PROGRAM, captured.path)):
        job = world.bring(dataset)
        assert (job.state, job.sentence[: len(name)], "nothing was to be brought" in job.sentence) == (
            "succeeded", name, True,
        )  # fmt: skip
    assert (world.proven, world.journal.of_kind(PointBrought.KIND)) == ([], ())


def test_all_that_was_kept_out_of_a_burnt_store_comes_back_at_once(world: PointsWorld) -> None:
    world.lay()
    world.capture(program())
    world.keep()
    world.keep(PROGRAM)
    before = burn(world)
    jobs = world.points.bring_all("kim", burnt=True)
    assert [world.jobs.wait(job.id, 60).state for job in jobs] == ["succeeded", "succeeded"]
    assert files_below(world.root) == before
    world.points.parts = replace(world.points.parts, site=EAST)  # whose store never had them
    assert world.points.bring_all("kim") == ()


def test_one_that_cannot_be_ordered_does_not_keep_the_others_from_coming_back(world: PointsWorld) -> None:
    world.lay("point-1")
    world.capture(program())
    world.keep()
    world.keep(PROGRAM)
    world.lay("point-2")
    world.keep()
    world.jobs.close()
    world.jobs.freeze()
    world.points.bring(ROWS, "point-1", "kim")
    with pytest.raises(NciaError, match=r"1 are ordered; not tax/rows: job .* brings another one back"):
        world.points.bring_all("kim")
    assert [job.order.dataset for job in world.jobs.open()] == [ROWS, PROGRAM]


def test_an_older_point_is_brought_when_it_is_named(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    world.lay("point-2", {**BASE, "PG_VERSION": b"19\n"})
    world.keep()
    burn(world)
    assert world.bring(subject="point-1").state == "succeeded"
    assert brought(world).point == "point-1"
    with pytest.raises(Refusal, match="no repository has a whole snapshot"):
        world.points.bring(ROWS, "point-9", "kim")


def test_a_dataset_of_which_nothing_is_kept_is_refused(world: PointsWorld) -> None:
    world.lay()
    with pytest.raises(Refusal, match="no repository has a whole snapshot"):
        world.points.bring(ROWS, "", "kim")


# --- programs ----------------------------------------------------------------------------------------------------


def program() -> bytes:
    link = tarfile.TarInfo("./etc/now")
    link.type, link.linkname = tarfile.SYMTYPE, "app.yaml"
    top = tarfile.TarInfo(".")
    top.type = tarfile.DIRTYPE
    return tar_of(top, ("./etc/app.yaml", b"listen: 1\n"), ("./etc/한글.yaml", b"x"), link)


def test_a_program_is_kept_as_its_archive_and_as_the_files_in_it(world: PointsWorld) -> None:
    captured = world.capture(program())
    job = world.keep(PROGRAM)
    assert (job.state, world.at(captured.path, PROGRAM)) == ("succeeded", [EAST, WEST]), job.sentence
    (snapshot,) = world.snapshots(WEST)
    folder = world.restored(WEST, snapshot)
    assert (folder / "program.tar").read_bytes() == program()
    files = folder / "files" / "etc"
    assert (files / "app.yaml").read_bytes() == b"listen: 1\n"
    assert ((files / "app.yaml").stat().st_mode & 0o777, (files / "now").readlink()) == (0o640, Path("app.yaml"))
    assert {path.name for path in files.iterdir()} == {"app.yaml", "한글.yaml", "now"}


def test_an_archive_of_a_burnt_store_is_back_under_its_own_name(world: PointsWorld) -> None:
    captured = world.capture(program())
    world.keep(PROGRAM)
    before = burn(world)
    job = world.bring(PROGRAM)
    assert (job.state, files_below(world.root)) == ("succeeded", before), job.sentence
    (entry,) = world.journal.of_kind(ProgramBrought.KIND)
    assert (entry.body.path, entry.body.sha256, entry.body.from_site) == (captured.path, captured.sha256, WEST)


def test_a_program_is_not_put_where_a_store_may_not_be_mounted(world: PointsWorld) -> None:
    captured = world.capture(program())
    world.keep(PROGRAM)
    burn(world)
    job = world.bring(PROGRAM, burnt=False)
    assert (job.state, world.root.exists()) == ("failed", False)
    assert "neither a point nor an archive is in it: is it mounted? Where it burnt: ncia backup bring --burnt" in (
        job.sentence
    )
    assert world.journal.of_kind(ProgramBrought.KIND) == ()
    world.lay()  # it is there, and lost this one alone
    assert world.bring(PROGRAM, burnt=False).state == "succeeded"
    assert (world.root / captured.path).read_bytes() == program()


def test_what_lies_under_a_programs_name_and_is_another_is_kept_aside_and_not_overwritten(world: PointsWorld) -> None:
    captured = world.capture(program())
    world.keep(PROGRAM)
    there = world.root / captured.path
    there.write_bytes(b"somebody's own")
    job = world.bring(PROGRAM, burnt=False)
    assert (job.state, "what lay there under its name was damaged and is kept aside" in job.sentence) == (
        "succeeded",
        True,
    )
    aside = there.with_name(f".damaged-{there.name}")
    assert (there.read_bytes(), aside.read_bytes()) == (program(), b"somebody's own")
    (entry,) = world.journal.of_kind(ProgramBrought.KIND)
    job = world.jobs.get(entry.body.job)
    again = replace(job, state="running", fence=2)
    looked = {"look at it": {"done": False}, "write down": {"done": None}}  # it was killed once the archive was there
    told = world.works["bring-program"](again, MemorySteps(again, looked))
    assert "aside" not in told
    assert (there.read_bytes(), aside.read_bytes()) == (program(), b"somebody's own")


def test_a_program_is_kept_anew_only_when_it_changed(world: PointsWorld) -> None:
    world.capture(program())
    world.keep(PROGRAM)
    with pytest.raises(Refusal, match="kept at each place already"):
        world.keep(PROGRAM)
    world.capture(tar_of(("./etc/app.yaml", b"listen: 2\n")), "4567.tar")
    assert world.keep(PROGRAM).state == "succeeded"


def hostile(name: str, type_: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, "/etc/passwd"
    return tar_of(member)


@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        (hostile("../outside"), "leads out of its folder"),
        (hostile("/tmp/outside"), "leads out of its folder"),
        (hostile("./a/../../outside"), "leads out of its folder"),
        (hostile("./hard", tarfile.LNKTYPE), "neither a file nor a folder nor a link"),
        (hostile("./device", tarfile.CHRTYPE), "neither a file nor a folder nor a link"),
        (b"no archive at all", "it is no archive"),
    ],
)
def test_a_hostile_archive_is_not_kept(world: PointsWorld, archive: bytes, sentence: str) -> None:
    world.capture(archive)
    job = world.keep(PROGRAM)
    assert (job.state, sentence in job.sentence) == ("failed", True), job.sentence
    assert (world.snapshots(WEST), world.staged(), list(world.folder.rglob("outside"))) == ([], [], [])


def test_nothing_is_written_through_a_link_of_an_archive(world: PointsWorld) -> None:
    link = tarfile.TarInfo("./etc")
    link.type, link.linkname = tarfile.SYMTYPE, str(world.folder)
    world.capture(tar_of(link, ("./etc/outside", b"x")))
    assert world.keep(PROGRAM).state == "failed"
    assert list(world.folder.rglob("outside")) == []


def test_an_archive_that_is_not_what_was_journalled_is_not_kept(world: PointsWorld) -> None:
    captured = world.capture(program())
    (world.root / captured.path).write_bytes(tar_of(("./etc/app.yaml", b"listen: 9\n")))
    job = world.keep(PROGRAM)
    assert (job.state, "not what was journalled" in job.sentence) == ("failed", True)


def test_restic_restores_a_point_and_a_program_without_us(tmp_path: Path) -> None:
    restic = demand_restic()
    stores = {site: FolderStore(tmp_path / site) for site in (EAST, WEST)}
    world = PointsWorld(tmp_path, stores=stores).with_repositories()  # type: ignore[arg-type]
    point = world.lay()
    world.capture(program())
    assert (world.keep().state, world.keep(PROGRAM).state) == ("succeeded", "succeeded")
    restic.run(tmp_path / EAST, "check", "--read-data", password=PASSWORD)
    for tag, name in ((ROWS, "tax~rows"), (PROGRAM, "tax~program")):
        target = tmp_path / f"by-restic-{name}"
        restic.run(tmp_path / EAST, "restore", "latest", "--tag", tag, "--target", str(target), password=PASSWORD)
        (folder,) = target.rglob(name)
        if tag == ROWS:
            assert files_below(folder) == files_below(world.root / point.path)
        else:
            assert (folder / "files" / "etc" / "app.yaml").read_bytes() == b"listen: 1\n"
    world.close()


def test_an_agency_that_keeps_restic_has_its_points_kept_and_brought_by_restic(tmp_path: Path) -> None:
    """Two repositories that are no twins: each place has a snapshot of its own."""
    world = PointsWorld(tmp_path)
    world.engine = ResticEngine(str(demand_restic().program), {"PATH": os.environ["PATH"]})
    world.place = lambda agency, site: Place(str(tmp_path / site), tmp_path / "password")  # type: ignore[method-assign]
    world.tools = replace(world.tools, place_of=world.place)
    for site in (EAST, WEST):
        id = create(FolderStore(tmp_path / site), PASSWORD, HOLDER, NOW, CHEAP).config.id  # cheap to open
        made = {"job": "made", "agency": "agency", "site": site, "repository": id, "engine": "restic", "place": site}
        world.journal.append(RepositoryMade(**made, escrowed_for=()), by="test")
    world.work_with(Taking(world))
    world.lay()
    assert world.keep().state == "succeeded"
    assert world.at("point-1") == [EAST, WEST]
    names = world.states.snapshot().snapshots_of(ROWS, "point-1")
    assert names[EAST] != names[WEST]
    before = burn(world)
    job = world.bring()
    assert (job.state, files_below(world.root)) == ("succeeded", before), job.sentence
    world.close()
