"""What points and programs have in common on their way into an agency's repository and back out of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from backup.agencies.keeping import Keeping
from backup.agencies.locking import LockHeld, locked_at
from backup.agencies.perform import Tools
from backup.agencies.ports import Asked, Held
from backup.agencies.room import Room
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT, DatasetId, SiteId
from ncia.core.estate.model import Agency, Dataset, Estate
from ncia.core.work.jobs import Cancelled, Job, StepFailed, Steps

WHOLE: dict[str, Any] = {"lost": [], "losses": 0}  # what is staged is whole, or it is not kept
MOUNTED = "is it mounted? Where it burnt: ncia backup bring --burnt"


class Bringing(Keeping):
    """``room`` is where this machine stages."""

    def __init__(self, estate: Estate, site: SiteId, tools: Tools, room: Room) -> None:
        super().__init__(estate, site, tools)
        self._room = room

    def _keep_staged(self, job: Job, steps: Steps, holds: dict[str, str], fill: Callable[[Path], object]) -> str:
        """Keep, as one snapshot at each place, what ``fill`` puts into a folder; ``holds``: of what it is a copy. It is
        one step: a folder is nothing that another executor could go on with."""
        agency, _ = self._agency(job)
        dataset = self._of(job)
        try:
            done = steps.do("keep", lambda: self._staged(steps, agency, dataset, holds["subject"], fill))
        except (StepFailed, Cancelled) as failure:
            for site in job.order.details["repositories"]:
                self._failed(steps, agency, dataset, site, f"{holds['subject']} is in no repository: {failure}")
            raise
        kept = {SiteId(site): found for site, found in done["kept"].items()}
        failed = {
            SiteId(site): LockHeld(why) if site in done["locked"] else str(why) for site, why in done["failed"].items()
        }
        return self._written(steps, agency, dataset, kept, failed, {**WHOLE, "holds": holds})

    def _staged(
        self, steps: Steps, agency: Agency, dataset: Dataset, subject: str, fill: Callable[[Path], object]
    ) -> dict[str, Any]:
        with self._room.folder(dataset.id, f"keep {subject} in the repository of {agency.id}") as folder:
            fill(folder)
            asked = Asked((str(folder),), dataset.system, (dataset.id, subject, steps.job.id))
            kept, failed = self._places(steps, agency, asked, at_once)
        return {"kept": kept, "failed": failed, "locked": locked_at(failed)}

    def _brought(self, job: Job, agency: Agency, what: str, back: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Restore the snapshot from the nearest place that gives it whole; answers what ``back`` made of its folder,
        the site and the snapshot, and raises with what was wrong at each place."""
        wrong = []
        for site, snapshot in job.order.details["snapshots"]:
            try:
                with self._room.folder(f"{job.order.dataset}~back", what) as folder:
                    done = back(self._restored(agency, SiteId(site), snapshot, folder, what))
                return {**done, "from_site": site, "snapshot": snapshot["id"]}
            except NciaError as error:
                wrong.append(f"at {site}: {error.why}")
        raise NciaError("agency.not-brought", what, "; ".join(wrong), "ncia backup look; ncia backup mend")

    def _restored(self, agency: Agency, site: SiteId, snapshot: dict[str, Any], folder: Path, what: str) -> Path:
        """Where what was kept lies below ``folder``."""
        engine, place = self._engine(agency), self._tools.place_of(agency, site)
        held = next((each for each in engine.snapshots(place).snapshots if each.snapshot == snapshot["id"]), None)
        short = snapshot["id"][:SHORT]
        if held is None or held.tree != snapshot["tree"]:
            why = f"snapshot {short} {'is not there' if held is None else 'has another tree than was kept'}"
            raise NciaError("agency.not-as-kept", what, why, "ncia backup mend")
        inner = folder / _below_root(held, what)
        with self._room.promise(folder.name, int(snapshot["size_bytes"]), what):
            brought = engine.restore(place, held.snapshot, folder)
        if brought.partial:
            raise NciaError("agency.not-as-kept", what, f"snapshot {short} is not whole: {brought.losses[0]}")
        return inner

    def _of(self, job: Job) -> Dataset:
        dataset = self._estate.datasets.get(DatasetId(job.order.dataset))
        if dataset is None:
            raise StepFailed(f"{job.order.dataset} is not in the estate any more")
        return dataset


def at_once(name: str, act: Callable[[], Any]) -> Any:
    """As :meth:`Steps.do` within a step."""
    try:
        return act()
    except NciaError as error:
        raise StepFailed(str(error)) from error


def since(clock: Clock, moment: datetime) -> float:
    return round((clock.now() - moment).total_seconds(), 3)


def _below_root(held: Held, what: str) -> PurePosixPath:
    """The one path that was kept, as it lies below a folder that it is restored into."""
    path = PurePosixPath(held.paths[0] if len(held.paths) == 1 else "")
    if not path.is_absolute() or ".." in path.parts:
        raise NciaError("agency.hostile", what, f"snapshot {held.snapshot[:SHORT]} is of no folder of ours")
    return path.relative_to("/")
