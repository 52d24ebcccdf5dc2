"""`ncia repo backup` and `backup-output`: files, or what a command writes, kept as one snapshot."""

from __future__ import annotations

import importlib
import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.progress import Progress, size_text
from ncia.cli.repo import (
    EXIT_PARTIAL,
    AsJson,
    Password,
    RetryLock,
    Url,
    _access,
    _end,
    _tell_damaged,
    app,
)
from ncia.core.base.ids import SHORT

NO_SNAPSHOT = "no snapshot was made; what was kept by then is found again by the next backup"
PATTERN = "Leave out what it matches, as restic: *, ?, \\[a-z], **; with a leading / from the root; ! takes back."


class Compression(StrEnum):
    """restic's words."""

    AUTO = "auto"
    OFF = "off"
    FASTEST = "fastest"
    BETTER = "better"
    MAX = "max"


Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG[,TAG]", help="Words to find it by; may be given again."),
]
Compress = Annotated[Compression, typer.Option("--compression", help="How hard to try (zstd).")]


@app.command()
def backup(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="What to keep; folders with all that is in them.")
    ],
    repo: Url,
    password_file: Password,
    tag: Tags = None,
    host: Annotated[str, typer.Option(help="Whose files these are, where it is not this host.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Read every file, also what looks unchanged.")] = False,
    verify: Annotated[bool, typer.Option(help="Open each blob again before it is kept.")] = True,
    also: Annotated[str, typer.Option(help="URL of its twin, into which it goes at the same time.")] = "",
    also_password_file: Annotated[
        Path | None, typer.Option(help="That one's password, where it is another: needed when the first is down.")
    ] = None,
    also_wait: Annotated[
        float, typer.Option(min=0, help="Seconds of silence after which one of the two is given up.")
    ] = 0.0,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", "-e", metavar="PATTERN", help=PATTERN)] = None,
    iexclude: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="The same in either case.")] = None,
    exclude_file: Annotated[list[Path] | None, typer.Option(help="A file of such patterns, one a line.")] = None,
    iexclude_file: Annotated[list[Path] | None, typer.Option(help="The same in either case.")] = None,
    exclude_caches: Annotated[bool, typer.Option("--exclude-caches", help="What a CACHEDIR.TAG marks.")] = False,
    exclude_if_present: Annotated[
        list[str] | None, typer.Option(metavar="NAME[:BEGIN]", help="What is beside such a file.")
    ] = None,
    exclude_larger_than: Annotated[str, typer.Option(metavar="SIZE", help="Such as 300M; of files.")] = "",
    one_file_system: Annotated[
        bool, typer.Option("--one-file-system", "-x", help="Nothing that is mounted below what is asked for.")
    ] = False,
    compression: Compress = Compression.AUTO,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Keep files as one snapshot. Exit 4 where something could not be read: the snapshot then holds everything else.

    Or, with --also, where it is whole at one of the two places only: ncia repo copy brings the rest.
    """
    if (also_wait or also_password_file) and not also:
        hint = "--also-wait" if also_wait else "--also-password-file"
        raise typer.BadParameter("it goes with --also alone", param_hint=hint)
    if not math.isfinite(also_wait):
        raise typer.BadParameter(f"{also_wait} is no number of seconds", param_hint="--also-wait")
    access, asked = _access(repo, password_file, retry_lock=retry_lock), _asked()
    leave_out = asked.LeaveOut(
        exclude or (),
        iexclude or (),
        exclude_file or (),
        iexclude_file or (),
        exclude_caches,
        exclude_if_present or (),
        exclude_larger_than,
        one_file_system,
    )
    wanted = asked.Wanted(tuple(paths), tuple(tag or ()), host, force, verify, leave_out, also_wait, compression)
    with Progress("files", as_json, NO_SNAPSHOT) as tell:
        if also:
            other = _access(also, also_password_file or password_file)
            saved = importlib.import_module("ncia.app.repository_twins").backup(
                access, other, wanted, tell, tell.watched
            )
        else:
            saved = asked.backup(access, wanted, tell, tell.watched)
    _tell_saved(saved, as_json)
    _tell_places(saved, as_json)
    _end(saved, "the snapshot is partial")


@app.command("backup-output")
def backup_output(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file as which it is kept, such as database.sql.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="What to run, without a shell.")],
    repo: Url,
    password_file: Password,
    tag: Tags = None,
    host: Annotated[str, typer.Option(help="Whose it is, where it is not this host.")] = "",
    compression: Compress = Compression.AUTO,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Keep what a command writes as one file. A command that fails leaves no snapshot, however much it had written."""
    access, asked = _access(repo, password_file, retry_lock=retry_lock), _asked()
    wanted = asked.Wanted((name,), tuple(tag or ()), host, compression=compression)
    with Progress("files", as_json, NO_SNAPSHOT):
        saved = asked.backup_output(access, command, wanted)
    _tell_saved(saved, as_json)
    _end(saved, "the snapshot is there, and not all that was asked")


def _asked() -> Any:
    return importlib.import_module("ncia.app.repository_backup")


def _tell_saved(saved: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(saved, ensure_ascii=False))
    else:
        added = saved["added"]
        print(
            f"snapshot {saved['snapshot'][:SHORT]}: {saved['files']} files, {size_text(saved['bytes'])}; "
            f"{saved['new']} new, {saved['changed']} changed, {saved['unchanged']} unchanged; "
            f"{size_text(added['plain_bytes'])} added, {size_text(added['packed_bytes'])} in the store"
        )
        if saved["recovered"]:
            print(f"{saved['recovered']} packs of a backup that was interrupted were found again")
        if saved["excluded"]:
            print(f"{saved['excluded']} entries were left out, as it was asked; a folder counts as one")
        if saved["moved"]:
            print(f"{saved['moved']} files were written to while they were read: theirs may be no state they ever had")
        for sentence in saved["twins"]:
            print(f"Note: {sentence}")


def _tell_places(saved: dict[str, Any], as_json: bool) -> None:
    """At which places it is, where it was to be at two."""
    if saved.get("apart") and not as_json:
        print(
            f"Note: {saved['apart']} indexes were at one place only; what they alone name was kept again. Copy first."
        )
    for place in saved.get("places", ()):
        if not place["whole"]:
            hint = "ncia repo copy brings it once it answers"
            print(f"Error: the snapshot is not at {place['url']}: {place['why']}\nTry: {hint}", file=sys.stderr)
    if saved["partial"] and not saved["losses"]["counts"]:
        _tell_damaged(saved)
        raise typer.Exit(EXIT_PARTIAL)
