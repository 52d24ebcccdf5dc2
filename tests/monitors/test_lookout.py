"""The lookout: what is read is written down before it is told, and told until it is taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitors.detect.detector import Detector
from monitors.lookout import WORD_SECONDS, Lookout, Source
from monitors.sources.sshd import SSHD
from ncia.core.base.errors import Unreachable
from tests.monitors.detect.rules import FOUND, GUESSED, reference
from tests.monitors.servers import SetClock

RULES = reference()


class FakeReporter:
    name = "controller"
    connected = True

    def __init__(self, takes: Callable[[], bool] = lambda: True) -> None:
        self.words: list[dict[str, Any]] = []
        self._takes = takes

    async def send(self, body: bytes) -> None:
        if not self._takes():
            raise Unreachable("x", "tell the controller", "it is away")
        self.words.append(json.loads(body))

    async def close(self) -> None:
        pass


class Site:
    """One site's log and its agent, which may die at any moment."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock(datetime(2026, 3, 1, tzinfo=UTC))
        self.log = folder / "log" / "hosts" / "dj-store1" / "auth.log"
        self.log.parent.mkdir(parents=True)
        self.keep = folder / "lookout.json"
        self._folder = folder
        self.lookout = self.start()

    def start(self) -> Lookout:
        self.lookout = Lookout(
            [Source(self._folder / "log" / "hosts", "*/auth.log", SSHD)],
            Detector("daejeon", RULES),
            self.keep,
            self.clock,
        )
        return self.lookout

    def refuse(self, count: int) -> None:
        for _ in range(count):
            self._write("Failed password for root from 203.0.113.7 port 4022 ssh2")
            self.clock.go(1)

    def let_in(self) -> None:
        self._write("Accepted password for ncia from 203.0.113.7 port 4022 ssh2")

    def _write(self, message: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{self.clock.now().isoformat()} dj-store1 sshd[7]: {message}\n")

    def turn(self) -> list[tuple[str, int]]:
        """One turn, taken by a controller at once: which signals it told."""
        while self.lookout.turn():
            pass
        word = self.lookout.word()
        if word is None:
            return []
        self.lookout.taken(word)
        return [(signal["rule"], signal["count"]) for signal in word["signals"]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_an_attack_in_the_log_is_told_with_what_was_read(site: Site) -> None:
    site.refuse(40)
    site.let_in()
    assert sorted(site.turn()) == [(GUESSED, 40), (FOUND, 40)]
    assert site.turn() == []
    counts = site.lookout.counts()
    assert (counts["lines"], counts["unparsed"], counts["files"]) == (41, 0, 1)


def test_what_no_controller_took_is_told_again_also_after_a_crash(site: Site) -> None:
    site.refuse(10)
    site.lookout.turn()
    first = site.lookout.word()
    second = site.start().word()  # nobody said goodbye: what is on the disk is all there is
    assert first is not None
    assert second is not None
    assert first["signals"] == second["signals"]
    assert [signal["count"] for signal in second["signals"]] == [10]


@pytest.mark.parametrize("turns", [[40], [1] * 40, [9, 1, 30], [25, 15]])
def test_a_crash_between_any_two_turns_counts_no_line_twice_and_none_not_at_all(site: Site, turns: list[int]) -> None:
    told = []
    for count in turns:
        site.refuse(count)
        told += site.turn()
        site.start()
    site.clock.go(6)
    site.let_in()
    told += site.turn()
    assert told[-1] == (FOUND, 40)
    assert max(count for rule, count in told if rule == GUESSED) == 40


def test_a_torn_position_is_put_aside_and_all_is_read_again_under_the_same_names(site: Site) -> None:
    site.refuse(10)
    site.lookout.turn()
    before = site.lookout.word()
    site.keep.write_text('{"version": 1, "posi')
    site.start().turn()
    again = site.lookout.word()
    assert before is not None
    assert again is not None
    assert [signal["id"] for signal in again["signals"]] == [signal["id"] for signal in before["signals"]]
    assert site.keep.with_suffix(".broken").exists()


def test_an_idle_log_costs_no_writing_and_the_controller_hears_of_us_now_and_then(site: Site) -> None:
    site.refuse(1)
    site.turn()
    site.clock.go(WORD_SECONDS)
    site.turn()
    written = site.keep.stat().st_mtime_ns
    words = []
    for _ in range(40):
        site.clock.go(0.5)
        site.lookout.turn()
        word = site.lookout.word()
        if word is not None:
            site.lookout.taken(word)
            words.append(word)
    assert (len(words), site.keep.stat().st_mtime_ns) == (2, written)


def test_which_rules_are_at_work_is_told_at_first_and_each_minute(site: Site) -> None:
    told = []
    for _ in range(15):
        word = site.lookout.word()
        assert word is not None
        site.lookout.taken(word)
        told.append([rule["inactive"] for rule in word["rules"]])
        site.clock.go(WORD_SECONDS)
    assert [len(rules) for rules in told] == [6, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 6, 0, 0]
    assert told[0] == [""] * 6


def test_a_file_that_appears_later_is_read_from_its_beginning(site: Site) -> None:
    site.turn()
    site.refuse(10)
    site.clock.go(5)
    assert site.turn() == [(GUESSED, 10)]


def test_a_controller_that_is_away_is_told_when_it_is_back(site: Site) -> None:
    stop, answers = asyncio.Event(), iter([False, True])

    def takes() -> bool:
        taken = next(answers, True)
        if taken:
            stop.set()
        return taken

    reporter = FakeReporter(takes)
    site.refuse(10)
    asyncio.run(asyncio.wait_for(site.lookout.run(reporter, stop), 30))
    assert [[signal["count"] for signal in word["signals"]] for word in reporter.words] == [[10]]
    assert json.loads(site.keep.read_text())["spool"] == []
