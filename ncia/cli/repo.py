"""`ncia repo`: a backup tool without an estate, on repositories that restic reads, checks and restores as well."""

from __future__ import annotations

import gc
import importlib
import json
import re
import resource
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.progress import Progress, size_text
from ncia.cli.repo_narrowing import Hosts, Made, Tags
from ncia.core.base.ids import SHORT

EXIT_FAULTS = 1
EXIT_PARTIAL = 4
NAMED_MAX = 20  # of losses and faults on a terminal; --json has more

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Repositories in restic's format (offline). URL: a folder, sftp://user@host//folder, s3:https://host/bucket, "
    "entered as ssh and the S3 tools would. "
    "Exit 0: whole. 1: an error, a check that found faults, or nobody reads what it says any more (such as head). "
    "2: arguments that do not go. 3: refused. 4: partial, something is missing in it. 130: Ctrl-C. 143: SIGTERM.",
)

key_app = typer.Typer(no_args_is_help=True, help="Whose passwords open a repository.")
app.add_typer(key_app, name="key")


class Mode(StrEnum):
    """S3's two."""

    COMPLIANCE = "compliance"
    GOVERNANCE = "governance"


Url = Annotated[str, typer.Option("--repo", "-r", envvar="NCIA_REPOSITORY", help="The repository's URL.")]
Password = Annotated[
    Path, typer.Option("--password-file", "-p", envvar="NCIA_PASSWORD_FILE", help="A file that holds its password.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]
Lock = Annotated[bool, typer.Option("--lock/--no-lock", help="Say that somebody reads; --no-lock writes nothing.")]
RetryLock = Annotated[
    str,
    typer.Option(
        "--retry-lock",
        metavar="DURATION",
        envvar="NCIA_RETRY_LOCK",
        help="Wait so long for another's lock, such as 5m.",
    ),
]
Named = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The beginning of its id, or latest.")]
RetainDays = Annotated[int, typer.Option(min=0, help="Keep each file from removal for so long (S3 Object Lock).")]
RetainMode = Annotated[Mode, typer.Option(help="governance may be lifted by whoever has the right to.")]
Paths = Annotated[list[str] | None, typer.Argument(metavar="[PATH]…", help="Only what is at or below these.")]


@app.command()
def init(
    repo: Url,
    password_file: Password,
    twin: Annotated[str, typer.Option(help="URL of a repository whose id and master key it is to have.")] = "",
    twin_password_file: Annotated[Path | None, typer.Option(help="That one's password, where it is another.")] = None,
    retain_days: RetainDays = 0,
    retain_mode: RetainMode = Mode.COMPLIANCE,
    as_json: AsJson = False,
) -> None:
    """Make a repository. Whoever loses its password has lost all that will be in it.

    With --twin its files are those of another one, byte for byte, under a password of its own: each can heal the other.
    With --retain-days a bucket is made with Object Lock, attacked, and says to every later backup how long to retain.
    """
    other = _access(twin, twin_password_file or password_file) if twin else None
    made = _app().init(_access(repo, password_file), other, retain_days, retain_mode)
    kept = made["retained"]
    held = f", retained under {kept['mode']} for {kept['days']} days" if kept else ""
    print(json.dumps(made) if as_json else f"made repository {made['id'][:SHORT]} at {made['url']}{held}")


@app.command()
def snapshots(
    repo: Url,
    password_file: Password,
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    as_json: AsJson = False,
) -> None:
    """List what was kept, oldest first."""
    told = _app().snapshots(_access(repo, password_file), _narrowing(host, tag, path))
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    _tell_damaged(told)
    from rich.console import Console  # of the commands that need no table, none waits for it
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "time (UTC)", "host", "tags", "files", "size", "paths"):
        table.add_column(heading, justify="right" if heading in ("files", "size") else "left", overflow="fold")
    for each in told["snapshots"]:
        size = "" if each["bytes"] is None else size_text(each["bytes"])
        files = "" if each["files"] is None else str(each["files"])
        when = each["time"][:19].replace("T", " ")
        paths = "\n".join(_names().paths_for_people(each))
        words = (each["hostname"], ", ".join(each["tags"]), files, size, paths)
        table.add_row(each["id"][:SHORT], when, *map(escape, words))
    Console().print(table)


@app.command()
def ls(
    snapshot: Named,
    repo: Url,
    password_file: Password,
    paths: Paths = None,
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    as_json: AsJson = False,
) -> None:
    """List what a snapshot holds; with --json one object a line."""
    told = _names()
    for each in _app().ls(_access(repo, password_file), snapshot, paths or [], _narrowing(host, tag, path)):
        if as_json:
            print(json.dumps(each, ensure_ascii=False))
        else:
            target = f" -> {told.for_people(each, 'target')}" if "target" in each else ""
            owner = f"{each['uid']}:{each['gid']}"
            print(
                f"{each['type']:<8} {each['mode']} {owner:>11} {each['size']:>12} {each['mtime'][:19]} "
                f"{told.for_people(each)}{target}"
            )


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The earlier one.")],
    second: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The later one.")],
    repo: Url,
    password_file: Password,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Also what differs in owner, mode or times only.")
    ] = False,
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    as_json: AsJson = False,
) -> None:
    """What differs between two snapshots: + added, - removed, M content, T type, U metadata."""
    for each in _app().diff(_access(repo, password_file), first, second, metadata, _narrowing(host, tag, path)):
        print(json.dumps(each, ensure_ascii=False) if as_json else _change(each))


@app.command()
def check(
    repo: Url,
    password_file: Password,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read and verify every byte, too.")] = False,
    part: Annotated[str, typer.Option(metavar="N/OF", help="Read the Nth of OF parts: 1/7 … 7/7 are all.")] = "",
    lock: Lock = True,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Is all of it there; with --read-data: is it what was written? Says what share was read. Exit 1 at any fault."""
    with Progress("snapshots", as_json, "nothing was changed") as tell:
        found = _app().check(_access(repo, password_file, lock, retry_lock), _share(read_data, part), tell)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        for sentence in found["notes"]:
            print(f"Note: {sentence}")
        print(
            f"{found['snapshots']} snapshots, {found['trees']} trees, {found['blobs']} blobs, {found['packs']} packs; "
            f"{size_text(found['bytes_read'])} of {size_text(found['bytes'])} read ({100 * found['share_read']:.1f} %)"
        )
        _tell_some(found["faults"])
    if not found["holds"]:
        count = "1 fault" if len(found["faults"]) == 1 else f"{len(found['faults'])} faults"
        print(f"Error: the repository does not hold: {count}", file=sys.stderr)
        raise typer.Exit(EXIT_FAULTS)


@key_app.command("list")
def key_list(repo: Url, password_file: Password, as_json: AsJson = False) -> None:
    """Whose passwords open it; * is the one just used."""
    for each in _app().keys(_access(repo, password_file)):
        mark = "*" if each["current"] else " "
        told = f"{mark} {each['name'][:SHORT]} {each['created'][:19]} {each['username']}@{each['hostname']}"
        print(json.dumps(each, ensure_ascii=False) if as_json else told)


@key_app.command("add")
def key_add(
    repo: Url,
    password_file: Password,
    new_password_file: Annotated[Path, typer.Option(help="A file that holds the new password.")],
    user: Annotated[str, typer.Option(help="Who will hold it, where it is not you.")] = "",
) -> None:
    """One more password that opens it: another holder's, or the next one before the old one is removed."""
    added = _app().key_add(_access(repo, password_file), new_password_file, user)
    print(f"added key {added['name'][:SHORT]}")


@key_app.command("remove")
def key_remove(
    key: Annotated[str, typer.Argument(help="The beginning of its name, as `key list` tells it.")],
    repo: Url,
    password_file: Password,
) -> None:
    """A password opens it no more. Whoever has copied the repository and the master key still reads that copy."""
    removed = _app().key_remove(_access(repo, password_file), key)
    print(f"removed key {removed['name'][:SHORT]}")


def _app() -> Any:
    sys.setswitchinterval(0.0005)  # workers are mostly in libraries, and come back for a moment: they wait less
    gc.set_threshold(50_000, 20, 100)  # a repository makes millions of small values, and hardly a cycle of them
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a lock is given back
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a restore holds every folder of a path open
    return importlib.import_module("ncia.app.repository")


def _names() -> Any:
    """The same, for what is asked line by line: nothing is prepared anew."""
    return importlib.import_module("ncia.app.repository")


def _access(repo: str, password_file: Path, lock: bool = True, retry_lock: str = "") -> Any:
    return _app().Access(repo, password_file, lock, retry_lock=retry_lock, hear=_tell_waiting)


def _change(each: dict[str, Any]) -> str:
    return f"{each['change']} {_names().for_people(each)}"


def _narrowing(host: list[str] | None, tag: list[str] | None, path: list[str] | None) -> Any:
    return _app().narrowing_of(host or (), tag or (), path or ())


def _tell_waiting(sentence: str) -> None:
    print(f"Note: {sentence}", file=sys.stderr, flush=True)


def _share(read_data: bool, part: str) -> tuple[int, int] | None:
    if not part:
        return (1, 1) if read_data else None
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", part)
    if not found or int(found[1]) > int(found[2]):
        raise typer.BadParameter(f"{part!r} is not of the form 2/7", param_hint="--part")
    return int(found[1]), int(found[2])


def _end(told: dict[str, Any], sentence: str) -> None:
    """A partial answer is told as such, with what is missing, and is no success."""
    _tell_damaged(told)
    if told["partial"]:
        _tell_some(told["losses"]["named"])
        counts = ", ".join(f"{count} × {kind}" for kind, count in told["losses"]["counts"].items())
        print(f"Error: {sentence}: {counts} not kept", file=sys.stderr)
        raise typer.Exit(EXIT_PARTIAL)


def folder_of(text: str) -> Path:
    """Of an option; an empty one would be the current folder."""
    if not text:
        raise typer.BadParameter("it is empty: is a variable of your shell unset? this folder is .")
    return Path(text)


def _tell_damaged(told: dict[str, Any]) -> None:
    """Files of the repository that were passed over. They are a check's to judge."""
    for sentence in told["damaged"]:
        print(f"Damaged: {sentence}; ncia repo check tells what that costs", file=sys.stderr)


def _tell_some(sentences: list[str]) -> None:
    for sentence in sentences[:NAMED_MAX]:
        print(sentence, file=sys.stderr)
    if len(sentences) > NAMED_MAX:
        print(f"… and {len(sentences) - NAMED_MAX} more (--json names them)", file=sys.stderr)


# commands in modules of their own, which take the options above
MORE = (
    "repo_backup",
    "repo_engines",
    "repo_escrow",
    "repo_mount",
    "repo_prune",
    "repo_restore",
    "repo_retention",
    "repo_twins",
)
for _more in MORE:
    importlib.import_module(f"ncia.cli.{_more}")
