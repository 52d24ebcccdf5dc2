"""`ncia repo restore`: a snapshot back into files, also onto what exists."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.progress import Progress, size_text
from ncia.cli.repo import (
    EXIT_PARTIAL,
    AsJson,
    Lock,
    Named,
    Password,
    Paths,
    RetryLock,
    Url,
    _access,
    _app,
    _change,
    _end,
    _narrowing,
    _tell_some,
    app,
    folder_of,
)
from ncia.cli.repo_narrowing import Hosts, Made, Tags
from ncia.core.base.ids import SHORT


class Over(StrEnum):
    """restic's words."""

    ALWAYS = "always"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    NEVER = "never"


@app.command()
def restore(
    snapshot: Named,
    repo: Url,
    password_file: Password,
    target: Annotated[
        Path,
        typer.Option(parser=folder_of, metavar="FOLDER", help="Everything comes below it, by its whole path."),
    ],
    paths: Paths = None,
    overwrite: Annotated[
        Over | None, typer.Option(help="What of it may be replaced; without, it must be empty.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done to it; nothing is written.")
    ] = False,
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    lock: Lock = True,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Bring a snapshot back below a folder, each byte verified before it is written. Exit 4: something is missing.

    --overwrite always writes what differs, and no more: so a restore that was broken off goes on. if-changed takes a
    file of the same size and time for the same, if-newer replaces what is older, never nothing that is there.
    """
    access, narrowing = _access(repo, password_file, lock, retry_lock), _narrowing(host, tag, path)
    if dry_run:
        over, faults = overwrite or Over.ALWAYS, list[str]()
        _tell_changes(
            _app().restore_changes(access, snapshot, target, paths or [], over, faults, narrowing), faults, as_json
        )
        return
    kept = "what was brought back stays; with --overwrite always the same restore goes on"
    with Progress("files", as_json, kept) as tell:
        restored = _app().restore(access, snapshot, target, paths or [], tell, overwrite, narrowing)
    if as_json:
        print(json.dumps(restored, ensure_ascii=False))
    else:
        counted = f"{restored['files']} files, {restored['folders']} folders, {size_text(restored['bytes'])}"
        print(f"snapshot {restored['snapshot'][:SHORT]} into {_app().for_people(restored, 'target')}: {counted}")
        if restored["bytes_found"] or restored["kept"]:
            print(
                f"{size_text(restored['bytes_found'])} were there already; {restored['kept']} entries stay as they were"
            )
    _end(restored, "the restore is partial")


def _tell_changes(changes: Iterable[dict[str, Any]], faults: list[str], as_json: bool) -> None:
    """What a restore would do, as `diff` tells it."""
    for each in changes:
        print(json.dumps(each, ensure_ascii=False) if as_json else _change(each))
    if faults:
        _tell_some(faults)
        print(f"Error: {len(faults)} things could not be looked at", file=sys.stderr)
        raise typer.Exit(EXIT_PARTIAL)
