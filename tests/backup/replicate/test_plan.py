from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup.replicate.plan import Copy, aside, copies, hot_folders, needed
from ncia.core.work.documents import Seen

NOW = datetime(2026, 11, 26, 4, 22, 30, tzinfo=UTC)
A, B = "a" * 32, "b" * 32


def seen(name: str = "x", size: int = 10, at: float = 100.0, tag: str = "") -> Seen:
    return Seen(name, size, at, tag)


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (seen(), None, "missing"),
        (seen(), seen(), None),
        (seen(at=100.4), seen(at=100.0), None),  # SFTP tells whole seconds
        (seen(at=50), seen(at=100), None),
        (seen(at=102), seen(at=100), "newer"),
        (seen(size=11, at=102), seen(at=100), "newer"),
        (seen(size=11, at=90), seen(at=100), "ahead"),
        (seen(tag=A, at=500), seen(tag=A, at=100), None),  # the same bytes, whenever they were written
        (seen(tag=A, at=90), seen(tag=B, at=100), "ahead"),
        (seen(tag=A, at=200), seen(tag=B, at=100), "newer"),
        (seen(tag=A, at=100), seen(at=100), None),  # one store tells no digest: size and time decide
    ],
)
def test_what_is_copied_and_why(source: Seen, target: Seen | None, why: str | None) -> None:
    assert needed(source, target) == why


def test_the_oldest_is_copied_first_and_what_only_the_target_has_is_left_alone() -> None:
    target = {"kept": seen("kept"), "only-there": seen("only-there")}
    found = copies([seen("late", at=9), seen("kept"), seen("early", at=3)], target)
    assert found == (Copy(seen("early", at=3), "missing"), Copy(seen("late", at=9), "missing"))


def test_what_is_new_lies_in_the_folder_of_now_and_in_those_that_may_still_be_filled() -> None:
    assert hot_folders(NOW, NOW) == ("2026/11/26/0422/20", "2026/11/26/0422/30")
    late = datetime(2026, 11, 26, 23, 59, 59, tzinfo=UTC)
    after = late + timedelta(seconds=2)
    assert hot_folders(late, after) == ("2026/11/26/2359/40", "2026/11/26/2359/50", "2026/11/27/0000/00")


def test_after_a_pause_every_folder_of_it_is_looked_at() -> None:
    found = hot_folders(NOW - timedelta(minutes=3), NOW)
    assert (len(found or ()), found[0], found[-1]) == (20, "2026/11/26/0419/20", "2026/11/26/0422/30")


def test_after_a_long_pause_minutes_are_not_enough() -> None:
    assert hot_folders(NOW - timedelta(hours=3), NOW) is None


def test_what_is_set_aside_keeps_its_name_and_gets_the_moment() -> None:
    assert aside("a/b", NOW) == ".ncia/aside/20261126T042230/a/b"
