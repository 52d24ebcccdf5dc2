from __future__ import annotations

from ncia.lab.relay.faults import BURST_BYTES_MIN, Faults, Pace


def test_an_unlimited_link_never_waits():
    pace = Pace(0, now=0.0)
    pace.took(10**9)
    assert pace.wait_seconds(0.0) == 0.0


def test_a_throttled_link_carries_its_rate_and_no_more():
    pace, now, sent = Pace(100_000, now=0.0), 0.0, 0
    while now < 10.0:
        wait = pace.wait_seconds(now)
        if wait:
            now += wait
            continue
        pace.took(16_000)
        sent += 16_000
    assert 1_000_000 <= sent <= 1_000_000 + BURST_BYTES_MIN + 2 * 16_000


def test_a_cut_and_a_swallowed_link_are_both_silent():
    assert [Faults().silent, Faults(cut=True).silent, Faults(swallow=True).silent] == [False, True, True]
