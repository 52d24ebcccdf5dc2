"""The real `age`, as a referee: the one on PATH, else Debian's, fetched once as restic is."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from tests.demand import lack
from tests.restic import NotHad, fetch


def demand_age() -> str:
    """The program. Where it cannot be had the test is skipped, or fails where everything is demanded."""
    found = shutil.which("age")
    if found:
        return found
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ncia" / "age"
    program = home / "unpacked" / "usr" / "bin" / "age"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            try:
                fetch(home, "age")
            except NotHad as reason:
                lack(str(reason))
                raise AssertionError from reason
    return str(program)
