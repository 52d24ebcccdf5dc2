"""Commits that wait for nobody, on real PostgreSQL: told before, restored after, and the loss of a burn in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from ncia.core.base.clock import SystemClock
from ncia.core.estate.model import WithoutPartner
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    SyncDegraded,
    SyncRestored,
)
from recovery.actions.postgresql import PostgresDatabases
from recovery.fencing.claims import Claims
from recovery.fencing.keys import SyncMode, site_key
from recovery.loss_figure import Facts, loss_of
from recovery.ports import Outage
from recovery.receiving.wal import receiver_name
from recovery.sync_task import Parts, SyncTask
from tests.fakes.etcd import FakeEtcd
from tests.recovery.actions.test_postgresql import HOMETAX
from tests.recovery.receiving.cluster import Trio, estate_at, trio, wait
from tests.recovery.scene import LOST, SURVIVOR


@dataclass
class Bench:
    """The task at the primary's site; etcd in memory, the servers real."""

    three: Trio
    bodies: list[Body] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = estate_at(self.three.pair, LOST, self.three.pair.primary)
        hometax = replace(found.systems[HOMETAX], without_partner=WithoutPartner.DEGRADE)
        self.estate = replace(found, systems={HOMETAX: replace(hometax, depends_on=())})
        self.etcd = FakeEtcd()
        self.claims = Claims(self.etcd)
        self.claims.birth(HOMETAX, LOST)
        self.etcd.put(site_key(LOST), "{}")
        self.primaries = PostgresDatabases(self.estate, LOST, self.three.pair.folder / "pgpass")
        active = {HOMETAX: LOST}
        self.task = SyncTask(Parts(self.estate, LOST, self.primaries, self.claims, self, lambda: active))
        self.now = SystemClock().now()

    def append(self, body: Body, *, by: str) -> None:
        self.bodies.append(body)

    def tick(self, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)
        self.task.tick(self.now)

    def until_mode(self, mode: SyncMode) -> None:
        def reached() -> bool:
            self.tick()
            told = self.claims.syncs().get(HOMETAX)
            return told is not None and told.mode is mode

        wait(f"etcd says {mode}", reached)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with trio() as three:
        three.begin()
        wait("the receiver counts", lambda: three.keepers().get(receiver_name(SURVIVOR)) == "quorum")
        made = Bench(three)
        yield made
        made.primaries.close()


def lose_both_keepers(of: Trio) -> None:
    of.stop_standby_streaming()
    of.epoch = None
    wait("no receiver is left", lambda: of.keepers() == {})


def test_with_both_keepers_gone_it_goes_on_alone_and_protects_itself_again(bench: Bench) -> None:
    three = bench.three
    bench.until_mode(SyncMode.SYNC)
    lose_both_keepers(three)
    bench.until_mode(SyncMode.ASYNC)
    with three.pair.connect(three.pair.primary) as connection:
        three.write(connection, 1)  # waits for nobody
        assert isinstance(bench.bodies[-1], SyncDegraded)

    with three.pair.connect(three.pair.copy) as connection:
        source = f"host=127.0.0.1 port={three.pair.primary} user=replicator application_name={SURVIVOR}"
        connection.execute(f"alter system set primary_conninfo = '{source} passfile={three.pair.folder / 'pgpass'}'")
        connection.execute("select pg_reload_conf()")
    bench.until_mode(SyncMode.SYNC)
    assert isinstance(bench.bodies[-1], SyncRestored)
    assert three.keepers()[SURVIVOR] == "quorum"
    assert 1 in three.acts(three.pair.copy)


def test_a_burn_while_degraded_has_its_loss_stated_and_is_no_silent_zero(bench: Bench) -> None:
    three = bench.three
    bench.until_mode(SyncMode.SYNC)
    with three.pair.connect(three.pair.primary) as connection:
        connection.execute("update ncia.canary set written_at = clock_timestamp()")
    lose_both_keepers(three)
    bench.until_mode(SyncMode.ASYNC)
    with three.pair.connect(three.pair.primary) as connection:
        three.write(connection, 1)
    three.kill_primary()

    lost_at = SystemClock().now()
    sync = bench.claims.syncs()[HOMETAX]
    facts = Facts(three.databases.replica(HOMETAX), Outage(lost_at, "it burnt"), sync=sync)
    loss = loss_of(bench.estate.systems[HOMETAX], facts, bench.estate.settings, lost_at)
    assert loss.how == "measured"
    assert loss.seconds is not None
    assert loss.seconds > 1.0
    assert f"commits waited for nobody since {sync.since}" in loss.sentence
    three.databases.promote(HOMETAX)
    wait("the copy is promoted", lambda: not three.databases.in_recovery(HOMETAX))
    assert 1 not in three.acts(three.pair.copy)  # as the plan said: acknowledged, and lost
