"""Which runs were missed: on facts alone."""

from datetime import UTC, datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.journal.entries import RunMissed
from ncia.core.state import Missed
from ncia.core.work import Expected, overdue

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
