"""Which runs were missed: on facts alone."""

from datetime import UTC, datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.journal.entries import RunMissed
from ncia.core.state import Missed
from ncia.core.work import Expected, overdue, overdue_at_peer
from ncia.core.work.ledger import PEER_GRACE_SECONDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOURLY = Expected("backup:tax/rows", "tax/rows", NOW, 3600, 1800)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_run_within_its_window_is_not_missed() -> None:
    assert overdue([HOURLY], (), after(1799), NOW) == ()


def test_a_run_is_missed_when_its_window_has_passed() -> None:
    (missed,) = overdue([HOURLY], (), after(1800), NOW)
    assert missed == RunMissed(
        job="backup:tax/rows", dataset="tax/rows", due_at=to_text(NOW), reason="no success within 1800 s"
    )


def test_a_missed_run_is_written_once_and_the_next_one_anew() -> None:
    (missed,) = overdue([HOURLY], (), after(1800), NOW)
    written = (Missed(after(1800), missed),)
    assert overdue([HOURLY], written, after(5399), NOW) == ()
    assert [each.due_at for each in overdue([HOURLY], written, after(5400), NOW)] == [to_text(after(3600))]


def test_after_a_long_sleep_the_newest_missed_run_is_told_with_the_reason() -> None:
    (missed,) = overdue([HOURLY], (), after(100_000), after(99_999))
    assert missed.due_at == to_text(after(27 * 3600))
    assert missed.reason == "the controller was not running"


def test_the_peer_has_a_while_to_say_itself_what_it_missed() -> None:
    lapsed = 1800 + PEER_GRACE_SECONDS
    assert overdue_at_peer([HOURLY], (), after(lapsed - 1), "east", NOW) == ()
    (missed,) = overdue_at_peer([HOURLY], (), after(lapsed), "east", NOW)
    assert missed.due_at == to_text(NOW)
    assert missed.reason == (
        "east has said neither that it was done nor that it was missed; its newest entry is of 2026-01-01T00:00:00Z"
    )


def test_both_sites_name_the_same_run_and_write_down_what_nobody_has_written() -> None:
    later = after(10 * 3600)
    (own,) = overdue([HOURLY], (), later, NOW)
    (theirs,) = overdue_at_peer([HOURLY], (), later, "east", None)
    assert (own.job, own.due_at) == (theirs.job, theirs.due_at)
    assert overdue_at_peer([HOURLY], (Missed(later, own),), later, "east", None) == ()
    assert overdue([HOURLY], (Missed(later, theirs),), later, NOW) == ()
