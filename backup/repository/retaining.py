"""What a place can do against its own account: keep files from it for a time, and bring back what it hid.

A port beside :class:`~backup.repository.ports.Store`. A folder, or a host over SFTP, does not fill it; of an account
that may only add, a host over SFTP gives the verdict and tells what it can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from backup.repository.format.layout import told
from backup.repository.ports import Kind, Store, StoreFault
from ncia.core.base.errors import NciaError

File = tuple[Kind, str]
NAMED_MAX = 5


class Mode(StrEnum):
    """S3's two: nobody shortens COMPLIANCE; whoever has the right to bypass it may lift GOVERNANCE."""

    COMPLIANCE = "COMPLIANCE"
    GOVERNANCE = "GOVERNANCE"


@dataclass(frozen=True)
class Retention:
    """How long each file is kept from being removed, counted from when it was last saved or extended."""

    mode: Mode
    days: int

    def __post_init__(self) -> None:
        if self.days < 1:
            raise NciaError(
                "repository.bad-retention", f"retain files for {self.days} days", "it is less than one", "1 or more"
            )

    def __str__(self) -> str:
        return f"{self.mode} for {self.days} day{'' if self.days == 1 else 's'}"

    def until(self, now: datetime) -> datetime:
        """In whole seconds, as stores keep it, and never earlier than asked."""
        return (now + timedelta(days=self.days, seconds=1)).replace(microsecond=0)


@dataclass(frozen=True)
class Verdict:
    """What an attack on a file of our own came to, with our own credentials. ``broken`` are the ways that succeeded,
    a sentence each; ``tried`` all of them."""

    where: str
    tried: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.broken

    def demand(self, hint: str) -> None:
        """Raises ``repository.pretends`` where something succeeded."""
        if self.broken:
            raise StoreFault("repository.pretends", f"prove that {self.where} holds", "; ".join(self.broken), hint)


@dataclass(frozen=True)
class Capabilities:
    """``mode``: how files are asked to be retained, None where the place cannot. ``adds_only``: the place says that our
    account may add files, and neither remove nor replace any. ``proven``: this process has attacked the place with its
    own credentials, and it held; until then all is hearsay. ``undeletes``: hidden files can be brought back."""

    mode: Mode | None = None
    proven: bool = False
    undeletes: bool = False
    adds_only: bool = False


@dataclass(frozen=True)
class Undeleted:
    """``back``: what can be read again. ``gone``: what cannot be, by nobody's doing: no good version is left."""

    back: tuple[File, ...]
    gone: tuple[File, ...]

    def __str__(self) -> str:
        named = ", ".join(told(*each) for each in self.gone[:NAMED_MAX])
        more = f" and {len(self.gone) - NAMED_MAX} more" if len(self.gone) > NAMED_MAX else ""
        lost = f"gone for good: {named}{more}" if self.gone else "nothing is known to be gone for good"
        return f"{len(self.back)} file{'' if len(self.back) == 1 else 's'} brought back; {lost}"


@runtime_checkable
class Retaining(Protocol):
    """What is saved through such a store is retained when ``save`` returns. Locks are not: they are to be removed."""

    def retention(self) -> Retention | None:
        """How files are retained here; None where they are not. Raises StoreFault where the place leaves it open."""
        ...

    def saved_before(self, kind: Kind, moment: datetime) -> Iterator[str]:
        """Names of files that were saved before then and not since, by the place's own clock."""
        ...

    def capabilities(self) -> Capabilities: ...

    def prove(self) -> Verdict:
        """Attack a small file of one's own with one's own credentials; costs a few requests. Raises StoreFault."""
        ...

    def retained_until(self, kind: Kind, name: str) -> datetime | None:
        """What the place says of it; None where it is not retained. Raises Missing."""
        ...

    def extend(self, kind: Kind, name: str, until: datetime) -> None:
        """Retained until then or later, read back; never less than before. Raises Missing and StoreFault."""
        ...

    def undelete(self, since: datetime, expected: Collection[File] = ()) -> Undeleted:
        """Bring back what was removed or replaced since; what had been removed before stays so. ``expected`` are files
        that must be there: one that left no trace is found missing by them alone."""
        ...


class RetainedStore(Store, Retaining, Protocol):
    """Both: what a bucket with Object Lock is."""


def longer(first: Retention | None, second: Retention | None) -> Retention | None:
    """What satisfies both."""
    if first is None or second is None:
        return first or second
    mode = Mode.COMPLIANCE if Mode.COMPLIANCE in (first.mode, second.mode) else Mode.GOVERNANCE
    return Retention(mode, max(first.days, second.days))


def capabilities_of(store: object) -> Capabilities:
    """What ``store`` can do against its own account: nothing, unless it says so."""
    told_by = getattr(store, "capabilities", None)
    found = told_by() if callable(told_by) else None
    return found if isinstance(found, Capabilities) else Capabilities()
