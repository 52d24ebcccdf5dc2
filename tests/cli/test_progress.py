"""How far a command is: for people on a terminal, for programs in JSON lines, for nobody elsewhere."""

from __future__ import annotations

import io
import json

import pytest

from ncia.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_people_see_rate_and_time_left_and_no_more_often_than_they_can_read() -> None:
    out, clock = Terminal(), Clock()
    with Progress("packs", False, "", out, clock) as tell:
        tell(1, 10, 100)
        clock.now += 2
        tell(3, 20_000_000, 100_000_000)
        tell(4, 30_000_000, 100_000_000)
    assert out.getvalue().split("\r\033[K") == ["", "3 packs, 20.0 MB of 100.0 MB, 10.0 MB/s, 8 s left", ""]


def test_programs_get_lines_in_the_words_of_restic() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("packs", True, "", out, clock) as tell:
        clock.now += 2
        tell(3, 20, 100)
        clock.now += 2
        tell(5, 100, 0)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "message_type": "status",
        "seconds_elapsed": 2,
        "packs": 3,
        "bytes_done": 20,
        "total_bytes": 100,
        "percent_done": 0.2,
        "seconds_remaining": 8,
    }
    assert second == {"message_type": "status", "seconds_elapsed": 4, "packs": 5, "bytes_done": 100, "total_bytes": 0}


def test_one_thing_after_the_other_is_told_with_its_own_rate() -> None:
    out, clock = Terminal(), Clock()
    with Progress("packs", False, "", out, clock) as tell:
        tell.phase("snapshots looked into", 0, 10)
        clock.now += 5
        tell.phase("snapshots looked into", 5, 10)
        clock.now += 100
        tell.phase("bytes copied", 0, 4_000_000)
        clock.now += 2
        tell.phase("bytes copied", 1_000_000, 4_000_000)
    shown = out.getvalue().split("\r\033[K")
    assert shown[1] == "5 of 10 snapshots looked into, 1/s, 5 s left"
    assert shown[3] == "1.0 MB of 4.0 MB copied, 500.0 KB/s, 6 s left"


def test_a_phase_is_told_to_programs_too() -> None:
    out, clock = io.StringIO(), Clock()
    tell = Progress("packs", True, "", out, clock)
    clock.now += 1
    tell.phase("packs removed", 1, 4)
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert (line["phase"], line["done"], line["total"], line["percent_done"]) == ("packs removed", 1, 4, 0.25)


def test_where_nobody_looks_nothing_is_told() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("files", False, "", out, clock) as tell:
        clock.now += 10
        tell(1, 1, 1)
        tell.phase("packs removed", 1, 1)
    assert out.getvalue() == ""


def test_who_interrupts_is_told_in_one_sentence_what_stays() -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress("files", False, "nothing was changed", out):
        raise KeyboardInterrupt
    assert out.getvalue() == "Interrupted: nothing was changed\n"
