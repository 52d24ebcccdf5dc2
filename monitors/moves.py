"""Which systems a run is moving right now: what stops and starts there is its doing, and no fault. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ncia.core.alerts.graph import parts
from ncia.core.base.ids import DatasetId
from ncia.core.estate.model import Estate
from ncia.core.state.facts import Run
from ncia.core.state.state import State

SILENT_SECONDS_MAX = 60.0  # more than a step of one system may take
OF_SYSTEM = ("app", "entry", "db", "gate", "canary", "replica", "receiver")  # kinds of subjects named by their system
OF_DATASET = ("mark", "mirror", "backup")  # and those named by a dataset


def being_moved(state: State, now: datetime) -> frozenset[str]:
    """The systems with a step begun and not all done, of runs that go on. A stopped run moves nothing, nor does one
    of which nothing was written for ``SILENT_SECONDS_MAX``: whoever carried it out is gone."""
    runs = (run for run in state.runs.values() if run.open and run.stopped is None and _speaks(run, now))
    return frozenset(system for run in runs for system in _under_way(run))


def system_of(estate: Estate, root: str) -> str:
    """The one system that the fault ``root`` is about; empty where it is about more."""
    kind, name, site = parts(root)
    if kind in OF_DATASET:
        dataset = estate.datasets.get(DatasetId(name))
        return dataset.system if dataset is not None else ""  # a backup ends with the server that it reads
    return name if kind in OF_SYSTEM and (site or kind == "entry") else ""


def _speaks(run: Run, now: datetime) -> bool:
    moments = [at for step in run.steps.values() for at in (step.intended_at, step.ended_at) if at is not None]
    return bool(moments) and now - max(moments) < timedelta(seconds=SILENT_SECONDS_MAX)


def _under_way(run: Run) -> Iterator[str]:
    steps: dict[str, list[str]] = {}
    for step in run.plan.plan.get("steps", ()):
        steps.setdefault(step["system"], []).append(step["id"])
    for system, mine in steps.items():
        known = [run.steps[step] for step in mine if step in run.steps]
        if system and known and not (len(known) == len(mine) and all(step.finished for step in known)):
            yield system
