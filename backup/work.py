"""What jobs of protecting do: the works of the verbs ``protect``, ``prove``, ``verify`` and ``copy``."""

from __future__ import annotations

from collections.abc import Mapping

from backup.perform import Performer
from backup.plan import Charge
from ncia.core.base.ids import DatasetId, SiteId
from ncia.core.estate.model import Estate
from ncia.core.journal.entries import BackupFinished, ProofFinished
from ncia.core.work.jobs import Job, StepFailed, Steps, Work


class Protecting:
    """Carries out jobs with one performer, in whichever process they run."""

    def __init__(self, estate: Estate, performer: Performer) -> None:
        self._estate = estate
        self._performer = performer

    def works(self) -> Mapping[str, Work]:
        return {"protect": self.protect, "prove": self.prove, "verify": self.verify, "copy": self.copy}

    def protect(self, job: Job, steps: Steps) -> str:
        """Back up, prove, then let go of points that newer, proven ones have made needless."""
        charge, by = self._charge(job), job.order.by
        taken = self._performer.back_up(steps, charge, job.order.due_at, by)
        proof = self._performer.prove(steps, taken, charge.dataset.database, by)
        self._performer.retire(steps, charge)
        return judged(proof)

    def prove(self, job: Job, steps: Steps) -> str:
        """Restore and compare once more the point that was chosen when the job was ordered."""
        charge = self._charge(job)
        point = BackupFinished.model_validate(job.order.details["point"])
        return judged(self._performer.prove(steps, point, charge.dataset.database, job.order.by))

    def verify(self, job: Job, steps: Steps) -> str:
        """Read the point again that was chosen when the job was ordered."""
        point = BackupFinished.model_validate(job.order.details["point"])
        told = self._performer.read_again(steps, point, job.order.by)
        if not told.matched:
            raise StepFailed(f"{told.point} is not what was written: {told.why}")
        return f"{told.point}: {told.files} files, {told.size_bytes} bytes as they were written"

    def copy(self, job: Job, steps: Steps) -> str:
        """Bring the point that was chosen when the job was ordered from the other site's store into ours."""
        point = BackupFinished.model_validate(job.order.details["point"])
        copied = self._performer.copy(steps, point, str(job.order.details["store_site"]), job.order.by)
        size = f"{copied.files} files, {copied.size_bytes / 1e6:.0f} MB"
        return f"{copied.point} is at {copied.store_site} too: {size} as they were written, in {copied.seconds:g} s"

    def _charge(self, job: Job) -> Charge:
        details = job.order.details
        dataset = self._estate.datasets.get(DatasetId(job.order.dataset))
        if dataset is None:
            raise StepFailed(f"{job.order.dataset} is not in the estate any more")
        interval = float(details["interval_seconds"])
        return Charge(dataset, SiteId(details["source_site"]), SiteId(details["store_site"]), interval)


def judged(proof: ProofFinished) -> str:
    """The sentence of a proof that matched; raises :class:`StepFailed` with that of one that did not."""
    if not proof.matched:
        raise StepFailed(f"{proof.point} is not its source: {'; '.join(proof.differences)}")
    rows = sum(each.rows for each in proof.copy_)
    return f"{proof.point} restored in {proof.restore_seconds:g} s; {len(proof.copy_)} tables, {rows} rows the same"
