"""`ncia status` and `ncia alerts`: what is up, what is wrong, who has it; asked of the site's API."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.live import Live

from ncia.cli.client import Api
from ncia.cli.drawing import console
from ncia.cli.watch_drawing import alerts_drawn, status_drawn
from ncia.core.base.errors import Unreachable

app = typer.Typer()
alerts_app = typer.Typer(help="Incidents: one per fault, its root named.")
app.add_typer(alerts_app, name="alerts")

REFRESH_SECONDS = 1.0

AsJson = Annotated[bool, typer.Option("--json", help="The view as JSON, as the API gives it.")]


@app.command()
def status(as_json: AsJson = False) -> None:
    """The one thing that matters first; then sites, incidents and systems."""
    view = Api.from_environment().get("/v1/status")
    if as_json:
        print(json.dumps(view, ensure_ascii=False, sort_keys=True))
        return
    console().print(status_drawn(view))


@app.command()
def watch() -> None:
    """`ncia status`, drawn anew each second until Ctrl-C."""
    api = Api.from_environment()
    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            try:
                live.update(status_drawn(api.get("/v1/status")), refresh=True)
            except Unreachable as error:
                live.update(f"[bold red]{error.what}: {error.why}[/]\nTry: {error.hint}", refresh=True)
            except KeyboardInterrupt:
                return
            time.sleep(REFRESH_SECONDS)  # the pace of a page for a person


@alerts_app.callback(invoke_without_command=True)
def alerts(context: typer.Context, as_json: AsJson = False) -> None:
    """The open incidents, the gravest first."""
    if context.invoked_subcommand is None:
        _list(as_json)


@alerts_app.command("list")
def listed(as_json: AsJson = False) -> None:
    """The open incidents, the gravest first."""
    _list(as_json)


@alerts_app.command()
def ack(
    incident: Annotated[str, typer.Argument(help="The incident's id, as `ncia alerts` shows it.")],
    comment: Annotated[str, typer.Option(help="What is being done about it.")],
    by: Annotated[
        str, typer.Option(help="Who takes it: a person of the estate; whoever is signed in, if left out.")
    ] = "",
    minutes: Annotated[float, typer.Option(help="For how long; it falls earlier when things get worse or well.")] = 60,
) -> None:
    """Take an incident: others see that somebody has it, until when, and what is being done."""
    api = Api.from_environment()
    body: dict[str, Any] = {"by": by or api.asker(), "comment": comment, "minutes": minutes}
    taken = api.post(f"/v1/incidents/{incident}/ack", body)
    print(f"{body['by']} has {taken.get('id') or taken.get('incident', incident)} for {minutes:g} minutes: {comment}")


def _list(as_json: bool) -> None:
    api = Api.from_environment()
    if as_json:
        print(json.dumps(api.get("/v1/incidents"), ensure_ascii=False, sort_keys=True))
        return
    view = api.get("/v1/status")
    console().print(alerts_drawn(view["incidents"], view["timezone"], view["as_of"]))
