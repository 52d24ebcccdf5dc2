"""The keys under which etcd holds leases, epochs and open runs, and what their values say."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.etcd import KeyValue

SITES = "/ncia/sites/"
EPOCHS = "/ncia/epochs/"
RUNS = "/ncia/runs/"


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


def site_key(site: SiteId) -> str:
    return SITES + site


def epoch_key(system: SystemId) -> str:
    return EPOCHS + system


def run_key(lost: SiteId) -> str:
    return RUNS + lost


def epoch_of(pair: KeyValue) -> Epoch:
    told = pair.json()
    system = SystemId(pair.key.removeprefix(EPOCHS))
    return Epoch(system, int(told["epoch"]), SiteId(told["site"]), str(told.get("run") or ""), pair.mod_revision)


def run_of(pair: KeyValue) -> OpenRun:
    told = pair.json()
    return OpenRun(SiteId(pair.key.removeprefix(RUNS)), RunId(told["run"]), SiteId(told["site"]))
