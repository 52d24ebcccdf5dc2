"""Composition of a controller's mirrors: its own stores, and the journal that they write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.state import StateStore

if TYPE_CHECKING:
    from backup.replicate.task import MirrorTask


def mirror_task(
    settings: SiteSettings,
    estate: Estate,
    journal: Journal,
    state: StateStore,
    clock: Clock,
    active: Callable[[], Mapping[SystemId, tuple[SiteId, int]]],
) -> MirrorTask:
    from backup.replicate.task import MirrorTask, Parts
    from ncia.app.documents import DocumentStores

    return MirrorTask(
        Parts(
            estate=estate,
            site=settings.site,
            journal=journal,
            states=state,
            stores=DocumentStores(estate, settings.site, settings.secrets),
            clock=clock,
            active=lambda: {system: at for system, (at, _) in active().items()},
        )
    )
