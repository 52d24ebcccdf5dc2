"""A restore onto what exists: refused unless it is said what may be replaced; then no more than differs is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.restore.comparing import Comparing
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.restoring import Restored, Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import differences, noise, odd_tree
from tests.backup.repository.restore.by_hand import file_of, made_by_hand
from tests.backup.repository.sample import HOLDER, new, reopened

ALL = Way(whole=True)
A, C, N, X = Overwrite.ALWAYS, Overwrite.IF_CHANGED, Overwrite.IF_NEWER, Overwrite.NEVER


class Kept(NamedTuple):
    source: Path
    repository: Repository
    snapshot: Snapshot


class Scene:
    """A snapshot of everything odd, and a target into which it was restored."""

    def __init__(self, kept: Kept, folder: Path) -> None:
        self.folder, self.target = folder, folder / "target"
        self.source, self.repository, self.snapshot = kept
        self.inside = self.target / self.source.relative_to("/")

    def restore(self, overwrite: Overwrite | None, repository: Repository | None = None) -> Restored:
        with Restoring(reopened(repository or self.repository), workers=2, overwrite=overwrite) as restoring:
            return restoring.run(self.snapshot, self.target, ALL)

    def changes(self, overwrite: Overwrite = A) -> list[str]:
        comparing = Comparing(reopened(self.repository), overwrite)
        found = [f"{sign} {os.fsdecode(path)}" for sign, path in comparing.run(self.snapshot.tree, self.target, ALL)]
        assert comparing.faults == []
        top = str(self.source)
        return sorted(line.replace(top + "/", "") for line in found if top + "/" in line)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    source, repository = odd_tree(tmp_path_factory.mktemp("kept") / "source"), new()
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    return Kept(source, repository, saved.snapshot)


@pytest.fixture
def scene(kept: Kept, tmp_path: Path) -> Scene:
    found = Scene(kept, tmp_path)
    assert found.restore(None).losses.named == []
    return found


def test_a_target_that_holds_anything_is_refused_and_the_words_are_named(scene: Scene) -> None:
    with pytest.raises(Refusal, match="--overwrite"):
        scene.restore(None)


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_what_is_there_already_is_not_written_again(scene: Scene, overwrite: Overwrite) -> None:
    told = scene.restore(overwrite)
    assert (told.bytes, told.losses.named) == (0, [])
    assert differences(scene.source, scene.inside) == []
    assert scene.changes(overwrite) == []


def spoil(inside: Path) -> None:
    """One of each kind of difference."""
    content = bytearray((inside / "big").read_bytes())
    content[10_000_000] ^= 1
    (inside / "big").write_bytes(content)
    (inside / "text").write_bytes(b"other\n")
    (inside / "zeros").write_bytes(b"1" * 3_000_000)
    (inside / "empty").write_bytes(b"not empty")
    (inside / "below" / "000").unlink()
    (inside / "link").unlink()
    (inside / "link").symlink_to("elsewhere")
    (inside / "pipe").unlink()
    (inside / "pipe").write_bytes(b"no pipe")
    (inside / "below" / "deeper" / "deepest").rmdir()
    (inside / "below" / "deeper" / "deepest").symlink_to("/")
    os.setxattr(inside / "plain", "user.strange", b"1")
    os.removexattr(inside / "plain", "user.note")
    (inside / "below" / "001").chmod(0o600)
    (inside / "below" / "another name").unlink()
    (inside / "below" / "another name").write_bytes(b"of two\n")


def test_all_that_differs_comes_back_and_a_dry_run_names_just_that(scene: Scene) -> None:
    spoil(scene.inside)
    assert [each for each in scene.changes() if each != "U below" and each != "U below/deeper"] == [
        "+ below/000",
        "M big",
        "M empty",
        "M link",
        "M text",
        "M zeros",
        "T below/deeper/deepest",
        "T pipe",
        "U below/001",
        "U below/another name",
        "U plain",
    ]
    told = scene.restore(A)
    assert told.losses.named == []
    assert differences(scene.source, scene.inside) == []
    assert scene.changes() == []


def test_of_a_big_file_only_the_part_that_differs_is_read_and_written(scene: Scene) -> None:
    content = bytearray((scene.inside / "big").read_bytes())
    content[10_000_000] ^= 1
    (scene.inside / "big").write_bytes(content)
    told = scene.restore(A)
    assert 0 < told.bytes < len(content) // 2
    assert told.bytes_found > len(content) // 2
    assert differences(scene.source, scene.inside) == []


def test_never_replaces_nothing_and_brings_what_is_missing(scene: Scene) -> None:
    (scene.inside / "text").write_bytes(b"mine\n")
    (scene.inside / "plain").unlink()
    (scene.inside / "below").chmod(0o700)
    told = scene.restore(X)
    assert told.kept > 1
    assert (scene.inside / "text").read_bytes() == b"mine\n"
    assert (scene.inside / "plain").read_bytes() == b"hello\n"
    assert (scene.inside / "below").stat().st_mode & 0o7777 == 0o700


def test_if_newer_leaves_what_was_changed_since(scene: Scene) -> None:
    (scene.inside / "text").write_bytes(b"newer\n")
    (scene.inside / "plain").write_bytes(b"older\n")
    os.utime(scene.inside / "plain", ns=(-(10**15), -(10**15)))
    assert scene.changes(N) == ["M plain"]
    scene.restore(N)
    assert (scene.inside / "text").read_bytes() == b"newer\n"
    assert (scene.inside / "plain").read_bytes() == b"hello\n"


def test_if_changed_believes_size_and_time_and_always_believes_neither(scene: Scene) -> None:
    seen = (scene.inside / "text").stat()
    (scene.inside / "text").write_bytes(b"x" * seen.st_size)
    os.utime(scene.inside / "text", ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    scene.restore(C)
    assert (scene.inside / "text").read_bytes()[:1] == b"x"
    scene.restore(A)
    assert differences(scene.source, scene.inside) == []


def test_a_file_that_has_another_name_elsewhere_is_not_written_through(scene: Scene) -> None:
    """A name in the target may lead to a file outside of it: that one is not ours."""
    victim = scene.folder / "victim"
    for name in ("text", "one name"):
        victim.write_bytes(b"dear")
        seen = victim.stat()
        (scene.inside / name).unlink()
        os.link(victim, scene.inside / name)
        assert scene.restore(A).losses.named == []
        now = victim.stat()
        assert (victim.read_bytes(), now.st_mode, now.st_uid, now.st_mtime_ns) == (
            b"dear",
            seen.st_mode,
            seen.st_uid,
            seen.st_mtime_ns,
        )
        assert differences(scene.source, scene.inside) == []
        victim.unlink()


def test_a_link_in_a_folders_place_is_not_followed(scene: Scene) -> None:
    elsewhere = scene.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000").write_bytes(b"dear")
    (scene.inside / "below").rename(scene.folder / "moved")
    (scene.inside / "below").symlink_to(elsewhere)
    told = scene.restore(X)
    assert told.losses.counts["folder"] == 1
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [b"dear"]
    assert scene.restore(A).losses.named == []
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [b"dear"]
    assert differences(scene.source, scene.inside) == []


def test_a_folder_that_holds_anything_does_not_give_way_to_a_file(scene: Scene) -> None:
    (scene.inside / "text").unlink()
    (scene.inside / "text").mkdir()
    (scene.inside / "text" / "dear").write_bytes(b"1")
    told = scene.restore(A)
    assert told.losses.counts["file"] == 1
    assert "not empty" in told.losses.named[0]
    assert (scene.inside / "text" / "dear").read_bytes() == b"1"


def test_a_folder_that_is_there_is_never_shut_to_others_while_it_is_filled(scene: Scene) -> None:
    """A restore into the root of a system must lock nobody out of it, not even where it is killed."""
    (scene.inside / "below" / "000").unlink()
    (scene.inside / "below").chmod(0o755)
    modes: set[int] = set()
    with Restoring(
        reopened(scene.repository),
        tell=lambda _: modes.add((scene.inside / "below").stat().st_mode & 0o777),
        overwrite=A,
    ) as restoring:
        restoring.run(scene.snapshot, scene.target, ALL)
    assert modes <= {0o755, 0o775}  # before, and its own at last
    assert differences(scene.source, scene.inside) == []


def test_what_the_snapshot_does_not_name_stays(scene: Scene) -> None:
    (scene.inside / "mine").write_bytes(b"mine")
    scene.restore(A)
    assert (scene.inside / "mine").read_bytes() == b"mine"


def test_a_hostile_name_is_refused_onto_what_exists_as_well(tmp_path: Path) -> None:
    from backup.repository.faults import Hostile

    repository = new()
    (tmp_path / "target").mkdir()
    (tmp_path / "up").write_bytes(b"dear")
    snapshot = made_by_hand(repository, file_of(b"../up", b"evil"), contents=(b"evil",))
    with Restoring(reopened(repository), overwrite=A) as restoring, pytest.raises(Hostile):
        restoring.run(snapshot, tmp_path / "target", ALL)
    assert (tmp_path / "up").read_bytes() == b"dear"


def test_a_restore_that_was_killed_anywhere_goes_on_and_reads_only_what_is_missing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    for number in range(6):
        (source / "below" / f"{number}").write_bytes(noise(number, 3_000_000))
    os.link(source / "below" / "1", source / "another name")
    repository = new()
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    counting = FaultyStore(repository.store)
    run(counting, repository, saved.snapshot, tmp_path / "whole")
    data = [at for at, call in enumerate(counting.calls, 1) if call.kind is Kind.DATA]
    again = 0
    for at in data[1:]:
        target = tmp_path / f"target{at}"
        with pytest.raises(Killed):
            run(FaultyStore(repository.store, Fault.KILLED_BEFORE, at), repository, saved.snapshot, target)
        told = run(FaultyStore(repository.store), repository, saved.snapshot, target)
        assert told.losses.named == []
        assert differences(source, target / source.relative_to("/")) == []
        again += told.bytes_found
    assert again > 0


def run(store: FaultyStore, repository: Repository, snapshot: Snapshot, target: Path) -> Restored:
    found = Repository(store, repository.key, repository.config)
    found.load_index()
    with Restoring(found, workers=1, overwrite=A) as restoring:
        return restoring.run(snapshot, target, ALL)


def test_a_dry_run_makes_no_target(kept: Kept, tmp_path: Path) -> None:
    scene = Scene(kept, tmp_path)
    assert all(line.startswith("+ ") for line in scene.changes())
    assert not scene.target.exists()
