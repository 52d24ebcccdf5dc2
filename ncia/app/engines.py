"""The engines that keep an agency's files, by the name that the estate gives them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backup.agencies.ports import Engine
from backup.engines.own import OwnEngine
from backup.engines.restic import ResticEngine
from ncia.app.repository_store import store_of, user
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError

RESTIC = "restic"  # found on PATH


def own(_: str) -> Engine:
    return OwnEngine(store_of, SystemClock(), version("ncia"), user())


def restic(program: str) -> Engine:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "restic"
    return ResticEngine(program or RESTIC, os.environ, cache)


ENGINES: dict[str, Callable[[str], Engine]] = {"ncia": own, "restic": restic}


def told(program: str) -> list[dict[str, Any]]:
    """What each engine does and does not; one that is not installed says why."""
    found = []
    for name, made in ENGINES.items():
        try:
            can = made(program).capabilities()
        except NciaError as error:
            found.append({"engine": name, "version": "", "sentences": [error.why]})
        else:
            found.append({"engine": name, "version": can.version, "sentences": list(can.sentences())})
    return found
