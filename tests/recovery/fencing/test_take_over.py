"""A run changes hands: two controllers want to carry it on, every order of their calls to etcd, exactly one does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.claims import Claims
from recovery.fencing.keys import OpenRun, site_key
from tests.fakes.etcd import FakeEtcd

EAST, WEST = SiteId("east"), SiteId("west")
TAX = SystemId("tax")
RUN = RunId("run-1")
TURN_SECONDS_MAX = 20.0


class Turns:
    """Lets two threads make their calls in a given order; whoever has ended gives its turns away."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = list(order)
        self._over: set[str] = set()
        self._changed = threading.Condition()

    def wait(self, name: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_turn(name), TURN_SECONDS_MAX)

    def passed(self, name: str) -> None:
        with self._changed:
            if name in self._order:
                self._order.remove(name)
            self._changed.notify_all()

    def ended(self, name: str) -> None:
        with self._changed:
            self._over.add(name)
            self._changed.notify_all()

    def _is_turn(self, name: str) -> bool:
        while self._order and self._order[0] in self._over:
            self._order.pop(0)
        return not self._order or self._order[0] == name


class InTurn:
    """One controller's view of etcd: each call waits for its turn."""

    def __init__(self, etcd: FakeEtcd, turns: Turns, name: str) -> None:
        self._etcd, self._turns, self._name = etcd, turns, name

    def __getattr__(self, call: str) -> Callable[..., Any]:
        real = getattr(self._etcd, call)

        def called(*arguments: Any) -> Any:
            self._turns.wait(self._name)
            try:
                return real(*arguments)
            finally:
                self._turns.passed(self._name)

        return called


def run_both(etcd: FakeEtcd, order: Sequence[str], acts: dict[str, Callable[[Claims], object]]) -> dict[str, str]:
    """What came of each: empty, or the code of its refusal."""
    turns, outcome = Turns(order), {}

    def drive(name: str) -> None:
        try:
            acts[name](Claims(InTurn(etcd, turns, name)))
            outcome[name] = ""
        except Refusal as refusal:
            outcome[name] = refusal.code
        finally:
            turns.ended(name)

    threads = [threading.Thread(target=drive, args=(name,)) for name in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TURN_SECONDS_MAX)
    assert set(outcome) == set(acts)
    return outcome


def orders(first: int, second: int) -> Iterator[tuple[str, ...]]:
    """Every interleaving of ``first`` calls of a with ``second`` calls of b."""
    for places in itertools.combinations(range(first + second), first):
        yield tuple("a" if place in places else "b" for place in range(first + second))


@pytest.fixture
def etcd() -> FakeEtcd:
    """Tax is at east; its run to west was opened by the controller of east, which carries it out."""
    etcd = FakeEtcd()
    claims = Claims(etcd)
    claims.birth(TAX, EAST)
    claims.open_run(EAST, RUN, EAST)
    return etcd


def test_a_run_is_not_taken_from_a_site_that_holds_its_lease(etcd: FakeEtcd) -> None:
    etcd.put(site_key(EAST), '{"warden": "w"}')
    with pytest.raises(Refusal, match="east holds its lease") as refused:
        Claims(etcd).open_run(EAST, RUN, WEST)
    assert refused.value.code == "fencing.executor-lives"
    assert Claims(etcd).runs() == {EAST: OpenRun(EAST, RUN, EAST)}


def test_a_run_whose_site_lost_its_lease_changes_hands(etcd: FakeEtcd) -> None:
    assert Claims(etcd).open_run(EAST, RUN, WEST) == OpenRun(EAST, RUN, WEST)


def test_a_lease_that_comes_back_between_look_and_swap_keeps_the_run_where_it_is(etcd: FakeEtcd) -> None:
    class Returning(FakeEtcd):
        def txn(self, *arguments: Any) -> Any:
            etcd.put(site_key(EAST), '{"warden": "w"}')
            return etcd.txn(*arguments)

        def get(self, key: str) -> Any:
            return etcd.get(key)

    with pytest.raises(Refusal) as refused:
        Claims(Returning()).open_run(EAST, RUN, WEST)
    assert refused.value.code == "fencing.executor-lives"
    assert Claims(etcd).runs()[EAST].site == EAST


@pytest.mark.parametrize("order", list(orders(2, 2)))
def test_of_two_that_take_one_run_over_exactly_one_wins(etcd: FakeEtcd, order: tuple[str, ...]) -> None:
    """East has gone; two controllers of other sites see it at the same time, both of them alive."""
    third = SiteId("third")
    for site in (WEST, third):
        etcd.put(site_key(site), '{"warden": "w"}')
    outcome = run_both(
        etcd,
        order,
        {"a": lambda c: c.open_run(EAST, RUN, WEST), "b": lambda c: c.open_run(EAST, RUN, third)},
    )
    winners = [name for name, code in outcome.items() if not code]
    assert len(winners) == 1, outcome
    assert Claims(etcd).runs()[EAST].site == {"a": WEST, "b": third}[winners[0]]


@pytest.mark.parametrize("order", list(orders(3, 2)))
def test_who_lost_the_run_claims_nothing_any_more(etcd: FakeEtcd, order: tuple[str, ...]) -> None:
    """East's controller wakes and claims while west takes the run over: it claimed before, or it is refused."""
    revision = Claims(etcd).epochs()[TAX].mod_revision
    taken_when_claimed: list[SiteId] = []

    def claim(claims: Claims) -> None:
        claims.claim_epoch(TAX, EAST, WEST, revision, RUN, EAST)
        taken_when_claimed.append(EAST)

    outcome = run_both(etcd, order, {"a": claim, "b": lambda c: c.open_run(EAST, RUN, WEST)})
    assert outcome["b"] == ""
    epoch = Claims(etcd).epochs()[TAX]
    if outcome["a"]:
        assert (outcome["a"], epoch.epoch) == ("fencing.run-taken", 1)
        assert Claims(etcd).claim_epoch(TAX, EAST, WEST, revision, RUN, WEST).epoch == 2
    else:
        assert (epoch.epoch, epoch.run) == (2, RUN)  # and west finds it done
        assert Claims(etcd).claim_epoch(TAX, EAST, WEST, revision, RUN, WEST) == epoch


def test_after_the_run_was_taken_over_its_first_site_cannot_take_it_back_from_one_that_lives(etcd: FakeEtcd) -> None:
    Claims(etcd).open_run(EAST, RUN, WEST)
    etcd.put(site_key(WEST), '{"warden": "w"}')
    with pytest.raises(Refusal, match="west holds its lease"):
        Claims(etcd).open_run(EAST, RUN, EAST)
