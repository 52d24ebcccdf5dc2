"""What a system *is*, beside its data: the files that make it up at each site, and what may differ between sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ncia.core.base.ids import HostId, SiteId


class ItemKind(StrEnum):
    PACKAGES = "packages"  # one a line: name and version
    CONFIGURATION = "configuration"
    TIMERS = "timers"
    CERTIFICATE = "certificate"
    ZONE = "zone"  # the records of its names
    SCHEMA = "schema"  # its first line is the version that the program expects of its database


@dataclass(frozen=True)
class ProgramItem:
    """One file or folder of the program; ``path`` is relative to the program's folder."""

    kind: ItemKind
    path: str


@dataclass(frozen=True)
class ProgramPlace:
    """Where the program lies at one site. ``values`` are what may differ there, by name: its own addresses."""

    site: SiteId
    host: HostId
    folder: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Program:
    """Everything in ``folder`` belongs to it; ``items`` name what must be there."""

    items: tuple[ProgramItem, ...]
    places: Mapping[SiteId, ProgramPlace]

    def kind_of(self, path: str) -> ItemKind | None:
        """Of what kind a file is; None where no item covers it."""
        return next((i.kind for i in self.items if path == i.path or path.startswith(f"{i.path}/")), None)
