"""An engine that can less than it could."""

from __future__ import annotations

from dataclasses import replace

from backup.agencies.ports import Capabilities, Engine


class Able:
    """``engine``, with these of its capabilities otherwise."""

    def __init__(self, engine: Engine, **otherwise: bool) -> None:
        self._engine = engine
        self._otherwise = otherwise

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def capabilities(self) -> Capabilities:
        return replace(self._engine.capabilities(), **self._otherwise)
