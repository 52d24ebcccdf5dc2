"""Recovery points in their agency's repository: kept as snapshots at both places, and brought back into a store.

A store keeps points as plain folders, for PostgreSQL's own programs work on nothing else. A job reads the newest proven
one out of it into a folder of this machine, compares it with its manifest, and keeps that folder. The way back is the
same: out of a repository, compared, into a store under the point's own name, and there it is proven again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backup.agencies.bringing import MOUNTED, Bringing, since
from backup.agencies.manifest import DESCRIPTION, MANIFEST, Digests, description_fault, fault_of
from backup.agencies.perform import Tools
from backup.agencies.points_plan import BRING_POINT, KEEP_POINT
from backup.agencies.room import Room
from backup.agencies.unpacking import Unpacking, digests_below, packed
from backup.plan import attempt_name
from backup.ports import CopyDamaged, Passage
from ncia.core.base.ids import DatasetId, SiteId
from ncia.core.estate.model import Agency, Estate
from ncia.core.journal.entries import BackupFinished, PointBrought, PointRehashed, ProofFinished
from ncia.core.work.jobs import Cancelled, Job, StepFailed, Steps, Work

HINT = "ncia backup rehash tells how it is where it lies; ncia backup run takes a new one"

Prove = Callable[[Steps, BackupFinished, str, str], ProofFinished]
"""As :meth:`backup.perform.Performer.prove`."""


@dataclass(frozen=True)
class PointTools:
    """``store``: this site's; ``prove``: restores a point of it and compares it with its source's sums."""

    store: Passage
    prove: Prove


class PointWork(Bringing):
    """Carries out the jobs, in whichever process they run."""

    def __init__(self, estate: Estate, site: SiteId, tools: Tools, room: Room, points: PointTools) -> None:
        super().__init__(estate, site, tools, room)
        self._points = points

    def works(self) -> Mapping[str, Work]:
        return {KEEP_POINT: self.keep, BRING_POINT: self.bring}

    def keep(self, job: Job, steps: Steps) -> str:
        """The point that was chosen when the job was ordered, as it lies in this site's store."""
        point = BackupFinished.model_validate(job.order.details["point"])
        holds = {"subject": point.point, "store_site": point.store_site, "sha256": point.manifest_sha256}
        told = self._keep_staged(job, steps, holds, partial(self._fill, point))
        return f"{point.point} of {point.dataset}: {told}"

    def _fill(self, point: BackupFinished, folder: Path) -> None:
        what = f"bring {point.path} out of the store of {point.store_site}"
        with Unpacking(folder, self._room, what) as unpacking:
            self._points.store.read(point, unpacking.take)
            unpacking.end()
        demand_same(folder, unpacking.found, point, what)

    def bring(self, job: Job, steps: Steps) -> str:
        """The point out of the repository and into this site's store, under its own name; then it is proven."""
        agency, _ = self._agency(job)
        dataset = self._of(job)
        point = BackupFinished.model_validate(job.order.details["point"])
        here = point.model_copy(update={"store_site": self._site, "path": f"{point.dataset}/{point.point}"})
        self._demand_store(job, steps)
        self._tell_gone(job, steps)
        is_listed = bool(job.order.details["is_listed"])
        if is_listed and steps.do("look at it", lambda: self._points.store.is_whole(here)):
            if job.order.details.get("is_own"):  # it may have been told gone, or damaged, while it was not to be seen
                steps.clean("tell that it is whole", partial(self._write, steps, _rehashed(job, here)))
            return f"{point.point} is in {self._site}'s store as it was written: nothing was to be brought"
        try:
            done = steps.do("bring", lambda: self._bring(steps, agency, here))
        except (StepFailed, Cancelled):
            steps.clean("give up", lambda: self._discard(steps, steps.job.fence))
            raise
        told = here.model_dump(exclude={"job", "seconds", "source"})
        body = PointBrought(
            job=job.id,
            agency=agency.id,
            from_site=done["from_site"],
            snapshot=done["snapshot"],
            taken_at=str(job.order.details["taken_at"]),
            taken_by=point.job,
            taken_seconds=point.seconds,
            source=point.source,
            seconds=done["seconds"],
            **told,
        )
        steps.clean("write down", lambda: self._write(steps, body))
        aside = "; what lay there under its name was damaged and is kept aside" if done["damaged"] else ""
        sentence = f"{point.point} is back from {done['from_site']}'s place in {self._site}'s store{aside}"
        if not point.compare_lsn:
            return f"{sentence}; its source was never summed up, so nothing can be proven of it"
        proof = self._points.prove(steps, here, dataset.database, job.order.by)
        if not proof.matched:
            raise StepFailed(f"{sentence}, and is not its source: {'; '.join(proof.differences)}")
        return f"{sentence}; restored in {proof.restore_seconds:g} s, {len(proof.copy_)} tables the same"

    def _demand_store(self, job: Job, steps: Steps) -> None:
        """A store that is not mounted looks like one that burnt. Nothing is told gone, nor put there, for that."""
        expects = job.order.details.get("expects_points")
        if expects and not steps.do("look for the store", self._points.store.holds_points):
            told = f"the journal lists points in the store of {self._site}, and no point at all is in it"
            raise StepFailed(f"{told}: {MOUNTED}")

    def _tell_gone(self, job: Job, steps: Steps) -> None:
        """Of a store that burnt the journal still lists what was in it: what is not there counts no longer, so that
        what comes back is the newest that does."""
        listed = {each["path"]: BackupFinished.model_validate(each) for each in job.order.details["listed"]}
        gone = steps.do("look", lambda: sorted({*listed} - {*self._points.store.present(tuple(listed))}))
        for path in gone:
            lost = listed[path]
            body = _rehashed(job, lost, f"it is not in the store of {lost.store_site}")
            steps.clean(f"tell that {lost.point} is gone", partial(self._write, steps, body))

    def _bring(self, steps: Steps, agency: Agency, here: BackupFinished) -> dict[str, Any]:
        began = self._tools.clock.now()
        what = f"bring {here.point} of {here.dataset} back into the store of {self._site}"
        self._discard(steps, steps.job.fence - 1)
        done = self._brought(steps.job, agency, what, partial(self._put_back, steps, here, what))
        return {**done, "seconds": since(self._tools.clock, began)}

    def _put_back(self, steps: Steps, here: BackupFinished, what: str, folder: Path) -> dict[str, Any]:
        try:
            found = digests_below(folder)
        except ValueError as fault:
            raise CopyDamaged("agency.damaged", what, str(fault), HINT) from fault
        demand_same(folder, found, here, what)
        place = attempt_name(steps.job.id, steps.job.fence)
        return {"damaged": self._points.store.put_back(place, here, packed(folder))}

    def _discard(self, steps: Steps, fence_max: int) -> None:
        """Remove what this job's attempts up to that one left in the store."""
        for fence in range(1, fence_max + 1):
            self._points.store.discard(attempt_name(steps.job.id, fence), DatasetId(steps.job.order.dataset))


def demand_same(folder: Path, found: Digests, point: BackupFinished, what: str) -> None:
    """Raises :class:`CopyDamaged` unless these files are the point that was journalled."""
    manifest, description = (_content(folder / name, name in found) for name in (MANIFEST, DESCRIPTION))
    why = fault_of(manifest, found, point.manifest_sha256)
    why = why or description_fault(description, point.point, point.manifest_sha256)
    if why:
        raise CopyDamaged("agency.damaged", what, why, HINT)


def _rehashed(job: Job, point: BackupFinished, why: str = "") -> PointRehashed:
    return PointRehashed(
        job=job.id,
        point=point.point,
        dataset=point.dataset,
        store_site=point.store_site,
        matched=not why,
        manifest_sha256=point.manifest_sha256,
        size_bytes=point.size_bytes,
        files=point.files,
        seconds=0.0,
        why=why,
    )


def _content(path: Path, there: bool) -> bytes:
    return path.read_bytes() if there else b""
