from datetime import UTC, datetime, timedelta

import pytest

from ncia.core.requests.certificates import RENEW_BEFORE_END, Facts
from ncia.core.requests.expiry import AUTHORITY_BEFORE_END, endings, left

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = "read site.pem: it holds no private key in PEM"


def facts(ends_in: timedelta, name: str = "serve.east.ncia", issuer: str = "east authority") -> Facts:
    return Facts(name, issuer, "1f", NOW - timedelta(days=20), NOW + ends_in)


def told(*known: Facts, failure: str = "") -> list[tuple[str, str]]:
    return [(each.holder, each.why) for each in endings(known, failure, NOW)]


def test_a_certificate_that_cannot_be_renewed_is_told_with_the_time_left_and_the_reason() -> None:
    assert told(facts(timedelta(days=9, hours=20)), failure=FAILED) == [
        ("serve", f"serve.east.ncia ends in 9 days (2026-01-10 20:00 UTC): {FAILED}")
    ]


def test_one_that_is_due_is_not_told_before_it_failed_or_is_late() -> None:
    assert told(facts(RENEW_BEFORE_END - timedelta(hours=1))) == []
    assert told(facts(timedelta(days=20)), failure=FAILED) == []
    ((holder, why),) = told(facts(timedelta(days=8)))
    assert (holder, why.endswith("it was not renewed, and nobody says why")) == ("serve", True)


def test_an_authority_is_told_a_month_before_its_end_for_only_people_can_renew_it() -> None:
    ends = AUTHORITY_BEFORE_END - timedelta(hours=1)
    assert told(facts(ends, "east authority", "sample root")) == [
        ("authority", "the east authority ends in 29 days (2026-01-30 23:00 UTC): "
         "only whoever keeps the root can renew it"),
    ]  # fmt: skip
    ((holder, _),) = told(facts(ends, "sample root", "sample root"))
    assert holder == "root"
    assert told(facts(AUTHORITY_BEFORE_END + timedelta(hours=1), "east authority", "sample root")) == []


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(days=9, hours=3), "in 9 days"),
        (timedelta(hours=30, minutes=40), "in 30 hours"),
        (timedelta(minutes=20), "in 0 hours"),
        (timedelta(hours=-5), "5 hours ago"),
    ],
)
def test_the_time_left_is_told_in_days_and_near_the_end_in_hours(time: timedelta, words: str) -> None:
    assert left(time) == words
