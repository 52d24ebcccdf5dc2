"""One process of a kind per site: the lock of its run folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ncia.core.base.errors import NciaError


@contextmanager
def only_one(run: Path, process: str) -> Iterator[None]:
    """Hold ``run/<process>.lock``; a second one must not start while the first lives, even frozen."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / f"{process}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        why = f"another {process} holds {path}"
        hint = f"end that {process} first; a frozen one must be killed"
        raise NciaError("process.already-runs", f"start {process}", why, hint) from error
    try:
        yield
    finally:
        os.close(handle)
