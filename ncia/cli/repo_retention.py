"""`ncia repo retention …`: what keeps a repository from whoever holds its own key, and what undoes a removal."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Annotated, Any

import typer

from ncia.cli.repo import EXIT_FAULTS, AsJson, Mode, Password, RetainMode, Url, _access, _tell_some, app

retention_app = typer.Typer(
    no_args_is_help=True,
    help="What keeps files from whoever holds the repository's own key (S3 Object Lock, accounts that may only add).",
)
app.add_typer(retention_app, name="retention")


@retention_app.command("show")
def show(repo: Url, password_file: Password, as_json: AsJson = False) -> None:
    """How files are retained, and when the first of those that are needed ends. Exit 1 where one has ended."""
    found = _app().show(_access(repo, password_file))
    if as_json:
        print(json.dumps(found))
    elif found["retained"] is None:
        print("nothing is retained here: whoever has its key can remove everything")
    else:
        print(_rule(found))
        soonest = f"the first ends at {found['soonest'][:19]}Z" if found["soonest"] else "none ends soon"
        print(f"{found['old']} files have half of their time behind them; {soonest}")
        _tell_some([f"not retained any more: {each}" for each in found["unretained"]])
    if found["retained"] is None or found["unretained"]:
        raise typer.Exit(EXIT_FAULTS)


@retention_app.command("set")
def set_(
    repo: Url,
    days: Annotated[int, typer.Option(min=1, help="How long each file is kept from removal.")],
    mode: RetainMode = Mode.COMPLIANCE,
    as_json: AsJson = False,
) -> None:
    """The bucket's own rule from now on, by whoever owns it. What is there already is extended by later backups."""
    found = _app().set_rule(repo, days, mode)
    print(json.dumps(found) if as_json else _rule(found))


@retention_app.command("prove")
def prove(repo: Url, as_json: AsJson = False) -> None:
    """Attack a small file of our own with our own key, in every way there is. Exit 1 where one of them succeeds."""
    found = _app().prove(repo)
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{found['where']}: tried to {', to '.join(found['tried'])}")
        _tell_some(found["broken"])
    if not found["holds"]:
        print("Error: it does not hold against our own key", file=sys.stderr)
        raise typer.Exit(EXIT_FAULTS)
    if not as_json:
        print("it holds")


@retention_app.command("extend")
def extend(repo: Url, password_file: Password, as_json: AsJson = False) -> None:
    """What is needed and has less than half of its time left is retained anew. Each backup does so at its end."""
    found = _app().extend(_access(repo, password_file))
    print(json.dumps(found) if as_json else f"{found['extended']} files extended, {found['old']} were looked at")


@app.command("undelete")
def undelete(
    repo: Url,
    since: Annotated[str, typer.Option(help="From when on removals are undone: a moment, or how long ago (36h, 7d).")],
    as_json: AsJson = False,
) -> None:
    """Bring back what was removed or replaced in a bucket with Object Lock. What was removed before stays so.

    Exit 1 where something is gone for good.
    """
    found = _app().undelete(repo, since)
    print(json.dumps(found) if as_json else f"since {found['since'][:19]}Z: {found['told']}")
    if found["gone"]:
        raise typer.Exit(EXIT_FAULTS)


@app.command("unlock")
def unlock(
    repo: Url,
    password_file: Password,
    remove_all: Annotated[bool, typer.Option("--remove-all", help="Also of those that are at work.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the locks of those that are gone, such as an account that may only add leaves behind."""
    found = _app().unlock(_access(repo, password_file), remove_all)
    print(json.dumps(found) if as_json else f"{found['removed']} locks removed")
    _tell_some([f"at work: {each}" for each in found["kept"]])


def _app() -> Any:
    return importlib.import_module("ncia.app.repository_retention")


def _rule(found: dict[str, Any]) -> str:
    return f"each file is retained under {found['retained']['mode']} for {found['retained']['days']} days"
