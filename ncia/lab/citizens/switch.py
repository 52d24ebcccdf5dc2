"""Which site serves each system: one fact per system, raised by epoch only, remembered over a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate

EPOCH_AT_BIRTH = 1


@dataclass(frozen=True)
class Position:
    """The site that serves, and the epoch under which it does; answers of lower epochs are dropped."""

    site: SiteId
    epoch: int


class Switch:
    """The positions of all systems, durable in ``file`` before they count."""

    def __init__(self, file: Path, estate: Estate) -> None:
        self._file = file
        self._positions = {name: Position(system.home, EPOCH_AT_BIRTH) for name, system in estate.systems.items()}
        if file.exists():
            told = json.loads(file.read_bytes())
            for name in self._positions:
                if name in told:
                    self._positions[name] = Position(SiteId(told[name]["site"]), int(told[name]["epoch"]))

    def position(self, system: SystemId) -> Position:
        return self._positions[system]

    def positions(self) -> Mapping[SystemId, Position]:
        return dict(self._positions)

    def put(self, system: SystemId, wanted: Position) -> bool:
        """Turn ``system``; true where its site changed. Raises :class:`Refusal` for an epoch that is not newer."""
        present = self._positions[system]
        if wanted == present:
            return False
        if wanted.epoch <= present.epoch:
            why = f"epoch {present.epoch} is in force at {present.site}"
            raise Refusal("switch.epoch", f"switch {system} to {wanted.site} under epoch {wanted.epoch}", why)
        self._save({**self._positions, system: wanted})
        self._positions[system] = wanted
        return wanted.site != present.site

    def _save(self, positions: Mapping[SystemId, Position]) -> None:
        told = {name: {"site": p.site, "epoch": p.epoch} for name, p in positions.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with fresh.open("w") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
