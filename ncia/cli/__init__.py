"""The command line: one module per topic, mounted here; every command but the offline ones goes through the API."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import typer

from ncia.core.base.errors import NciaError, Refusal

# Topic -> module. A module exposes `app`, a Typer; topics without a name of their own mount at the top.
TOPICS = (
    ("", "ncia.cli.processes"),
    ("", "ncia.cli.watch"),
    ("", "ncia.cli.findings"),
    ("", "ncia.cli.people"),
    ("estate", "ncia.cli.estate"),
    ("journal", "ncia.cli.journal"),
    ("backup", "ncia.cli.backup"),
    ("recover", "ncia.cli.recover"),
    ("report", "ncia.cli.report"),
    ("pki", "ncia.cli.pki"),
    ("repo", "ncia.cli.repo"),
    ("lab", "ncia.lab.cli"),  # an extra of the package: mounted where it is installed
)

REPOSITORY = "repo"  # of its topics, the one whose commands open no more than they close
EXIT_ERROR = 1
EXIT_REFUSED = 3


def build(topics: tuple[tuple[str, str], ...] = TOPICS) -> typer.Typer:
    """The whole command tree."""
    root = typer.Typer(
        name="ncia",
        help="Watch, protect, fail over and prove the systems of a two-site estate.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for name, module in topics:
        if importlib.util.find_spec(module) is None:
            continue
        root.add_typer(importlib.import_module(module).app, name=name or None)
    return root


def needed(arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The topics that a command line can mean, by its first word; all of them for help. A warden that starts with
    every topic would carry the lab, the journal's store and PostgreSQL's driver about."""
    first = arguments[0] if arguments else "-"
    if first.startswith("-"):
        return TOPICS
    named = tuple(topic for topic in TOPICS if topic[0] == first)
    return named or tuple(topic for topic in TOPICS if not topic[0])


def run() -> None:
    """Run the command line; an error of ours is two sentences on stderr, never a traceback."""
    try:
        build(needed(sys.argv[1:]))()
    except SystemExit as end:
        if sys.argv[1:2] == [REPOSITORY] and isinstance(end.code, int):
            with suppress(OSError):  # nobody reads what it said any more: as any other command ends
                _leave(end.code)
        raise
    except Refusal as refusal:
        tell(refusal, f"Refused: {refusal.what}: {refusal.why}")
        if refusal.override:
            print(f"Override: {refusal.override}", file=sys.stderr)
        tell_programs(refusal, EXIT_REFUSED)
        raise SystemExit(EXIT_REFUSED) from None
    except NciaError as error:
        tell(error, f"Error: {error.what}: {error.why}")
        tell_programs(error, EXIT_ERROR)
        raise SystemExit(EXIT_ERROR) from None


def _leave(code: int) -> NoReturn:
    """The end of a command that has closed all that it held. To free an index and trees value by value, as the
    interpreter does at its end, takes a tenth of a second for 100,000 files."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it may have been closed by whoever began us
            stream.flush()
    os._exit(code)


def tell_programs(error: NciaError, exit_code: int) -> None:
    """With ``--json`` the error is also the last line of standard error: in the words of the API, and restic's
    ``message_type``."""
    ours = sys.argv[1:]
    if "--json" in ours[: ours.index("--") if "--" in ours else None]:
        override = {"override": error.override} if isinstance(error, Refusal) and error.override else {}
        told = {"message_type": "exit_error", "exit_code": exit_code, **error.as_problem(), **override}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)


def tell(error: NciaError, sentence: str) -> None:
    print(sentence, file=sys.stderr)
    if error.hint:
        print(f"Try: {error.hint}", file=sys.stderr)
