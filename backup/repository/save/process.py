"""Processes of our own that do a part of a backup: one interpreter does one thing at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def begun(
    module: str, *arguments: str, files: Sequence[int] = (), errors: int | None = None
) -> subprocess.Popen[bytes]:
    """``python -m module``, with pipes to and from it, and open ``files``. Whoever interrupts us means us: it is in a
    group of its own, and ends when its pipes do."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],  # -P: nothing is loaded from the folder that we stand in
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        pass_fds=files,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        process_group=0,
    )
