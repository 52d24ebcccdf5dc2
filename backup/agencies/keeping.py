"""What jobs that keep something in an agency's repository have in common: one snapshot at both places, written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from backup.agencies.acting import LOST_NAMED_MAX, Acting
from backup.agencies.locking import LockHeld, is_quiet, unless_locked
from backup.agencies.ports import Asked, Engine, Kept, Place
from backup.agencies.retaining import extended
from ncia.core.base.ids import SHORT, SiteId
from ncia.core.estate.model import Agency, BucketCopy, Dataset
from ncia.core.journal.entries_repositories import SnapshotFailed, SnapshotHolds, SnapshotKept
from ncia.core.work.jobs import Cancelled, StepFailed, Steps


class Keeping(Acting):
    """A place that fails does not keep the other from its copy."""

    def _written(
        self,
        steps: Steps,
        agency: Agency,
        dataset: Dataset,
        kept: dict[SiteId, dict[str, Any]],
        failed: dict[SiteId, str],
        staged: dict[str, Any],
    ) -> str:
        """Write down what was kept where, and where nothing whole was; raises :class:`StepFailed` with the latter.
        ``staged["holds"]``: of what it is a copy, where it is one."""
        for site, why in failed.items():
            self._failed(steps, agency, dataset, site, why)
        for site, found in kept.items():
            found = {**found, "losses": [*found["losses"], *self._extended(steps, agency, site)]}
            self._kept(steps, agency, dataset, site, found, staged)
            if "holds" in staged:
                self._say(steps, agency, dataset, site, found, staged["holds"])
            if losses := [*staged["lost"], *found["losses"]]:
                failed[site] = f"its snapshot is partial: {losses[0]}"
                self._failed(steps, agency, dataset, site, failed[site])
        if failed:
            raise StepFailed("; ".join(f"{site}: {why}" for site, why in failed.items()))
        return ", ".join(f"snapshot {found['snapshot'][:SHORT]} at {site}" for site, found in kept.items())

    def _extended(self, steps: Steps, agency: Agency, site: SiteId) -> list[str]:
        """What a new snapshot reuses stays retained as long as itself; answers what of that is not so."""
        if agency.repository is None or not isinstance(agency.repository.places.get(site), BucketCopy):
            return []
        try:
            steps.do(f"retain at {site}", partial(self._extend, agency, site))
        except (StepFailed, Cancelled) as failure:  # the snapshot is there all the same, and must be written down
            return [f"retention of what it reuses: {failure}"]
        return []

    def _extend(self, agency: Agency, site: SiteId) -> int | None:
        place = self._tools.place_of(agency, site)
        return extended(self._tools.store_of(place.url), self._tools.password_of(place), self._tools.clock.now())

    def _places(
        self, steps: Steps, agency: Agency, asked: Asked, do: Callable[[str, Callable[[], Any]], Any]
    ) -> tuple[dict[SiteId, dict[str, Any]], dict[SiteId, str]]:
        """What was kept at which place, and where nothing was and why: at twins as one snapshot, where the engine can
        do that and both can be entered; else one after the other. ``do``: as :meth:`Steps.do`."""
        sites = tuple(SiteId(site) for site in steps.job.order.details["repositories"])  # those that are made
        try:
            both = do("keep at both", partial(self._keep_both, steps, agency, asked, sites))
        except StepFailed:  # each place will say for itself what is wrong
            both = None
        if both is not None:
            failed = {SiteId(site): str(why) for site, why in both["missing"].items()}
            return {site: both["kept"] for site in sites if site not in failed}, failed
        kept, failed = {}, {}
        for site in sites:
            try:
                found = do(f"keep at {site}", partial(self._keep, steps, agency, asked, site))
            except (StepFailed, Cancelled) as failure:  # another place may have its snapshot by now
                failed[site] = str(failure)
            else:
                if "locked" in found:
                    failed[site] = LockHeld(found["locked"])
                else:
                    kept[site] = found
        return kept, failed

    def _keep_both(self, steps: Steps, agency: Agency, asked: Asked, sites: Sequence[SiteId]) -> dict[str, Any] | None:
        """None where it is to be done one after the other."""
        engine = self._engine(agency)
        places = {site: self._tools.place_of(agency, site) for site in sites}
        if len(sites) != 2 or not engine.capabilities().writes_both:
            return None
        one, other = places.values()
        if steps.job.fence > 1 and any(self._again(engine, place, steps.job.id) for place in (one, other)):
            return None
        started = self._tools.clock.now()
        twice = engine.backup_both(one, other, asked)
        told = {**asdict(twice.kept), "seconds": (self._tools.clock.now() - started).total_seconds()}
        missing = {site: twice.missing[place.url] for site, place in places.items() if place.url in twice.missing}
        return {"kept": told, "missing": missing}

    def _keep(self, steps: Steps, agency: Agency, asked: Asked, site: SiteId) -> dict[str, Any]:
        engine, place = self._engine(agency), self._tools.place_of(agency, site)
        started = self._tools.clock.now()
        kept = self._again(engine, place, steps.job.id) if steps.job.fence > 1 else None
        if kept is None:
            kept = unless_locked(lambda: engine.backup(place, asked))
        if isinstance(kept, dict):
            return kept
        return {**asdict(kept), "seconds": (self._tools.clock.now() - started).total_seconds()}

    def _again(self, engine: Engine, place: Place, tag: str) -> Kept | None:
        """The snapshot that an earlier attempt at this job made, and had no time to write down. What it lacked nobody
        knows any more, so it counts as partial."""
        for held in engine.snapshots(place).snapshots:
            if tag in held.tags:
                return Kept(
                    held.snapshot, held.tree, 0, 0, ("an attempt that was ended made it: what it lacks is unknown",)
                )
        return None

    def _kept(
        self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId, kept: dict[str, Any], staged: dict[str, Any]
    ) -> None:
        """What is in the repository must be in the journal: also a job that was cancelled meanwhile writes it down."""
        losses = [*staged["lost"], *kept["losses"]]
        body = SnapshotKept(
            job=steps.job.id,
            agency=agency.id,
            dataset=dataset.id,
            site=site,
            repository=str(steps.job.order.details["repositories"][site]),
            snapshot=kept["snapshot"],
            tree=kept["tree"],
            files=kept["files"],
            size_bytes=kept["size_bytes"],
            losses=max(len(losses), staged["losses"]),
            lost=tuple(losses[:LOST_NAMED_MAX]),
            reason=str(steps.job.order.details["reason"]),
            seconds=round(kept["seconds"], 3),
        )
        steps.clean(f"write down {site}", lambda: self._write(steps, body))

    def _say(
        self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId, kept: dict[str, Any], holds: dict[str, str]
    ) -> None:
        if kept["losses"]:
            return  # it is no copy
        body = SnapshotHolds(
            job=steps.job.id,
            agency=agency.id,
            dataset=dataset.id,
            site=site,
            repository=str(steps.job.order.details["repositories"][site]),
            snapshot=kept["snapshot"],
            **holds,
        )
        steps.clean(f"say what it holds at {site}", lambda: self._write(steps, body))

    def _failed(self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId, why: str) -> None:
        if isinstance(why, LockHeld) and is_quiet(steps.job.order.details.get("met", {}).get(site, 0)):
            self._lock_met(steps, site, why)
            return
        body = SnapshotFailed(job=steps.job.id, agency=agency.id, dataset=dataset.id, site=site, error=why)
        steps.clean(f"give up {dataset.id} at {site}", lambda: self._write(steps, body))
