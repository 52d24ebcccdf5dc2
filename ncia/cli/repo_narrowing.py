"""Which snapshots a command of `ncia repo` means: restic's `--host`, `--tag` and `--path`."""

from __future__ import annotations

from typing import Annotated

import typer

Hosts = Annotated[
    list[str] | None, typer.Option("--host", "-H", metavar="HOST", help="Snapshots of this host alone, or of another.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG[,TAG]", help="Those alone that have all of these; or all of another list."),
]
Made = Annotated[
    list[str] | None, typer.Option("--path", metavar="PATH", help="Those alone that were made of it; of each of them.")
]
