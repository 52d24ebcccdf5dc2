"""A process that goes ahead of a backup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup.repository.save.excluding import NOTHING, Exclusions
from backup.repository.save.looking import Told, looking_at
from backup.repository.save.saving import Request, hear, save
from backup.repository.save.scout import Question, Scout
from backup.repository.save.walk import ways
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import HOLDER, new, reopened

CLOCK = SystemClock()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    for name in ("plain", "below/one.o", "below/deeper/two", "다리/셋"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (Path(os.fsdecode(os.fsencode(top) + b"/\xff"))).write_text("no text")
    return top


def all_of(scout: Scout) -> Iterator[Told]:
    while (told := scout.next(60.0)) is not None:
        yield told
    assert scout.over


@pytest.mark.parametrize("exclusions", [NOTHING, Exclusions(("*.o",), larger_than=5, one_file_system=True)])
def test_a_scout_tells_what_a_tour_of_ours_would(source: Path, exclusions: Exclusions) -> None:
    with closing(Scout([str(source)], exclusions)) as scout:
        told = list(all_of(scout))
    assert told == list(looking_at([str(source)], exclusions).tour(ways([os.fsencode(source)])))
    assert told[-1][0].startswith(os.fsencode(source))


def test_a_question_is_the_same_on_the_other_side() -> None:
    asked = Question(("/a\udcff", "/b"), Exclusions(("*.o",), ("!x",), ("tag:",), 7, True))
    assert Question.of_json(asked.as_json()) == asked


def test_what_is_not_there_is_not_looked_for(tmp_path: Path) -> None:
    with closing(Scout([str(tmp_path / "nowhere")], NOTHING)) as scout:
        assert [entries for _, _, entries in all_of(scout)] == [[]]  # the root, of which nothing was asked


def test_a_scout_that_is_killed_leaves_the_rest_to_whoever_asks(source: Path) -> None:
    request = Request((str(source),), HOLDER)
    first = save(repository := new(), request, SystemClock())
    scout = Scout(request.paths, request.exclusions)
    os.kill(scout._process.pid, signal.SIGKILL)
    looking = hear(scout, CLOCK.now(), request, over=lambda: False)
    second = save(reopened(repository), request, SystemClock(), looking=looking)
    assert second.snapshot.tree == first.snapshot.tree


def test_one_that_nobody_hears_any_more_is_ended(tmp_path: Path) -> None:
    """While it waits: what it may tell unasked is bounded."""
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        for name in "abcdefghij":
            (tmp_path / str(number) / (name * 200)).touch()
    scout = Scout([str(tmp_path)], NOTHING, told_bytes_max=10_000)
    assert scout.next(60.0) is not None
    scout.close()
    assert scout.over
    assert scout.next() is None
    assert scout._process.returncode is not None


def test_a_scout_that_ends_in_the_middle_leaves_the_rest_to_whoever_asks(source: Path) -> None:
    request = Request((str(source),), HOLDER)
    first = save(repository := new(), request, SystemClock())
    with closing(Scout(request.paths, request.exclusions)) as scout:
        told = list(all_of(scout))
    left = told[: len(told) - 2]

    class Half:
        over = False

        def next(self, wait_seconds: float | None = None) -> Told | None:
            self.over = not left
            return left.pop(0) if left else None

        def close(self) -> None:
            self.over = True

    second = save(
        reopened(repository), request, SystemClock(), looking=hear(Half(), CLOCK.now(), request, over=lambda: False)
    )
    assert (second.snapshot.tree, second.figures.unchanged) == (first.snapshot.tree, first.figures.files)


def test_nothing_is_loaded_from_the_folder_in_which_a_backup_is_begun(source: Path, tmp_path: Path) -> None:
    """It may be anybody's, and a helper has the key."""
    for name in ("struct", "json", "queue", "zstandard"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the folder')")
    code = (
        "import sys; from backup.repository.save.scout import *; s = Scout([sys.argv[1]], NOTHING); print(s.next(60.0))"
    )
    code = code.replace("NOTHING", "Exclusions()")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, str(source)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.startswith("(b'/', 0, [("), ran.stderr
