"""Documents: the port to a file tree or bucket that backup, monitors and the hosted systems share, and what a name is.

Adapters are in ``backup/replicate/stores``; ``ncia.app.documents`` chooses between them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError, Refusal

DOCUMENT_BYTES_MAX = 64 * 1024 * 1024  # read and compared in memory; a larger one is told, never skipped in silence
NAME_BYTES_MAX = 900  # S3 takes 1024
OWN = ".ncia"  # the platform's own folder in each tree and bucket
MARK = f"{OWN}/canary"
FOLDER_SECONDS = 10
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class StoreFull(NciaError):
    """The store has no room: nothing of the document was kept under its name."""


class NotKept(NciaError):
    """The store said that it took a document and holds other bytes, or none."""


@dataclass(frozen=True)
class Seen:
    """A document as a store lists it. ``modified_at``: seconds since 1970 by the store's clock; ``tag``: the MD5 (hex)
    of its content where the store tells one, else empty."""

    name: str
    size_bytes: int
    modified_at: float
    tag: str = ""


@dataclass(frozen=True)
class Folder:
    """What lies directly in one folder; names are whole, from the root. ``refused``: names that nobody may copy."""

    documents: tuple[Seen, ...] = ()
    folders: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Documents(Protocol):
    """One tree or bucket at one site. Safe to use from many threads; every call ends within the adapter's time-outs.

    Raises :class:`~ncia.core.base.errors.Unreachable` where the store did not answer (whether it acted is unknown),
    :class:`StoreFull`, :class:`NotKept`, :class:`Refusal` for a name that leaves the tree, else :class:`NciaError`.
    """

    @property
    def where(self) -> str:
        """The store, for a person."""
        ...

    def put(self, name: str, content: bytes, modified_at: float | None = None) -> None:
        """Keep ``content`` under ``name``, whole or not at all, durable as far as the store can say so when this
        returns. What was there before is replaced. ``modified_at`` is kept where the store can."""
        ...

    def get(self, name: str) -> bytes | None:
        """The content; ``None`` where there is no such document."""
        ...

    def look(self, folder: str) -> Folder:
        """What lies directly in ``folder`` (empty: the root); an empty folder where there is none. Names with a part
        below ``folder`` that begins with a dot are the store's or the platform's own, and left out."""
        ...

    def close(self) -> None: ...


def demand_name(name: str) -> str:
    """``name`` where it stays in its tree, whatever store reads it; raises :class:`Refusal` where it might not."""
    why = fault_of(name)
    if why:
        raise Refusal(
            "documents.bad-name", f"use the document name {name[:120]!r}", why, "a relative path, as letters/a"
        )
    return name


def fault_of(name: str) -> str:
    """Why a document may not be called so; empty where it may."""
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name:
        return "it is empty, absolute, or holds a backslash"
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty part, '.' or '..'"
    if CONTROL.search(name):
        return "it holds a control character"
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is no UTF-8"
    return f"it is longer than {NAME_BYTES_MAX} bytes" if size > NAME_BYTES_MAX else ""


def is_own(name: str) -> bool:
    """Whether a listed name is the store's or the platform's own, and no document of the system."""
    return name.startswith(".") or "/." in name


@dataclass(frozen=True)
class Mark:
    """The canary of a tree or bucket: when it was written at the active site, and under which epoch."""

    written_at: datetime
    epoch: int

    def to_bytes(self) -> bytes:
        return json.dumps({"written_at": to_text(self.written_at), "epoch": self.epoch}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Mark | None:
        """The mark; ``None`` where the bytes are none."""
        try:
            told = json.loads(content)
            return cls(from_text(told["written_at"]), int(told["epoch"]))
        except (ValueError, KeyError, TypeError):
            return None


def time_folder(moment: datetime) -> str:
    """The folder of a document that is acknowledged at ``moment``, in a dataset with ``partition: time``: one for each
    ten seconds, so that looking for what is new costs the same however full a day is."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y/%m/%d/%H%M}/{utc.second // FOLDER_SECONDS * FOLDER_SECONDS:02}"
