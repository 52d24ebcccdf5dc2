"""Following a file: each line once, through whatever happens to the file and to us."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitors.sources.tail import CHUNK_BYTES, LINE_BYTES_MAX, ROTATED_SECONDS, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "auth.log"


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def rotate(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.1"))


def everything(tail: Tail, now: float = 0.0) -> list[str]:
    found: list[str] = []
    while lines := tail.lines(now):
        found += [line.decode() for line in lines]
    return found


def again(tail: Tail) -> Tail:
    """The next process: it knows what was written down, and nothing else."""
    position = json.loads(json.dumps(tail.position()))
    tail.close()
    return Tail(tail.path, position)


def test_a_line_is_given_once_it_is_whole(log: Path) -> None:
    tail = Tail(log)
    assert everything(tail) == []
    write(log, "one\ntw")
    assert everything(tail) == ["one"]
    write(log, "o\n")
    assert everything(tail) == ["two"]
    assert everything(tail) == []


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\n")
    assert everything(tail) == ["one"]
    write(log, "two\n")
    rotate(log)
    write(log, "three\n")
    assert everything(tail) == ["two", "three"]
    write(log.with_name("auth.log.1"), "four, by a writer that has not noticed\n")
    write(log, "five\n")
    assert everything(tail, ROTATED_SECONDS - 1) == ["four, by a writer that has not noticed", "five"]


def test_the_last_line_of_a_rotated_file_counts_also_without_its_end(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\ntwo")
    assert everything(tail) == ["one"]
    rotate(log)
    write(log, "three\n")
    assert sorted(everything(tail) + everything(tail, ROTATED_SECONDS)) == ["three", "two"]


def test_a_truncated_file_is_read_from_its_beginning(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\ntwo\n")
    assert everything(tail) == ["one", "two"]
    log.write_text("new\n")
    assert everything(tail) == ["new"]
    log.write_text("another that is longer than what was there\n")
    assert everything(tail) == ["another that is longer than what was there"]
    assert tail.counts.truncated == 2


def test_the_next_process_goes_on_where_the_last_one_stopped(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\nhal")
    assert everything(tail) == ["one"]
    tail = again(tail)
    write(log, "f\ntwo\n")
    assert everything(tail) == ["half", "two"]


def test_a_file_that_was_rotated_meanwhile_is_found_again_under_its_new_name(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\n")
    assert everything(tail) == ["one"]
    tail = again(tail)
    write(log, "two\n")
    rotate(log)
    write(log, "three\n")
    assert everything(tail) == ["two", "three"]


def test_another_file_with_the_same_inode_is_not_taken_for_the_old_one(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\n")
    assert everything(tail) == ["one"]
    position = [{**tail.position()[0], "head": hashlib.sha256(b"xyz\n").hexdigest()}]
    tail.close()
    fresh = Tail(log, position)
    assert everything(fresh) == ["one"]
    assert fresh.counts.gone == 1


def test_a_line_without_end_costs_no_memory_and_only_itself(log: Path) -> None:
    tail = Tail(log)
    write(log, "one\n" + "x" * (3 * CHUNK_BYTES) + "\ntwo\n")
    assert everything(tail) == ["one", "two"]
    write(log, "y" * (LINE_BYTES_MAX + 1) + "\nthree\n")
    assert everything(tail) == ["three"]
    assert tail.counts.overlong == 2


def test_one_turn_takes_no_more_than_its_budget(log: Path) -> None:
    tail = Tail(log)
    write(log, "0123456789\n" * 100_000)
    first = tail.lines(0.0)
    assert 0 < sum(map(len, first)) <= CHUNK_BYTES
    assert len(first) + len(everything(tail)) == 100_000


@given(st.lists(st.sampled_from(["write", "part", "rotate", "read", "restart"]), max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_in_whatever_order_each_line_is_given_once(tmp_path: Path, steps: list[str]) -> None:
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    log = folder / "log"
    tail, written, found, now, rotated = Tail(log), 0, [], 0.0, 0
    for step in steps:
        now += 1
        if step == "write":
            write(log, f"line {written}\n")
            written += 1
        elif step == "part":
            write(log, f"line {written}")
            found += everything(tail, now)
            write(log, "\n")
            written += 1
        elif step == "rotate" and log.exists():
            found += everything(tail, now)  # three rotations between two looks would be more than we promise
            rotated += 1
            log.rename(folder / f"log.{rotated}")
        elif step == "restart":
            tail = again(tail)
        else:
            found += everything(tail, now)
    found += everything(tail, now + 1) + everything(tail, now + 100)
    tail.close()
    assert sorted(found, key=lambda line: int(line.split()[1])) == [f"line {n}" for n in range(written)]
