"""`ncia repo copy` and `repair`: two repositories that hold the same, each healed from the other."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.progress import Progress, size_text
from ncia.cli.repo import (
    EXIT_PARTIAL,
    AsJson,
    Lock,
    Password,
    RetryLock,
    Url,
    _access,
    _narrowing,
    _share,
    _tell_damaged,
    _tell_some,
    app,
)
from ncia.cli.repo_narrowing import Hosts, Made, Tags
from ncia.core.base.ids import SHORT

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
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    lock: Lock = True,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Bring what another repository does not have yet; run again, it goes on. Exit 4: something could not be copied.

    A twin gets the files as they are, each held against its hash; what was forgotten there and not here comes back.
    Any other repository gets each blob read, verified and sealed anew.
    """
    with Progress("packs", as_json, "what was copied stays; run again, it goes on") as tell:
        other = _access(to, to_password_file or password_file, retry_lock=retry_lock)
        access, narrowing = _access(repo, password_file, lock, retry_lock), _narrowing(host, tag, path)
        copied = _twins().copy(access, other, snapshot or [], tell, narrowing)
    if as_json:
        print(json.dumps(copied, ensure_ascii=False))
    else:
        for name in copied["snapshots"]:
            print(f"copied snapshot {name[:SHORT]}")
        what = f"{copied['packs']} packs, {copied['indexes']} indexes" if copied["twin"] else f"{copied['blobs']} blobs"
        print(f"{what}, {len(copied['snapshots'])} snapshots, {size_text(copied['bytes'])} copied to {to}")
    _tell_damaged(copied)
    if copied["partial"]:
        _tell_some(copied["faults"])
        count = len(copied["faults"]) + len(copied["damaged"])
        print(f"Error: the copy is partial: {count} faults", file=sys.stderr)
        raise typer.Exit(EXIT_PARTIAL)


@app.command()
def repair(
    repo: Url,
    password_file: Password,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="Its twin, which may have it whole.")] = "",
    from_password_file: OtherPassword = None,
    read_data: Annotated[bool, typer.Option(help="Read every pack; else those that are missing or too short.")] = True,
    part: Annotated[str, typer.Option(metavar="N/OF", help="Read the Nth of OF parts alone.")] = "",
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="Make new ones without what is lost for good; the originals stay.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="With --snapshots: then the originals go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; nothing is written.")] = False,
    lock: Lock = True,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Mend what a check finds, from the twin where it is whole there. Exit 4: something is lost for good; it is named.

    What is replaced is replaced by bytes that were verified. No one else may be at work in the repository.
    """
    if forget and not snapshots:
        raise typer.BadParameter("it goes with --snapshots alone", param_hint="--forget")
    twins = _twins()
    share = _share(read_data, part)
    mended = "what was mended stays, and nothing is worse than before; run it again"
    with Progress("packs", as_json, mended) as tell:
        other = _access(source, from_password_file or password_file, lock, retry_lock) if source else None
        mending = twins.Mending(share, dry_run, snapshots, forget)
        told = twins.repair(_access(repo, password_file, retry_lock=retry_lock), other, mending, tell)
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        _tell_repaired(told)
    if told["partial"]:
        _tell_some(told["lost"])
        count = told["lost_count"]
        print(f"Error: {count} {'thing is' if count == 1 else 'things are'} lost for good", file=sys.stderr)
        print(f"Try: {_way_on(other is not None, snapshots, forget)}", file=sys.stderr)
        raise typer.Exit(EXIT_PARTIAL)


def _way_on(twin: bool, snapshots: bool, forget: bool) -> str:
    """What is left to be tried where not all could be mended."""
    ways = [] if twin else ["--from its twin, if there is one"]
    if not snapshots:
        ways.append("--snapshots writes snapshots anew without what is lost")
    elif not forget:
        ways.append("--snapshots --forget ends those that lack something, once you have seen the new ones")
    ways.append("a new backup keeps anew what is still at its source")
    return "; ".join(ways)


def _tell_repaired(told: dict[str, Any]) -> None:
    for sentence in told["notes"]:
        print(f"Note: {sentence}")
    for sentence in told["mended"]:
        print(f"{'Would be: ' if told['dry_run'] else ''}{sentence}")
    made = told.get("rewritten", {}).get("made", {})
    for old, new in made.items():
        print(f"snapshot {old[:SHORT]}: without what is lost, it is {new[:SHORT]}")
    for sentence in told.get("rewritten", {}).get("changed", ()):
        print(sentence)
    for name in told.get("rewritten", {}).get("forgotten", ()):
        print(f"snapshot {name[:SHORT]}: forgotten")
    count = len(told["mended"]) + len(made)
    mended = f"{count} {'thing' if count == 1 else 'things'} mended"
    print(f"{size_text(told['bytes_read'])} of {told['packs']} packs read; {mended}")


def _twins() -> Any:
    return importlib.import_module("ncia.app.repository_twins")
