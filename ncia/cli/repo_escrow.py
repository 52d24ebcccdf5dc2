"""`ncia repo key escrow | rotate | recover`: the way in for the day on which the password is lost."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ncia.cli.repo import AsJson, Password, Url, _access, key_app
from ncia.core.base.ids import SHORT

Recipients = Annotated[
    Path, typer.Option("--recipients", help="Who may open it: NAME and public key (age1… or ssh-…) a line.")
]
Twin = Annotated[str, typer.Option(help="URL of its twin at the other site, which is to have the same.")]
TwinPassword = Annotated[Path | None, typer.Option(help="That one's password, where it is another.")]
Out = Annotated[list[Path] | None, typer.Option(help="A file for it, too; may be given again, for each site's safe.")]


@key_app.command()
def escrow(
    repo: Url,
    password_file: Password,
    recipients: Recipients,
    twin: Twin = "",
    twin_password_file: TwinPassword = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Seal a way in for at least two people, by their public keys; any one of them recovers it alone.

    It lies among the repository's keys, at the twin as well, and follows older ones. `age -d` opens it without us.
    """
    twins = _twins(repo, password_file, twin, twin_password_file)
    _tell(_app().escrow(twins, recipients, out or []), as_json)


@key_app.command()
def rotate(
    repo: Url,
    password_file: Password,
    recipients: Recipients,
    new_password_file: Annotated[Path, typer.Option(help="The new password; made where the file is not there.")],
    twin: Twin = "",
    twin_password_file: TwinPassword = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """A new password and a new escrow, then the old password goes. After a crash the same command goes on."""
    twins = _twins(repo, password_file, twin, twin_password_file)
    told = _app().rotation(twins, new_password_file, recipients, out or [])
    _tell(told, as_json)
    if not as_json:
        print(f"{len(told['old_keys_removed'])} keys of the old password removed; {new_password_file} opens it now")
        if told["keys_left"]:
            print(f"{len(told['keys_left'])} other keys still open it: ncia repo key list")


@key_app.command()
def recover(
    repo: Url,
    new_password_file: Annotated[Path, typer.Option(help="The new password; made where the file is not there.")],
    identity: Annotated[
        Path | None, typer.Option(help="Your secret key: age's, or an SSH one without passphrase.")
    ] = None,
    escrow: Annotated[Path | None, typer.Option(help="The escrow's file, where the repository has it no more.")] = None,
    opened: Annotated[Path | None, typer.Option(help="What `age -d` printed, instead of an identity.")] = None,
    as_json: AsJson = False,
) -> None:
    """A new password for a repository whose password is lost, by one person's key. It is proven to open it first."""
    if (identity is None) == (opened is None):
        raise typer.BadParameter("give --identity, or --opened, and not both")
    told = _app().recovery(repo, escrow, identity, opened, new_password_file)
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    print(f"repository {told['repository'][:SHORT]} is open, with {told['snapshots']} snapshots")
    print(f"its new password is in {told['password_file']}; ncia repo key rotate shuts out whoever held the lost one")
    for sentence in told["damaged"]:
        print(f"Damaged: {sentence}; ncia repo check tells what that costs", file=sys.stderr)
    if not told["escrowed"]:
        print("no escrow lies in the repository any more: ncia repo key escrow", file=sys.stderr)


def _twins(repo: str, password_file: Path, twin: str, twin_password_file: Path | None) -> list[Any]:
    twins = [_access(repo, password_file)]
    return [*twins, _access(twin, twin_password_file or password_file)] if twin else twins


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    names = ", ".join(told["recipients"])
    print(f"escrow {told['name'][:SHORT]} of repository {told['repository'][:SHORT]}: any of {names} opens it alone")
    print(f"kept at {', '.join([*told['places'], *told['files']])}; {len(told['removed'])} older ones removed")


def _app() -> Any:
    return importlib.import_module("ncia.app.repository_escrow")
