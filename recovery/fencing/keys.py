"""The keys under which etcd holds leases, epochs, open runs and holds, and what their values say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.etcd import KeyValue

SITES = "/ncia/sites/"
EPOCHS = "/ncia/epochs/"
RUNS = "/ncia/runs/"
SYNC = "/ncia/sync/"
HOLDS = "/ncia/holds/"
WORDS = "/ncia/words/"


@dataclass(frozen=True)
class Epoch:
    """Where a system is active by the third vote; ``mod_revision`` is what the next claim compares with."""

    system: SystemId
    epoch: int
    site: SiteId
    run: str
    mod_revision: int

    def value(self) -> str:
        return json.dumps({"epoch": self.epoch, "site": self.site, "run": self.run})


@dataclass(frozen=True)
class OpenRun:
    """A recovery run against ``lost``, carried out by ``site``."""

    lost: SiteId
    run: RunId
    site: SiteId

    def value(self) -> str:
        return json.dumps({"run": self.run, "site": self.site})


class SyncMode(StrEnum):
    SYNC = "sync"  # a commit is acknowledged only once the other site keeps it
    ASYNC = "async"  # commits wait for nobody


@dataclass(frozen=True)
class Sync:
    """Whether a system's commits wait for the other site, by the third vote: since when, from which WAL position on,
    and by whom it was so decided. It says ``async`` before the first commit that does not wait, and ``sync`` only when
    the other site has caught up. ``mod_revision`` is what the next change compares with; 0 for one never written."""

    system: SystemId
    mode: SyncMode
    since: str
    lsn: str
    by: str
    mod_revision: int = 0

    def value(self) -> str:
        return json.dumps({"mode": self.mode.value, "since": self.since, "lsn": self.lsn, "by": self.by})


@dataclass(frozen=True)
class Hold:
    """A run asks the site at which ``system`` is active under ``epoch`` to shut its gate for it: ``to_site`` takes it
    over. ``mod_revision`` is what the site's word and the claim compare with."""

    system: SystemId
    epoch: int
    run: RunId
    to_site: SiteId
    mod_revision: int

    def value(self) -> str:
        return json.dumps({"epoch": self.epoch, "run": self.run, "site": self.to_site})


@dataclass(frozen=True)
class HeldWord:
    """The old side's own word: its gate is shut for ``system``, because of the hold of that revision."""

    system: SystemId
    site: SiteId
    hold_revision: int
    at: str
    mod_revision: int

    def value(self) -> str:
        return json.dumps({"site": self.site, "hold": self.hold_revision, "at": self.at})


def site_key(site: SiteId) -> str:
    return SITES + site


def epoch_key(system: SystemId) -> str:
    return EPOCHS + system


def run_key(lost: SiteId) -> str:
    return RUNS + lost


def sync_key(system: SystemId) -> str:
    return SYNC + system


def sync_of(pair: KeyValue) -> Sync:
    told = pair.json()
    system = SystemId(pair.key.removeprefix(SYNC))
    since, lsn, by = str(told["since"]), str(told["lsn"]), str(told["by"])
    return Sync(system, SyncMode(told["mode"]), since, lsn, by, pair.mod_revision)


def hold_key(system: SystemId) -> str:
    return HOLDS + system


def word_key(system: SystemId) -> str:
    return WORDS + system


def epoch_of(pair: KeyValue) -> Epoch:
    told = pair.json()
    system = SystemId(pair.key.removeprefix(EPOCHS))
    return Epoch(system, int(told["epoch"]), SiteId(told["site"]), str(told.get("run") or ""), pair.mod_revision)


def run_of(pair: KeyValue) -> OpenRun:
    told = pair.json()
    return OpenRun(SiteId(pair.key.removeprefix(RUNS)), RunId(told["run"]), SiteId(told["site"]))


def hold_of(pair: KeyValue) -> Hold:
    told = pair.json()
    system = SystemId(pair.key.removeprefix(HOLDS))
    return Hold(system, int(told["epoch"]), RunId(told["run"]), SiteId(told["site"]), pair.mod_revision)


def word_of(pair: KeyValue) -> HeldWord:
    told = pair.json()
    system = SystemId(pair.key.removeprefix(WORDS))
    return HeldWord(system, SiteId(told["site"]), int(told["hold"]), str(told.get("at", "")), pair.mod_revision)
