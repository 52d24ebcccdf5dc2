"""Programs in their agency's repository: the archive as it lies in the store, and beside it the files that are in it.

The archive is what the journal vouches for, and what goes back into a store. The files are there for whoever has the
repository and nothing else: a restore of the snapshot, ours or restic's, is the program's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from backup.agencies.bringing import MOUNTED, Bringing, since
from backup.agencies.perform import Tools
from backup.agencies.points_plan import BRING_PROGRAM, KEEP_PROGRAM
from backup.agencies.room import Room
from backup.program.archive import unpack
from backup.program.ports import Archives
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate, Host
from ncia.core.journal.entries import ProgramBrought, ProgramCaptured
from ncia.core.work.jobs import Job, StepFailed, Steps, Work

ARCHIVE, FILES = "program.tar", "files"  # in the snapshot


@dataclass(frozen=True)
class ArchiveTools:
    """``store``: the host of this site's store, ``root`` the folder there."""

    archives: Archives
    store: Host
    root: PurePosixPath


class ArchiveWork(Bringing):
    """Carries out the jobs, in whichever process they run."""

    def __init__(self, estate: Estate, site: SiteId, tools: Tools, room: Room, archives: ArchiveTools) -> None:
        super().__init__(estate, site, tools, room)
        self._archives = archives

    def works(self) -> Mapping[str, Work]:
        return {KEEP_PROGRAM: self.keep, BRING_PROGRAM: self.bring}

    def keep(self, job: Job, steps: Steps) -> str:
        """The archive that was chosen when the job was ordered, as it lies in this site's store."""
        captured = ProgramCaptured.model_validate(job.order.details["archive"])
        holds = {"subject": captured.path, "store_site": captured.store_site, "sha256": captured.sha256}
        told = self._keep_staged(job, steps, holds, partial(self._fill, captured))
        return f"{captured.path}: {told}"

    def _fill(self, captured: ProgramCaptured, folder: Path) -> None:
        what = f"bring {captured.path} out of the store of {captured.store_site}"
        archive = self._archives.archives.held(self._archives.store, self._archives.root / _inside(captured.path, what))
        _demand_same(archive, captured, what)
        with self._room.promise(folder.name, 2 * len(archive), what):
            (folder / ARCHIVE).write_bytes(archive)
            (folder / FILES).mkdir(mode=0o700)
            try:
                unpack(archive, folder / FILES)
            except ValueError as fault:
                raise Refusal("agency.hostile", what, str(fault), "look at the host of that program") from fault

    def bring(self, job: Job, steps: Steps) -> str:
        """The archive out of the repository and into this site's store, under its own name. What lies there under that
        name, and is not what was journalled, is kept aside."""
        agency, _ = self._agency(job)
        captured = ProgramCaptured.model_validate(job.order.details["archive"])
        what = f"bring {captured.path} back into the store of {self._site}"
        began = self._tools.clock.now()
        self._demand_store(job, steps)
        if steps.do("look at it", lambda: self._is_whole(captured, what)):
            return f"{captured.path} is in {self._site}'s store as it was made: nothing was to be brought"
        done = steps.do("bring", lambda: self._brought(job, agency, what, partial(self._put_back, captured, what)))
        body = ProgramBrought(
            job=job.id,
            dataset=captured.dataset,
            agency=agency.id,
            from_site=done["from_site"],
            snapshot=done["snapshot"],
            store_site=self._site,
            path=captured.path,
            sha256=captured.sha256,
            size_bytes=captured.size_bytes,
            seconds=since(self._tools.clock, began),
        )
        steps.clean("write down", lambda: self._write(steps, body))
        aside = "; what lay there under its name was damaged and is kept aside" if done["damaged"] else ""
        return (
            f"{captured.path} is back from {done['from_site']}'s place in {self._site}'s store, as it was made{aside}"
        )

    def _demand_store(self, job: Job, steps: Steps) -> None:
        """As for points: nothing is put into a folder in which a store should be mounted."""
        tools = self._archives
        holds_any = partial(tools.archives.holds_any, tools.store, tools.root)
        if job.order.details.get("expects_any") and not steps.do("look for the store", holds_any):
            told = f"the journal lists copies in the store of {self._site}, and neither a point nor an archive is in it"
            raise StepFailed(f"{told}: {MOUNTED}")

    def _is_whole(self, captured: ProgramCaptured, what: str) -> bool:
        path = self._archives.root / _inside(captured.path, what)
        try:
            archive = self._archives.archives.held(self._archives.store, path)
        except Unreachable:
            raise
        except NciaError:  # it is not there, or its disk does not give it
            return False
        return hashlib.sha256(archive).hexdigest() == captured.sha256

    def _put_back(self, captured: ProgramCaptured, what: str, folder: Path) -> dict[str, Any]:
        archive = (folder / ARCHIVE).read_bytes()
        _demand_same(archive, captured, what)
        path = self._archives.root / _inside(captured.path, what)
        if self._is_whole(captured, what):  # an attempt before this one has put it there
            return {"damaged": False}
        damaged = self._archives.archives.set_aside(self._archives.store, path)
        self._archives.archives.keep(self._archives.store, path.parent, path.name, archive)
        return {"damaged": damaged}


def _demand_same(archive: bytes, captured: ProgramCaptured, what: str) -> None:
    if hashlib.sha256(archive).hexdigest() != captured.sha256:
        raise NciaError("agency.damaged", what, "it is not what was journalled when it was made", "ncia backup look")


def _inside(path: str, what: str) -> str:
    """A path below the root: journals are written by either site."""
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise NciaError("agency.hostile", what, f"{path!r} leads out of the store")
    return path
