"""What a benchmark tells: figures, and bars with what was wanted beside what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bar:
    id: str
    want: str  # "<= 90" or ">= 1.15"
    got: float

    @property
    def holds(self) -> bool:
        relation, limit = self.want.split()
        return self.got <= float(limit) if relation == "<=" else self.got >= float(limit)


@dataclass(frozen=True)
class Result:
    name: str
    figures: Mapping[str, Any]
    bars: tuple[Bar, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        bars = [{"id": bar.id, "want": bar.want, "got": bar.got, "holds": bar.holds} for bar in self.bars]
        return {"name": self.name, "figures": dict(self.figures), "bars": bars}
