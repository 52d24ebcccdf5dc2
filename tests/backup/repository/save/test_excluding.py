"""What a backup leaves out: the same as the real restic, counted, and told in the snapshot."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from backup.repository.format.trees import DIR, FILE, Node
from backup.repository.restore.listing import entries
from backup.repository.save.excluding import CACHES, NOTHING, Excluding, Exclusions, exclusions_of
from backup.repository.save.looking import Looking
from backup.repository.save.saving import Request, Saved, hear, save
from backup.repository.save.scout import Scout
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.exclusion_world import World
from tests.backup.repository.sample import HOLDER, new, reopened
from tests.restic import demand_restic

CLOCK = SystemClock()


def backup(source: Path, out: Exclusions, looking: Looking | None = None) -> tuple[Saved, set[str]]:
    repository = new()
    saved = save(repository, Request((str(source),), HOLDER, exclusions=out), CLOCK, looking=looking)
    found = entries(reopened(repository), saved.snapshot.tree, Way(whole=True))
    top = os.fsencode(source) + b"/"
    return saved, {os.fsdecode(each.path.removeprefix(top)) for each in found if each.path.startswith(top)}


def some(source: Path) -> Path:
    (source / "deep" / "er").mkdir(parents=True)
    (source / "cache").mkdir()
    for name in ("a.txt", "a.o", "deep/b.o", "deep/B.O", "deep/er/big", "cache/x"):
        (source / name).write_bytes(name.encode() * (300 if name.endswith("big") else 1))
    (source / "cache" / "CACHEDIR.TAG").write_text(CACHES.partition(":")[2] + "\n# by a test\n")
    return source


@pytest.mark.parametrize("seed", range(6))
def test_restic_leaves_out_the_same_of_seeded_trees_by_seeded_patterns(tmp_path: Path, seed: int) -> None:
    world, restic = World(tmp_path / "world", seed), demand_restic()
    for _ in range(2):
        out = world.exclusions()
        assert world.ours(out) == world.restics(out, restic), out


def test_what_is_left_out_is_counted_and_stands_in_the_snapshot(tmp_path: Path) -> None:
    source = some(tmp_path / "source")
    saved, kept = backup(source, Exclusions(("*.o", "deep/er"), ("B.o",)))
    assert kept == {"a.txt", "cache", "cache/CACHEDIR.TAG", "cache/x", "deep"}
    assert saved.figures.excluded == 4  # a folder as one
    assert saved.snapshot.excludes == ("*.o", "deep/er", "B.o")
    assert not saved.partial


def test_what_was_looked_at_ahead_is_left_out_and_counted_once(tmp_path: Path) -> None:
    source, out = some(tmp_path / "source"), Exclusions(("*.o",), larger_than=1000)
    request = Request((str(source),), HOLDER, exclusions=out)
    with closing(Scout(request.paths, out)) as scout:
        ahead, plain = backup(source, out, hear(scout, CLOCK.now(), request, lambda: False)), backup(source, out)
    assert ahead[1] == plain[1] == {"a.txt", "cache", "cache/CACHEDIR.TAG", "cache/x", "deep", "deep/B.O", "deep/er"}
    assert ahead[0].figures.excluded == plain[0].figures.excluded == 3


def test_folders_that_are_marked_keep_their_mark_alone(tmp_path: Path) -> None:
    source = some(tmp_path / "source")
    (source / "deep" / ".nobackup").touch()
    (source / "deep" / "er" / ".nobackup").touch()
    _, kept = backup(source, Exclusions(if_present=(CACHES, ".nobackup")))
    assert kept == {"a.o", "a.txt", "cache", "cache/CACHEDIR.TAG", "deep", "deep/.nobackup"}
    (source / "cache" / "CACHEDIR.TAG").write_text("Signature: of somebody else")
    assert "cache/x" in backup(source, Exclusions(if_present=(CACHES,)))[1]


def test_of_another_file_system_the_folder_on_which_it_is_mounted_stays(tmp_path: Path) -> None:
    here = tmp_path.lstat().st_dev
    asked = os.fsencode(tmp_path)
    excluding = Excluding(Exclusions(one_file_system=True), [asked])

    def node(type_: str, device: int) -> Node:
        return Node(b"x", type_, 0, 0, 0, 0, 0, 0, device_id=device)

    (tmp_path / "mounted").mkdir()
    mounted = asked + b"/mounted"
    assert not excluding.by_kind(asked + b"/file", node(FILE, here))
    assert not excluding.by_kind(mounted, node(DIR, here + 1))
    assert excluding.by_kind(asked + b"/bound", node(FILE, here + 1))
    assert excluding.by_kind(mounted + b"/gone/below", node(DIR, here + 1))


def test_what_was_asked_for_by_name_is_kept_though_a_pattern_matches_it_and_what_is_below_is_not(
    tmp_path: Path,
) -> None:
    source, repository = some(tmp_path / "source"), new()
    asked = (str(source / "a.o"), str(source / "deep"))
    out = Exclusions((str(tmp_path),), larger_than=0, if_present=("a.txt",))
    saved = save(repository, Request(asked, HOLDER, exclusions=out), CLOCK)
    found = {each.path for each in entries(reopened(repository), saved.snapshot.tree, Way(whole=True))}
    assert {os.fsencode(each) for each in asked} <= found
    assert os.fsencode(source / "deep" / "er") not in found
    assert saved.figures.excluded == 3


def test_the_words_of_a_command_line_are_read_as_restic_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "patterns"
    file.write_bytes(b"\xef\xbb\xbf# a comment\n\n  $HOME/x  \r\n${HOME}y\n$$5\n$NONE!\n\xff\n")
    found = exclusions_of(["first"], ["Second"], [file], [file], [".no"], "20k", False, {"HOME": "/home/me"})
    lines = ("/home/me/x", "/home/mey", "$5", "!", "\udcff")
    assert found == Exclusions(("first", *lines), ("Second", *lines), (".no",), 20 << 10)
    assert exclusions_of([], [], [], [], [], "", False, {}) == NOTHING


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"larger_than": "1.5G"}, "repository.bad-size"),
        ({"larger_than": "-1"}, "repository.bad-size"),
        ({"patterns": ["["]}, "repository.bad-pattern"),
        ({"files": [Path("/nowhere/at/all")]}, "repository.no-patterns"),
    ],
)
def test_what_cannot_be_read_of_it_is_refused_before_anything_is_kept(words: dict[str, object], code: str) -> None:
    given = {"patterns": [], "insensitive": [], "files": [], "insensitive_files": [], "if_present": []}
    with pytest.raises(NciaError) as refused:
        exclusions_of(**{**given, "larger_than": "", "one_file_system": False, "environment": {}, **words})
    assert refused.value.code == code


@pytest.mark.parametrize("tag", ["", ":header", "a/b"])
def test_a_mark_without_a_name_is_refused(tag: str) -> None:
    with pytest.raises(NciaError, match="names no file"):
        Excluding(Exclusions(if_present=(tag,)), [])
