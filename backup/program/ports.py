"""What comparing and copying programs needs from the world."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Protocol

from backup.program.inventory import File
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate.model import Host, System


class Archives(Protocol):
    """Archives of programs in a store."""

    def held(self, host: Host, path: PurePosixPath) -> bytes:
        """What lies there under that name. Raises :class:`ncia.core.base.errors.NciaError` where it cannot be read."""
        ...

    def keep(self, host: Host, folder: PurePosixPath, name: str, archive: bytes) -> str:
        """Hold an archive durably; answers the SHA-256 of what lies there then."""
        ...

    def set_aside(self, host: Host, path: PurePosixPath) -> bool:
        """Keep what lies there, readable or not, beside it as ``.damaged-<name>``; false where nothing does."""
        ...

    def holds_any(self, host: Host, root: PurePosixPath) -> bool:
        """Whether any point or archive at all is in the store: one that is not mounted looks like one that burnt."""
        ...


class Programs(Archives, Protocol):
    """Programs on hosts. Each method raises :class:`ncia.core.base.errors.NciaError` where a host does not answer."""

    def listed(self, host: HostId, folders: Iterable[str]) -> dict[str, dict[str, File]]:
        """By folder, the files below it; an empty one, or none at all, has no files."""
        ...

    def read(self, host: HostId, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of files; what is gone by now or too long to compare is left out."""
        ...

    def packed(self, host: HostId, folder: str) -> bytes:
        """The whole folder as one archive: the same bytes for the same content."""
        ...


class Schemas(Protocol):
    def version(self, system: System, site: SiteId) -> str:
        """The schema version that the system's database bears at a site; empty where it bears none. Raises
        :class:`ncia.core.base.errors.Unreachable` where it does not answer."""
        ...
