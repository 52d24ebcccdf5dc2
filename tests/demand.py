"""What a test needs from the machine: skipped where it is missing, failed where all of it is demanded."""

import os
import shutil
from pathlib import Path

import pytest

DEMAND = "NCIA_DEMAND"


def demand(tool: str, why: str = "") -> str:
    """The path of ``tool`` (a program's name, or a path). Missing: the test is skipped, or fails with NCIA_DEMAND=1."""
    found = tool if os.sep in tool and Path(tool).exists() else shutil.which(tool)
    if not found:
        lack(f"{tool} is not installed" + (f" ({why})" if why else ""))
    return str(found)


def lack(reason: str) -> None:
    """Something is missing: never silent, and a failure where everything is demanded."""
    if os.environ.get(DEMAND) == "1":
        pytest.fail(f"{reason}, and {DEMAND}=1 demands it", pytrace=False)
    pytest.skip(reason)
