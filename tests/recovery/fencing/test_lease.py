"""What lease.json must say, as a pure decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.files import LeaseFile, Standing
from recovery.fencing.lease import (
    MARGIN_SECONDS,
    FromEtcd,
    FromNobody,
    FromPeer,
    Granted,
    Policy,
    Seen,
    Word,
    deadline_ns,
    decide,
    merge,
)

EAST, WEST = SiteId("east"), SiteId("west")
TAX, LAND = SystemId("tax"), SystemId("land")
SECOND = 1_000_000_000
STOP = Policy(EAST, WEST, 10)
CONTINUE = Policy(EAST, WEST, 10, frozenset({TAX}))
HERE = {TAX: Standing(1, EAST), LAND: Standing(1, EAST)}
NOBODY = FromNobody("timed out", "timed out")


def before(deadline_seconds: float = 0, systems: dict[SystemId, Standing] | None = None) -> LeaseFile:
    deadline = int(deadline_seconds * SECOND)
    return LeaseFile(1, EAST, "w", "boot", deadline, deadline, "before", HERE if systems is None else systems)


def held(asked_seconds: float) -> FromEtcd:
    return FromEtcd(HERE, Granted(int(asked_seconds * SECOND), 10))


def test_a_held_lease_counts_from_before_the_question_less_the_margin() -> None:
    word = decide(before(), held(100), STOP, 101 * SECOND)
    assert word.deadline_boottime_ns == int(109.5 * SECOND)
    assert word.reason == "lease held"


def test_a_later_deadline_is_not_lowered_by_an_earlier_one() -> None:
    assert decide(before(120), held(100), STOP, 101 * SECOND).deadline_boottime_ns == 120 * SECOND


def test_an_open_run_fences_and_is_named() -> None:
    seen = replace(held(100), run=RunId("run-7"), run_by=WEST)
    word = decide(before(109), seen, STOP, 101 * SECOND)
    assert word.deadline_boottime_ns == 0
    assert word.reason == "fenced: recovery run run-7 of west is open against this site"


def test_a_lease_that_the_quorum_says_is_gone_fences_at_once() -> None:
    word = decide(before(109), FromEtcd(HERE, None, "warden x holds it"), STOP, 101 * SECOND)
    assert (word.deadline_boottime_ns, word.granted_until_boottime_ns) == (0, 109 * SECOND)
    assert "warden x holds it" in word.reason


def test_an_election_during_the_renewal_leaves_the_deadline_as_it_was() -> None:
    word = decide(before(109), FromEtcd(HERE, None, "elected", unsure=True), STOP, 101 * SECOND)
    assert word.deadline_boottime_ns == 109 * SECOND


def test_an_order_outranks_a_held_lease() -> None:
    word = decide(before(109), held(100), STOP, 101 * SECOND, "drill")
    assert (word.deadline_boottime_ns, word.reason) == (0, "fenced by order: drill")


def test_the_peer_s_word_lengthens_the_deadline_without_a_quorum() -> None:
    seen = FromPeer("timed out", HERE, Granted(105 * SECOND, 10))
    word = decide(before(109), seen, STOP, 106 * SECOND)
    assert word.deadline_boottime_ns == int(114.5 * SECOND)
    assert "the warden of west confirms" in word.reason


def test_a_peer_that_does_not_confirm_leaves_the_deadline_to_run_out() -> None:
    seen = FromPeer("timed out", HERE, None, "run run-7 is open against east")
    assert decide(before(109), seen, STOP, 106 * SECOND).deadline_boottime_ns == 109 * SECOND
    assert decide(before(109), seen, STOP, 110 * SECOND).reason.startswith("fenced: the lease has run out; etcd has no")


def test_a_higher_epoch_told_by_the_peer_is_believed() -> None:
    seen = FromPeer("timed out", {TAX: Standing(2, WEST)}, Granted(105 * SECOND, 10))
    assert decide(before(109), seen, STOP, 106 * SECOND).systems[TAX] == Standing(2, WEST)


def test_a_lower_epoch_is_never_believed() -> None:
    assert merge({TAX: Standing(3, WEST)}, {TAX: Standing(2, EAST)}) == {TAX: Standing(3, WEST)}


def test_cut_off_the_site_keeps_its_deadline_and_then_is_fenced() -> None:
    word = decide(before(109), NOBODY, STOP, 106 * SECOND)
    assert word.deadline_boottime_ns == 109 * SECOND
    assert "writes pass until the deadline" in word.reason
    assert decide(before(109), NOBODY, STOP, 110 * SECOND).reason.startswith("fenced: the lease has run out; cut off")


def test_a_system_that_may_continue_does_and_its_neighbour_does_not() -> None:
    word = decide(before(109), NOBODY, CONTINUE, 106 * SECOND)
    assert word.systems[TAX].deadline_boottime_ns == int(115.5 * SECOND)
    assert word.systems[LAND].deadline_boottime_ns is None
    assert word.deadline_boottime_ns == 109 * SECOND
    assert "by policy tax continue" in word.reason
    again = decide(_file(word), NOBODY, CONTINUE, 114 * SECOND)
    assert again.systems[TAX].deadline_boottime_ns == int(123.5 * SECOND)


def test_a_system_that_may_continue_does_not_after_a_gap() -> None:
    word = decide(before(109), NOBODY, CONTINUE, 110 * SECOND)
    assert word.systems[TAX].deadline_boottime_ns is None


def test_a_system_that_may_continue_does_not_against_the_peer_s_word() -> None:
    word = decide(before(109), FromPeer("timed out", HERE, None, "a run is open"), CONTINUE, 106 * SECOND)
    assert word.systems[TAX].deadline_boottime_ns is None


@pytest.mark.parametrize("ttl", [0.1, 0.5, 1, 10])
def test_a_deadline_is_never_before_the_question_nor_after_its_ttl(ttl: float) -> None:
    assert 5 * SECOND <= deadline_ns(Granted(5 * SECOND, ttl)) <= (5 + ttl) * SECOND


moments = st.integers(0, 10**12)
grants = st.builds(Granted, moments, st.floats(0.1, 60))
epochs = st.dictionaries(
    st.sampled_from([TAX, LAND]), st.builds(Standing, st.integers(1, 5), st.sampled_from([EAST, WEST]))
)
seens = st.one_of(
    st.builds(
        FromEtcd,
        epochs,
        st.none() | grants,
        st.just("why"),
        st.none() | st.just(RunId("r")),
        st.just(WEST),
        st.booleans(),
    ),
    st.builds(FromPeer, st.just("no"), epochs, st.none() | grants, st.just("why")),
    st.just(NOBODY),
)


@given(st.lists(st.tuples(seens, moments, st.sampled_from(["", "", "", "order"])), max_size=30), st.booleans())
def test_no_deadline_is_ever_later_than_what_was_granted(
    passes: list[tuple[Seen, int, str]], may_continue: bool
) -> None:
    """Whatever is seen in whatever order: the site's deadline stays under the best grant so far less the margin, a
    continuing system's under one TTL from then; a fence is a fence; epochs and what was granted never go down."""
    policy = CONTINUE if may_continue else STOP
    file, best = before(0, {}), 0
    for seen, now, order in passes:
        granted = None if isinstance(seen, FromNobody) else seen.granted
        run = isinstance(seen, FromEtcd) and seen.run is not None
        if granted is not None:
            best = max(best, int(max(granted.ttl_seconds - MARGIN_SECONDS, 0) * SECOND) + granted.asked_boottime_ns)
        word = decide(file, seen, policy, now, order)
        assert word.deadline_boottime_ns <= best
        assert word.granted_until_boottime_ns >= max(word.deadline_boottime_ns, file.granted_until_boottime_ns)
        if order or run:
            assert all(_file(word).deadline_of(system) == 0 for system in word.systems)
        for system, standing in word.systems.items():
            assert standing.epoch >= (file.systems[system].epoch if system in file.systems else 0)
            if standing.deadline_boottime_ns is not None:
                assert may_continue
                assert isinstance(seen, FromNobody)
                assert standing.deadline_boottime_ns <= now + int((policy.ttl_seconds - MARGIN_SECONDS) * SECOND)
                assert file.deadline_of(system) > now
        file = _file(word, file.version + 1)


def _file(word: Word, version: int = 2) -> LeaseFile:
    return LeaseFile(version, EAST, "w", "boot", **word.__dict__)
