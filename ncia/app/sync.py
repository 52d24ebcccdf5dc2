"""Composition of the task that keeps etcd's word on synchronous commits true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal

if TYPE_CHECKING:
    from recovery.sync_task import SyncTask


def sync_task(
    settings: SiteSettings,
    estate: Estate,
    journal: Journal,
    active: Callable[[], Mapping[SystemId, tuple[SiteId, int]]],
    closing: ExitStack,
) -> SyncTask:
    """On the servers of our own site and the real etcd, with connections of its own."""
    from recovery.actions.postgresql import PostgresDatabases
    from recovery.fencing.claims import Claims
    from recovery.fencing.etcd import Etcd
    from recovery.sync_task import Parts, SyncTask

    site = settings.site
    primaries = PostgresDatabases(estate, site, settings.secrets / "pgpass")
    closing.callback(primaries.close)

    def where() -> dict[SystemId, SiteId]:
        return {system: at for system, (at, _) in active().items()}

    return SyncTask(Parts(estate, site, primaries, Claims(Etcd.of(estate, site)), journal, where))
