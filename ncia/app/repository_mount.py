"""A repository mounted by FUSE, until it is unmounted or the process is told to end."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backup.repository.format.snapshots import ANY, Narrowing, narrowed
from ncia.app.repository import Access
from ncia.core.base.errors import NciaError

DEVICE = Path("/dev/fuse")
ENDING = (signal.SIGTERM, signal.SIGHUP)  # libfuse unmounts at these where nobody else answers them


def mount(
    access: Access, place: Path, allow_other: bool, ready: Callable[[int], None], narrowing: Narrowing = ANY
) -> None:
    """``ready`` hears how many snapshots there are, just before they are. Returns when it is unmounted."""
    from backup.repository.restore.mounting import Mounting

    what = f"mount the repository at {place}"
    if not place.is_dir():
        raise NciaError("repository.no-mount", what, "there is no such folder", "make it first")
    if any(place.iterdir()):
        raise NciaError(
            "repository.no-mount", what, "it is not empty, and what is in it would be hidden", "another one"
        )
    fuse = library(what)
    with access.opened(locked=True) as repository:
        repository.load_index(repository.packs_there())
        snapshots = narrowed(repository.snapshots(), narrowing)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        options = {"ro": True, "nosuid": True, "nodev": True, "use_ino": True, "fsname": "ncia"}
        if allow_other:
            options["allow_other"] = True
        ready(len(snapshots))
        try:
            fuse.FUSE(Mounting(repository, snapshots), str(place), foreground=True, **options)
        except RuntimeError as error:
            hint = "may this user mount there? fusermount3 is in the package fuse3"
            raise NciaError("repository.no-mount", what, f"libfuse ended with {error}", hint) from error


def library(what: str) -> Any:
    """mfusepy, with libfuse behind it; one sentence where either is not there."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise NciaError("repository.no-fuse", what, f"{DEVICE} is not there for us", "modprobe fuse, as root")
    try:
        return importlib.import_module("mfusepy")
    except ModuleNotFoundError as error:
        hint = "pip install 'ncia[mount]'"
        raise NciaError("repository.no-fuse", what, "the Python module mfusepy is not installed", hint) from error
    except OSError as error:
        raise NciaError("repository.no-fuse", what, "libfuse is not installed", "apt install fuse3") from error
