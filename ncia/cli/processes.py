"""The long-running processes of a site: each command composes one process and runs it until it is told to end."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()

Settings = Annotated[
    Path | None,
    typer.Option("--settings", envvar="NCIA_SETTINGS", help="The site's site.yaml.", show_envvar=True),
]


def start(module: str, settings: Path | None) -> None:
    """Import the process's composition only now, so that a small process loads little."""
    importlib.import_module(f"ncia.app.{module}").run(settings)


@app.command(rich_help_panel="Processes")
def serve(settings: Settings = None) -> None:
    """Run the site's controller: API, console, calendar, alerting, journal, run engine."""
    start("serve", settings)


@app.command(rich_help_panel="Processes")
def warden(settings: Settings = None) -> None:
    """Hold the site's lease: the right to be primary."""
    start("warden", settings)


@app.command(rich_help_panel="Processes")
def gate(settings: Settings = None) -> None:
    """Let applications reach the site's databases only while its lease is held."""
    start("gate", settings)


@app.command("fence-watch", rich_help_panel="Processes")
def fence_watch(settings: Settings = None) -> None:
    """Stop the site's postmasters where warden or gate do not do their part in time."""
    start("fence_watch", settings)


@app.command(rich_help_panel="Processes")
def receiver(settings: Settings = None) -> None:
    """Keep a second copy of every commit of the synchronous systems that are active at the other site."""
    start("receiver", settings)


@app.command(rich_help_panel="Processes")
def agent(settings: Settings = None) -> None:
    """Probe the targets from this site and report what they say."""
    start("agent", settings)


@app.command(rich_help_panel="Processes")
def worker(settings: Settings = None) -> None:
    """Take backups, proofs and other jobs from the site's queue, beside any number of other workers."""
    start("worker", settings)


@app.command(rich_help_panel="Processes")
def witness(settings: Settings = None) -> None:
    """Cosign the heads of both centres' journals, at the witness: no log forks unseen."""
    start("witness", settings)


@app.command(rich_help_panel="Fencing")
def fence(
    reason: Annotated[str, typer.Argument(help="Why; it stands in lease.json and in every refusal.")],
    settings: Settings = None,
) -> None:
    """Fence this site: shut its gate and give its lease back, until `ncia unfence`. Needs only the warden."""
    tell(control(settings).fence(reason))


@app.command(rich_help_panel="Fencing")
def unfence(settings: Settings = None) -> None:
    """Lift an order to fence this site; it takes its lease again where no recovery run is open against it."""
    tell(control(settings).unfence())


def control(settings: Path | None) -> Any:
    """The warden's socket; the one thing besides the API that a command talks to, for it must work without it."""
    module = importlib.import_module("ncia.app.warden")
    return module.control(settings)


def tell(status: dict[str, Any]) -> None:
    print(f"{status['site']}: {status['reason']}")
