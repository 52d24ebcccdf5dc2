"""`ncia repo copy` and `repair`: two repositories that hold the same, each healed from the other."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.repo import (
    EXIT_PARTIAL,
    SHORT,
    AsJson,
    Lock,
    Password,
    Url,
    _access,
    _Progress,
    _size,
    _tell_damaged,
    _tell_some,
    app,
)

OtherPassword = Annotated[Path | None, typer.Option(help="The other one's password, where it is another.")]


@app.command()
def copy(
    repo: Url,
    password_file: Password,
    to: Annotated[str, typer.Option(help="URL of the repository that is to have it as well.")],
    snapshot: Annotated[
        list[str] | None, typer.Argument(metavar="[SNAPSHOT]…", help="These alone; without any, everything.")
    ] = None,
    to_password_file: OtherPassword = None,
    lock: Lock = True,
    as_json: AsJson = False,
) -> None:
    """Bring what another repository does not have yet; run again, it goes on. Exit 4: something could not be copied.

    A twin gets the files as they are, each held against its hash; what was forgotten there and not here comes back.
    Any other repository gets each blob read, verified and sealed anew.
    """
    with _Progress() as tell:
        other = _access(to, to_password_file or password_file)
        copied = _twins().copy(_access(repo, password_file, lock), other, snapshot or [], tell)
    if as_json:
        print(json.dumps(copied, ensure_ascii=False))
    else:
        for name in copied["snapshots"]:
            print(f"copied snapshot {name[:SHORT]}")
        what = f"{copied['packs']} packs, {copied['indexes']} indexes" if copied["twin"] else f"{copied['blobs']} blobs"
        print(f"{what}, {len(copied['snapshots'])} snapshots, {_size(copied['bytes'])} copied to {to}")
    _tell_damaged(copied)
    if copied["partial"]:
        _tell_some(copied["faults"])
        count = len(copied["faults"]) + len(copied["damaged"])
        print(f"Error: the copy is partial: {count} faults", file=sys.stderr)
        raise typer.Exit(EXIT_PARTIAL)


def _twins() -> Any:
    return importlib.import_module("ncia.app.repository_twins")
