"""`ncia repo mount`: snapshots as folders, to look into with any program."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from ncia.cli.repo import Lock, Password, RetryLock, Url, _access, _narrowing, app
from ncia.cli.repo_narrowing import Hosts, Made, Tags


@app.command()
def mount(
    place: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where; it must be there.")],
    repo: Url,
    password_file: Password,
    allow_other: Annotated[bool, typer.Option("--allow-other", help="Other users may look into it as well.")] = False,
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    lock: Lock = True,
    retry_lock: RetryLock = "",
) -> None:
    """Show the snapshots as folders below FOLDER, read-only, by FUSE. Ctrl-C or umount ends it.

    ids/ID, snapshots/TIME, hosts/HOST/TIME, tags/TAG/TIME, with a link latest. What is read is verified; what is
    damaged is an input/output error. Owners are shown and not enforced.
    """

    def ready(count: int) -> None:
        print(f"{count} snapshots at {place}; Ctrl-C or umount ends it", file=sys.stderr, flush=True)

    access = _access(repo, password_file, lock, retry_lock)
    importlib.import_module("ncia.app.repository_mount").mount(
        access, place, allow_other, ready, _narrowing(host, tag, path)
    )
