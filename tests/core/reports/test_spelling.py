"""Seconds and moments as people say them."""

from datetime import UTC, datetime, timedelta

import pytest

from ncia.core.reports.spelling import ago, span

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0004, "1 ms"),
        (0.04, "40 ms"),
        (1.26, "1.3 s"),
        (10, "10 s"),
        (119.6, "120 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "24 h"),
        (259200, "72 h"),
        (86400 * 5 + 3600, "5 d 1 h"),
        (None, "never measured"),
    ],
)
def test_a_length_of_time_is_said_in_its_own_unit(seconds: float | None, said: str) -> None:
    assert span(seconds) == said


def test_a_moment_is_said_from_now_and_never_from_the_future() -> None:
    assert ago(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert ago(NOW + timedelta(seconds=2), NOW) == "0 s ago"
    assert ago(None, NOW) == "never"
