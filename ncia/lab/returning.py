"""How a site comes back after a blackout: its warden first, and no postmaster before the epochs were read.

A database that was promoted elsewhere meanwhile must not come up as a primary. The lab starts what a site's own
start-up would; ``ncia fence-watch`` stops an old primary all the same, and the gate lets nobody through to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ncia.core.base.clock import from_text
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.lab import readiness
from ncia.lab.processes import Spec, Started

FIRST = ("etcd", "warden")
CLUSTER = "postgres/"
READ_FROM_ETCD = ("lease held", "fenced: recovery run")


def in_order(specs: Sequence[Spec]) -> tuple[list[Spec], list[Spec]]:
    """What starts before the epochs are read, and what only then."""
    first = [spec for spec in specs if spec.name in FIRST]
    return first, [spec for spec in specs if spec not in first]


def wait_for_epochs(settings: SiteSettings, began: datetime) -> Mapping[str, str]:
    """Where each system is active, as the returned site's warden has read it from etcd since ``began``."""
    readiness.wait(f"the warden of {settings.site} has read the epochs", lambda: bool(reads(settings, began)))
    return reads(settings, began)


def reads(settings: SiteSettings, began: datetime) -> Mapping[str, str]:
    """Empty where lease.json is of before ``began``, or says what was not read from etcd."""
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        told = json.loads((settings.run / "lease.json").read_text())
    fresh = bool(told.get("as_of")) and from_text(told["as_of"]) > began
    if not fresh or not str(told["reason"]).startswith(READ_FROM_ETCD):
        return {}
    return {system: str(standing["site"]) for system, standing in told["systems"].items()}


def is_old_primary(spec: Spec, site: SiteId, active: Mapping[str, str]) -> bool:
    """A cluster that would come up as a primary (nothing tells it to follow) of a system that is active elsewhere."""
    if not spec.name.startswith(CLUSTER) or (spec.folder / "standby.signal").exists():
        return False
    return active.get(spec.name.removeprefix(CLUSTER), site) != site


def not_started(spec: Spec) -> Started:
    """The record of a process that the lab leaves to the platform to start."""
    return Started(spec.site, spec.name, 0, 0)
