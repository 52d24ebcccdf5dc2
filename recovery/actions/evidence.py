"""Files of evidence: whole or not there, and on the disk when they are named."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def keep_durably(path: Path, content: bytes) -> None:
    """Durable when it returns; nobody but us may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")  # two may keep the same bytes at once
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    for each in (path.parent, path.parent.parent):
        folder = os.open(each, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
