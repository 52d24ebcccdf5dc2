"""What a store may hand over, and a disk may lack, when a point is brought out of it: nothing damaged, nothing outside
of its folder, and no full disk; each with one clear sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup.agencies.manifest import fault_of
from backup.agencies.room import SPARE_BYTES_MAX, Room, spare
from backup.agencies.unpacking import LIST_BYTES_MAX, LOOK_EVERY_BYTES, Unpacking, listed, name_fault
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal.entries import BackupFinished
from tests.backup.agencies.points_world import BASE, EAST, WEST, PointsWorld, manifest_of

ROOT = Path(__file__).parents[3]
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (
        lambda point: flip(point / "data" / "base" / "1" / "1259"),
        "base/1/1259 is not what was written",
    ),
    "a file cut short": (
        lambda point: os.truncate(point / "data" / "base" / "1" / "1259", 9),
        "is not what was written",
    ),
    "a file that is gone": (lambda point: (point / "data" / "PG_VERSION").unlink(), "data/PG_VERSION is missing"),
    "a file too many": (lambda point: (point / "data" / "extra").write_bytes(b"x"), "data/extra is none of its files"),
    "another manifest": (lambda point: flip(point / "data" / "backup_manifest"), "not the one that was journalled"),
    "no manifest": (lambda point: (point / "data" / "backup_manifest").unlink(), "not the one that was journalled"),
    "another's description": (
        lambda point: (point / "point.json").write_text('{"point": "point-9", "manifest_sha256": ""}'),
        "point.json describes another point",
    ),
    "a description that is none": (lambda point: (point / "point.json").write_text("["), "point.json cannot be read"),
    "a link": (lambda point: (point / "data" / "pg_tblspc").symlink_to("/etc"), "neither a file nor a folder"),
    "a pipe": (lambda point: os.mkfifo(point / "data" / "pipe"), "data/pipe is neither a file nor a folder"),
    "a name with a line's end": (
        lambda point: (point / "data" / "a\nf 1 .").write_bytes(b"x"),
        "leads out of its folder",
    ),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PointsWorld]:
    found = PointsWorld(tmp_path).with_repositories()
    yield found
    found.close()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_point_that_is_not_what_was_written_is_not_kept(world: PointsWorld, damage: str) -> None:
    act, sentence = DAMAGES[damage]
    act(world.root / world.lay().path)
    job = world.keep()
    assert (job.state, sentence in job.sentence) == ("failed", True), job.sentence
    failures = world.states.snapshot().snapshot_failures
    assert {site for _, site in failures} == {EAST, WEST}
    assert all(sentence in failure.last.error for failure in failures.values())
    assert (world.snapshots(WEST), world.at("point-1"), world.staged()) == ([], [], [])


@pytest.mark.parametrize("cut", [0, 10, 300, 1000, 30_000, -1])
def test_a_stream_that_breaks_off_leaves_nothing(world: PointsWorld, cut: int) -> None:
    world.lay()
    world.remote.cut_at = cut
    job = world.keep()
    assert (job.state, "broke off" in job.sentence) == ("failed", True), job.sentence
    assert (world.snapshots(WEST), world.staged()) == ([], [])
    world.remote.cut_at = None
    assert world.keep().state == "succeeded"


class Liar:
    """A store's host that somebody has taken over: it hands over whatever it likes."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def read(self, point: BackupFinished, take: Callable[[bytes], object]) -> None:
        for at in range(0, len(self.text), 7):
            take(self.text[at : at + 7])

    def put_back(self, *_: object) -> bool:
        raise AssertionError

    def discard(self, *_: object) -> None: ...


HOSTILE = {
    b"f 1 ./../../outside\n\nx": "leads out of its folder",
    b"f 1 /tmp/outside\n\nx": "leads out of its folder",
    b"f 1 .//outside\n\nx": "leads out of its folder",
    b"f 1 ./a/./b\n\nx": "leads out of its folder",
    b"d 0 .\n\n": "leads out of its folder",
    b"l 1 ./data\nf 1 ./data/x\n\nx": "neither a file nor a folder",
    b"f 1 ./a\0b\n\nx": "signs that nobody can read",
    b"f 1 ./\x1b[2J\n\nx": "signs that nobody can read",
    b"f 1 ./\xff\n\nx": "no text",
    b"f 1 ./" + b"n" * 256 + b"\n\nx": "too long or too deep",
    b"f 1 ./" + b"d/" * 20 + b"x\n\nx": "too long or too deep",
    b"f -1 ./a\n\nx": "has no size",
    b"f 1e9 ./a\n\nx": "has no size",
    b"f 1 ./a\n\nxx": "more comes than it lists",
    b"nonsense\n\n": "its list cannot be read",
    b"f 1 ./a\nf 1 ./a\n\nxx": "File exists",
    b"f 1 ./a\nf 1 ./a/b\n\nxx": "Not a directory",
    b"f 9999999999999999 ./a\n\nx": "it needs 10,000,000,000 MB",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_sizes_are_refused_and_nothing_is_written_outside(world: PointsWorld, text: bytes) -> None:
    world.lay()
    before = {path for path in world.folder.rglob("*") if "points" not in path.parts}
    world.work_with(liar := Liar(text))
    assert isinstance(liar, Liar)
    job = world.keep()
    assert (job.state, HOSTILE[text] in job.sentence) == ("failed", True), job.sentence
    made = {path for path in world.folder.rglob("*") if "points" not in path.parts} - before
    assert ([path for path in made if not path.name.startswith("west.db")], world.staged()) == ([], [])
    assert not Path("/tmp/outside").exists()


def test_a_list_without_an_end_is_given_up(tmp_path: Path) -> None:
    with Unpacking(tmp_path, room_of(tmp_path), "read") as unpacking:
        for _ in range(LIST_BYTES_MAX >> 20):
            unpacking.take(b"a" * (1 << 20))
        with pytest.raises(Refusal, match="longer than"):
            unpacking.take(b"a")


def test_names_as_postgresql_gives_them_are_taken() -> None:
    text = b"d 4096 ./data\nf 3 ./data/PG_VERSION\nf 0 ./data/base/1/1259_fsm\nf 1 ./wal/00000001.partial"
    assert [(each.name, each.is_folder, each.size_bytes) for each in listed(text)][:2] == [
        ("data", True, 0),
        ("data/PG_VERSION", False, 3),
    ]
    assert name_fault("한글".encode()) == ""


def room_of(folder: Path, free: int = 1 << 40, total: int = 1 << 40) -> Room:
    return Room(folder, lambda _: SimpleNamespace(total=total, free=free))


def test_a_point_for_which_there_is_no_room_is_not_begun(world: PointsWorld) -> None:
    world.lay()
    world.free_bytes = SPARE_BYTES_MAX + 20_000
    job = world.keep()
    assert job.state == "failed"
    assert "it needs 0 MB, and of the 4,295 MB that are free" in job.sentence
    assert (world.snapshots(WEST), world.staged()) == ([], [])
    world.free_bytes = 1 << 40
    assert world.keep().state == "succeeded"


def test_two_jobs_at_once_are_not_promised_the_same_room(tmp_path: Path) -> None:
    room = room_of(tmp_path, free=SPARE_BYTES_MAX + 1000)
    with room.promise("one", 600, "keep one"):
        with pytest.raises(NciaError, match="0 MB are for other jobs"), room.promise("two", 600, "keep two"):
            raise AssertionError
        with room.promise("three", 400, "keep three"):
            pass
    with room.promise("two", 600, "keep two"):
        pass


OTHER_PROCESS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from backup.agencies.room import SPARE_BYTES_MAX, Room
disk = SimpleNamespace(total=1 << 40, free=SPARE_BYTES_MAX + 1000)
with Room(Path(sys.argv[1]), lambda _: disk).promise("one", 600, "keep one"):
    print("promised", flush=True)
    sys.stdin.read()
"""


def test_what_another_process_was_promised_is_free_again_when_it_is_killed(tmp_path: Path) -> None:
    room = room_of(tmp_path, free=SPARE_BYTES_MAX + 1000)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"promised\n"
        with pytest.raises(NciaError, match="0 MB are for other jobs"), room.promise("two", 600, "keep two"):
            raise AssertionError
        with pytest.raises(NciaError, match="another attempt at this one"), room.promise("one", 1, "keep one"):
            raise AssertionError
        other.kill()
    with room.promise("two", 600, "keep two"):
        assert [path.name for path in tmp_path.glob("*.promised")] == ["two.promised"]
    assert list(tmp_path.glob("*.promised")) == []


def test_a_job_ends_when_somebody_else_fills_the_disk_under_it(tmp_path: Path) -> None:
    disk = SimpleNamespace(total=1 << 40, free=1 << 40)
    room = Room(tmp_path, lambda _: disk)
    with Unpacking(tmp_path, room, "read") as unpacking:
        unpacking.take(b"f %d ./a\n\n" % (4 * LOOK_EVERY_BYTES))
        unpacking.take(bytes(LOOK_EVERY_BYTES))
        disk.free = 0
        with pytest.raises(NciaError, match=r"0 MB are free at .* and 4,295 MB stay free"):
            unpacking.take(bytes(LOOK_EVERY_BYTES))


def test_a_small_disk_keeps_a_small_share() -> None:
    assert spare(SimpleNamespace(total=1000, free=0)) == 50


def test_two_attempts_at_one_job_do_not_stage_into_one_folder(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    with room.folder("tax/rows", "keep it") as folder:
        (folder / "half").write_bytes(b"x")
        with pytest.raises(NciaError, match="another attempt"), room_of(tmp_path).folder("tax/rows", "keep it"):
            raise AssertionError
        with room_of(tmp_path).folder("land/rows", "keep it"):
            assert (folder / "half").exists()
    with room.folder("tax/rows", "keep it") as folder:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_while_it_is_staged_is_one_sentence_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    def stage() -> None:
        with room_of(tmp_path).folder("tax/rows", "keep it") as folder:
            (folder / "half").write_bytes(b"x")
            raise OSError(number, os.strerror(number))

    with pytest.raises(NciaError, match=f"keep it: .*{os.strerror(number)}"):
        stage()
    assert [path.name for path in tmp_path.iterdir()] == ["tax~rows.lock"]


def test_a_manifest_without_sha256_vouches_for_nothing() -> None:
    for manifest, sentence in (
        (manifest_of(BASE, **{"Checksum-Algorithm": "CRC32C"}), "has no SHA-256 of data/PG_VERSION"),
        (b"[]", "cannot be read"),
        (b"\xff", "cannot be read"),
    ):
        found = {f"data/{name}": (len(content), "") for name, content in BASE.items()}
        assert sentence in fault_of(manifest, found, hashlib.sha256(manifest).hexdigest())


def test_a_store_that_lost_the_point_says_so(world: PointsWorld) -> None:
    shutil.rmtree(world.root / world.lay().path)
    job = world.keep()
    assert (job.state, "read tax/rows/point-1 out of the store" in job.sentence) == ("failed", True)
