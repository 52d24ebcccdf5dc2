"""Composition of what a controller does with programs: comparing, copying, and telling recovery what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.state import StateStore

if TYPE_CHECKING:
    from backup.program.task import ProgramTask


def program_task(
    settings: SiteSettings,
    estate: Estate,
    journal: Journal,
    state: StateStore,
    active: Callable[[], Mapping[SystemId, tuple[SiteId, int]]],
    closing: ExitStack,
) -> ProgramTask:
    from backup.engines.schema import PostgresSchemas
    from backup.program.hosts import SshPrograms
    from backup.program.task import Parts, ProgramTask
    from ncia.app.ssh import SshRemote

    remote = SshRemote(estate, settings.site, settings.secrets)  # of its own: a look never waits behind a backup
    closing.callback(remote.close)
    return ProgramTask(
        Parts(
            estate=estate,
            site=settings.site,
            journal=journal,
            states=state,
            programs=SshPrograms(estate, remote),
            schemas=PostgresSchemas(estate, settings.site, settings.secrets / "pgpass"),
            store=estate.host_of(settings.site, "store"),
            root=PurePosixPath(settings.store),
            active=lambda: {system: at for system, (at, _) in active().items()},
        )
    )


def drift_of(estate: Estate, state: StateStore) -> Callable[[SystemId], tuple[str, ...]]:
    """How the programs of a system differ between its sites, as they were last compared."""

    def drift(system: SystemId) -> tuple[str, ...]:
        known = state.snapshot().programs
        facts = (known.get(dataset.id) for dataset in estate.systems[system].datasets)
        return tuple(d for fact in facts if fact and fact.compared for d in fact.compared.differences)

    return drift
