"""What each part of a controller stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.state import StateStore


@dataclass(frozen=True)
class Ground:
    """``active``: where each system is active, and under which epoch; ``closing``: what is let go of at the end."""

    settings: SiteSettings
    estate: Estate
    journal: Journal
    state: StateStore
    clock: Clock
    active: Callable[[], Mapping[SystemId, tuple[SiteId, int]]]
    closing: ExitStack

    def active_at(self) -> dict[SystemId, SiteId]:
        return {system: at for system, (at, _) in self.active().items()}
