from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.format.times import moment_of, moment_text, ns_of, ns_text


@given(st.integers(-62_135_596_800_000_000_000, 253_402_300_799_999_999_999))
def test_every_nanosecond_comes_back(ns: int) -> None:
    assert ns_of(ns_text(ns)) == ns


@given(st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)))
def test_every_moment_comes_back(moment: datetime) -> None:
    assert moment_of(moment_text(moment)) == moment


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_577_934_245_120_000_000, "2020-01-02T03:04:05.12Z"),
        (10**21, "9999-12-31T23:59:59.999999999Z"),
        (-(10**21), "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_are_spelt_as_go_spells_them(ns: int, text: str) -> None:
    assert ns_text(ns) == text


def test_an_offset_is_taken_off() -> None:
    assert ns_text(ns_of("2026-11-26T09:00:00.5+09:00")) == "2026-11-26T00:00:00.5Z"


@pytest.mark.parametrize("text", ["", "2026-11-26", "2026-11-26T09:00:00", "2026-13-26T09:00:00Z", "2026-11-26T09:00Z"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ns_of(text)
