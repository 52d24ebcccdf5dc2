"""What jobs do to a place of an agency's repository that is made: mend it, read it again, prune it.

Each step may be done twice; what the journal holds is not written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from backup.agencies.acting import LOST_NAMED_MAX, Acting
from backup.agencies.clearing import PRUNE, lacking
from backup.agencies.plan import MEND
from backup.agencies.ports import Share
from backup.agencies.proving import PROVE
from backup.agencies.reading import CHECK
from backup.agencies.restoring import Made, proven
from backup.agencies.retaining import broken
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SHORT, SiteId
from ncia.core.estate.model import Agency, BucketCopy, Dataset
from ncia.core.journal.entries_care import (
    PruneFailed,
    PruneStarted,
    RepositoryMended,
    SnapshotMended,
    SnapshotProofFailed,
    SnapshotProven,
)
from ncia.core.journal.entries_repositories import RepositoryChecked, RepositoryPruned
from ncia.core.work.jobs import Cancelled, Job, StepFailed, Steps, Work

PROOFS = "proofs"  # beside what is staged


class Caring(Acting):
    """Carries out the jobs that look after this site's own place."""

    def works(self) -> Mapping[str, Work]:
        return {MEND: self.mend, CHECK: self.check, PRUNE: self.prune, PROVE: self.prove}

    def mend(self, job: Job, steps: Steps) -> str:
        """This site's place, from its twin at the other one. What a reading found faults in is read for it, and once
        more when it is mended, so that the journal says what holds now."""
        agency, repository = self._agency(job)
        other = next(site for site in repository.places if site != self._site)
        shares = [Share(*part) for part in job.order.details.get("parts", ())]
        mended: dict[str, None] = {}
        lost: dict[str, None] = {}
        wanted: list[Share | None] = [*shares] or [None]
        for share in wanted:
            name = f"mend part {share.number} of {share.of}" if share else "mend"
            healed = self._unless_locked(steps, name, partial(self._mend, agency, other, share))
            mended |= dict.fromkeys(healed["mended"])
            lost |= dict.fromkeys(healed["lost"])
        if mended or job.fence > 1:  # an attempt before this one may have brought what is found well now
            self._tell_mended(steps, agency, other, [*mended])
        self._brought(job, steps, agency, other)
        left = [fault for share in shares for fault in self._read(steps, agency, share)["named"]]
        if lost:
            told = f"lost for good: {'; '.join([*lost][:LOST_NAMED_MAX])}"
            officer = f"for the retention officer: ncia backup write-off {agency.id}"
            raise StepFailed(f"{told}; snapshots that neither site has are {officer}")
        if left:
            raise StepFailed(f"not mended: {'; '.join(left[:LOST_NAMED_MAX])}")
        return f"{agency.id} at {self._site}: {'; '.join([*mended][:LOST_NAMED_MAX]) or 'nothing was to be mended'}"

    def _brought(self, job: Job, steps: Steps, agency: Agency, other: SiteId) -> None:
        """What is here now, was kept at the other site and never forgotten here is expected here too."""
        wanted = {each["snapshot"]: each for each in job.order.details.get("there", ())}
        if not wanted:
            return
        trees = dict(steps.do("look for what came", partial(self._trees, agency)))
        for name, told in wanted.items():
            if trees.get(name) == told["tree"]:
                reason = f"mended from {other}, where it was kept: {told['reason']}"
                body = SnapshotMended(
                    **{**told, "job": job.id, "site": self._site, "source_site": other, "reason": reason}
                )
                steps.clean(f"write down {name}", partial(self._write, steps, body))

    def _tell_mended(self, steps: Steps, agency: Agency, other: SiteId, mended: list[str]) -> None:
        body = RepositoryMended(
            job=steps.job.id,
            agency=agency.id,
            site=self._site,
            source_site=other,
            repository=str(steps.job.order.details["repository"]),
            things=len(mended),
            named=tuple(mended[:LOST_NAMED_MAX]),
        )
        steps.clean("write down the mending", lambda: self._write(steps, body))

    def _trees(self, agency: Agency) -> dict[str, str]:
        held = self._engine(agency).snapshots(self._tools.place_of(agency, self._site)).snapshots
        return {each.snapshot: each.tree for each in held}

    def _mend(self, agency: Agency, other: SiteId, share: Share | None) -> dict[str, Any]:
        here, there = (self._tools.place_of(agency, site) for site in (self._site, other))
        return asdict(self._engine(agency).heal(here, there, share))

    def check(self, job: Job, steps: Steps) -> str:
        """Every byte of one part of this site's place, and the structure of all of it."""
        agency, _ = self._agency(job)
        share = Share(int(job.order.details["part"]), int(job.order.details["of"]))
        found = self._read(steps, agency, share)
        if found["faults"]:
            raise StepFailed(f"{found['faults']} faults: {'; '.join(found['named'])}")
        size = "" if found["bytes_read"] is None else f", {found['bytes_read'] / 1e6:.1f} MB,"
        return f"part {share.number} of {share.of} of {agency.id} at {self._site}{size} is as it was written"

    def prove(self, job: Job, steps: Steps) -> str:
        """A sample of a snapshot in this site's place, restored on this machine and held against this site's own store
        of its documents."""
        agency, _ = self._agency(job)
        dataset = self._dataset(job)
        about = {"job": job.id, "agency": agency.id, "dataset": dataset.id, "site": self._site}
        snapshot = str(job.order.details["snapshot"])
        act = partial(self._prove, agency, dataset, job)
        found: dict[str, Any] = self._unless_locked(steps, "restore and compare", act)
        if found["error"]:
            failed = SnapshotProofFailed(**about, snapshot=snapshot, error=found["error"])
            steps.clean("write down", lambda: self._write(steps, failed))
            raise StepFailed(f"snapshot {snapshot[:SHORT]} is not proven: {found['error']}")
        told = {name: str(job.order.details[name]) for name in ("repository", "snapshot", "tree")}
        figures = {name: value for name, value in found.items() if name != "error"}
        body = SnapshotProven(**about, **told, **figures)
        steps.clean("write down", lambda: self._write(steps, body))
        size = f"{body.documents} documents, {body.size_bytes / 1e6:.1f} MB"
        return f"snapshot {snapshot[:SHORT]} of {dataset.id} at {self._site} is proven by {size}"

    def _prove(self, agency: Agency, dataset: Dataset, job: Job) -> dict[str, Any]:
        place, store = self._tools.place_of(agency, self._site), dataset.documents[self._site]
        scratch = self._tools.staging.with_name(PROOFS) / hashlib.sha256(job.id.encode()).hexdigest()[:16]
        started = to_text(self._tools.clock.now())
        snapshot = str(job.order.details["snapshot"])
        staged = self._staging_of(dataset) if job.order.details.get("staged_here") else None
        made = Made(snapshot, int(job.order.details.get("files", -1)), staged)
        found = proven(self._engine(agency), place, made, self._tools.documents_of(store), scratch)
        if agency.repository and isinstance(agency.repository.places[self._site], BucketCopy):
            ways = broken(self._tools.store_of(place.url))
            told = [f"its bucket does not keep it from our own key: {'; '.join(ways)}"] if ways else []
            found["error"] = "; ".join([*told, *([found["error"]] if found["error"] else [])])
        return {**found, "started_at": started, "ended_at": to_text(self._tools.clock.now())}

    def _read(self, steps: Steps, agency: Agency, share: Share) -> dict[str, Any]:
        """Read a part and write down what was found."""
        name = f"part {share.number} of {share.of}"
        found: dict[str, Any] = self._unless_locked(steps, f"read {name}", partial(self._check, steps, agency, share))
        body = RepositoryChecked(
            job=steps.job.id,
            agency=agency.id,
            site=self._site,
            repository=str(steps.job.order.details["repository"]),
            part=share.number,
            of=share.of,
            bytes_read=-1 if found["bytes_read"] is None else found["bytes_read"],
            bytes_all=-1 if found["bytes_all"] is None else found["bytes_all"],
            faults=found["faults"],
            named=tuple(found["named"]),
            started_at=found["started_at"],
            ended_at=found["ended_at"],
        )
        steps.clean(f"write down {name}", lambda: self._write(steps, body))
        return found

    def _check(self, steps: Steps, agency: Agency, share: Share) -> dict[str, Any]:
        engine, place = self._engine(agency), self._tools.place_of(agency, self._site)
        what = f"read part {share.number} of {share.of} of {agency.id} at {self._site}"
        engine.capabilities().demand("reads_parts", what)
        there = engine.snapshots(place).repository
        if there != steps.job.order.details["repository"]:
            why = f"it is repository {there[:SHORT]}, and another one was made there"
            raise NciaError("agency.other-repository", what, why, "ncia backup look")
        started = to_text(self._tools.clock.now())
        found = engine.check(place, share)
        return {
            "faults": len(found.faults),
            "named": found.faults[:LOST_NAMED_MAX],
            "bytes_read": found.bytes_read,
            "bytes_all": found.bytes_all,
            "started_at": started,
            "ended_at": to_text(self._tools.clock.now()),
        }

    def prune(self, job: Job, steps: Steps) -> str:
        """What no snapshot of this site's place needs is marked, or removed; nothing where one that is expected is not
        there: what it needs would be removed."""
        agency, _ = self._agency(job)
        about = {"job": job.id, "agency": agency.id, "site": self._site}
        repository, reason = str(job.order.details["repository"]), str(job.order.details["reason"])
        begun = PruneStarted(**about, repository=repository, reason=reason)
        steps.do("write down the beginning", partial(self._begin, steps, agency, begun))
        try:
            done: dict[str, Any] = self._unless_locked(steps, "prune", partial(self._prune, steps, agency))
        except (StepFailed, Cancelled) as failure:
            failed = PruneFailed(**about, error=failure.why)
            steps.clean("write down the failure", lambda: self._write(steps, failed))
            raise
        figures = {name: -1 if count is None else count for name, count in done["cleared"].items()}
        body = RepositoryPruned(
            **about,
            repository=repository,
            reason=reason,
            started_at=done["started_at"],
            ended_at=done["ended_at"],
            **figures,
        )
        steps.clean("write down", lambda: self._write(steps, body))
        told = f"{agency.id} at {self._site}: {body.marked} packs marked, {body.removed} removed"
        return told if body.removed_bytes < 0 else f"{told}, {body.removed_bytes / 1e6:.1f} MB"

    def _begin(self, steps: Steps, agency: Agency, begun: PruneStarted) -> None:
        """Nothing is begun that the engine cannot do."""
        what = f"prune the repository of {agency.id} at {self._site}"
        self._engine(agency).capabilities().demand("prunes", what)
        self._write(steps, begun)

    def _prune(self, steps: Steps, agency: Agency) -> dict[str, Any]:
        engine, place = self._engine(agency), self._tools.place_of(agency, self._site)
        what, details = f"prune the repository of {agency.id} at {self._site}", steps.job.order.details
        why = lacking(str(details["repository"]), dict(details["expected"]), engine.snapshots(place))
        if why:
            raise Refusal("agency.not-as-kept", what, why, "ncia backup look; ncia backup mend")
        started = to_text(self._tools.clock.now())
        cleared = asdict(engine.prune(place))
        return {"cleared": cleared, "started_at": started, "ended_at": to_text(self._tools.clock.now())}
