"""The task on an etcd in memory: told before it is done, taken up again after a crash, only by whoever has the say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import WithoutPartner
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    SyncDegraded,
    SyncRestored,
)
from recovery.fencing.claims import Claims
from recovery.fencing.keys import Sync, SyncMode, site_key
from recovery.sync import Keeper, Seen, standby_names
from recovery.sync_task import Parts, SyncTask
from tests.fakes.etcd import FakeEtcd
from tests.recovery.scene import LOST, SURVIVOR, estate

HOMETAX = SystemId("hometax")
NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
NAMES = standby_names(SURVIVOR)
COPY = Keeper(SURVIVOR, "streaming", "quorum", 0x100000000, 0.2)


class Killed(BaseException):
    """The controller dies here."""


@dataclass
class FakePrimaries:
    """hometax is the one of interest; every other primary is well. ``log`` is shared with journal and etcd."""

    log: list[str]
    names: str = NAMES
    keepers: tuple[Keeper, ...] = (COPY,)
    alive: bool = True
    dies_clearing: bool = False

    def seen(self, system: SystemId) -> Seen | None:
        if system != HOMETAX:
            return Seen(NAMES, 1, (COPY,))
        if not self.alive:
            raise Unreachable("recovery.no-server", "reach it", "connection refused")
        return Seen(self.names, 0x3000060, self.keepers)

    def require_synchronous(self, system: SystemId, names: str) -> None:
        self.log.append("require")
        self.names = names

    def clear_synchronous(self, system: SystemId) -> None:
        if self.dies_clearing:
            raise Killed
        self.log.append("clear")
        self.names = ""


class ToldClaims(Claims):
    def __init__(self, etcd: FakeEtcd, log: list[str]) -> None:
        super().__init__(etcd)
        self._log = log
        self.reads = 0

    def syncs(self) -> Any:
        self.reads += 1
        return super().syncs()

    def put_sync(self, sync: Sync, held_by: SiteId | None = None) -> Sync:
        found = super().put_sync(sync, held_by)
        self._log.append(f"etcd {sync.mode}")
        return found


@dataclass
class Bench:
    policy: WithoutPartner = WithoutPartner.DEGRADE
    log: list[str] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.etcd = FakeEtcd()
        self.claims = ToldClaims(self.etcd, self.log)
        self.primaries = FakePrimaries(self.log)
        self.active = {s.id: s.home for s in estate().systems.values()}
        for system in estate().systems.values():
            self.claims.birth(system.id, system.home)
        self.lease = self.etcd.grant(10_000_000).id
        self.etcd.put(site_key(LOST), "{}", self.lease)
        self.now = NOW
        self.restart()
        self.go(3)
        self.log.clear()
        self.bodies.clear()

    def restart(self) -> None:
        found = estate()
        hometax = replace(found.systems[HOMETAX], without_partner=self.policy)
        changed = replace(found, systems={**found.systems, HOMETAX: hometax})
        parts = Parts(changed, LOST, self.primaries, self.claims, self, lambda: self.active)
        self.task = SyncTask(parts)

    def append(self, body: Body, *, by: str) -> None:
        self.log.append(body.KIND)
        self.bodies.append(body)

    def go(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += timedelta(seconds=1)
            self.task.tick(self.now)

    @property
    def mode(self) -> SyncMode:
        return self.claims.syncs()[HOMETAX].mode


def test_where_all_is_well_etcd_is_told_once_and_then_not_even_asked() -> None:
    bench = Bench()
    assert bench.mode is SyncMode.SYNC
    before = bench.claims.reads
    bench.go(20)
    assert (bench.log, bench.claims.reads) == ([], before)


def test_alone_it_tells_etcd_then_the_journal_and_only_then_lets_commits_go() -> None:
    bench = Bench()
    bench.primaries.keepers = ()
    bench.go(8)
    assert bench.log == ["etcd async", "sync.degraded", "clear"]
    (told,) = bench.bodies
    assert isinstance(told, SyncDegraded)
    assert (told.system, told.site, told.lsn) == ("hometax", "daejeon", "0/3000060")
    assert "neither the copy nor the receiver at gwangju" in told.reason
    assert bench.claims.syncs()[HOMETAX].lsn == "0/3000060"


def test_where_the_estate_says_block_it_blocks() -> None:
    bench = Bench(WithoutPartner.BLOCK)
    bench.primaries.keepers = ()
    bench.go(60)
    assert (bench.log, bench.primaries.names) == ([], NAMES)


@pytest.mark.parametrize("trouble", ["lease", "epoch", "quorum"])
def test_without_the_say_over_the_system_commits_go_on_waiting(trouble: str) -> None:
    bench = Bench()
    bench.primaries.keepers = ()
    if trouble == "lease":
        bench.etcd.revoke(bench.lease)
    elif trouble == "epoch":
        epoch = bench.claims.epochs()[HOMETAX]
        bench.etcd.revoke(bench.lease)
        bench.claims.claim_epoch(HOMETAX, LOST, SURVIVOR, epoch.mod_revision, RunId("run-1"))
        bench.etcd.put(site_key(LOST), "{}", bench.etcd.grant(1000).id)
    else:
        bench.etcd.quorum = False
    bench.go(20)
    assert (bench.log, bench.primaries.names) == ([], NAMES)


def test_killed_between_etcd_and_the_clearing_the_next_one_goes_on() -> None:
    bench = Bench()
    bench.primaries.keepers, bench.primaries.dies_clearing = (), True
    with pytest.raises(Killed):
        bench.go(8)
    assert (bench.mode, bench.primaries.names) == (SyncMode.ASYNC, NAMES)
    since = bench.claims.syncs()[HOMETAX].since
    bench.primaries.dies_clearing = False
    bench.restart()
    bench.go(8)
    assert bench.primaries.names == ""
    assert [body.since for body in bench.bodies if isinstance(body, SyncDegraded)] == [since, since]


def test_when_the_copy_follows_again_commits_wait_first_and_etcd_is_told_last() -> None:
    bench = Bench()
    bench.primaries.keepers = ()
    bench.go(8)
    bench.log.clear()
    bench.primaries.keepers = (COPY,)
    bench.go(4)
    assert bench.log == ["require", "etcd sync", "sync.restored"]
    restored = bench.bodies[-1]
    assert isinstance(restored, SyncRestored)
    assert restored.unprotected_seconds > 0
    bench.log.clear()
    bench.go(10)
    assert bench.log == []


def test_at_the_other_site_nothing_is_looked_after() -> None:
    bench = Bench()
    bench.active = dict.fromkeys(bench.active, SURVIVOR)
    bench.primaries.keepers = ()
    bench.go(20)
    assert bench.log == []


def test_a_server_that_does_not_answer_is_looked_at_again() -> None:
    bench = Bench()
    bench.primaries.alive = False
    bench.go(3)
    bench.primaries.alive, bench.primaries.keepers = True, ()
    bench.go(8)
    assert "clear" in bench.log
