"""`ncia report`: what was promised beside what was measured, and what was lost, asked of the site's API."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ncia.cli import report_backup, report_loss
from ncia.cli.client import Api
from ncia.cli.drawing import console, not_proven, quiet_table
from ncia.console import reports as pages
from ncia.core.base.clock import from_text
from ncia.core.base.errors import NciaError
from ncia.core.reports.spelling import ago, span

app = typer.Typer(help="Reports: promised beside measured.", no_args_is_help=True)

REPORT_SECONDS_MAX = 300.0  # a long day, a hundred thousand acts: seconds
NEVER, UNKNOWN = "[bold red]never measured[/]", "[bold red]unknown[/]"


@app.callback()
def reports() -> None:
    """Reports: promised beside measured."""


AsJson = Annotated[bool, typer.Option("--json", help="The report as JSON, as the API gives it.")]
AsHtml = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page there.")]


@app.command()
def continuity(as_json: AsJson = False, html: AsHtml = None) -> None:
    """Per system RPO and RTO, promised and measured, last proof, time unprotected; and what was never proven."""
    report = Api.from_environment().get("/v1/reports/continuity")
    tell(report, as_json, html, pages.continuity_page, drawn)


@app.command()
def backup(
    day: Annotated[str, typer.Option(help="The site's local day, such as 2026-09-26; today without.")] = "",
    agency: Annotated[str, typer.Option(help="This agency's datasets only.")] = "",
    as_json: AsJson = False,
    html: AsHtml = None,
) -> None:
    """Of each dataset on a day: points expected, made, missed and why; read again, proven, deleted; entry by entry."""
    report = Api.from_environment(timeout_seconds=REPORT_SECONDS_MAX).get("/v1/reports/backup", day=day, agency=agency)
    tell(report, as_json, html, pages.backup_page, report_backup.drawn)


@app.command()
def loss(
    run: Annotated[str, typer.Option(help="Of the site that this run left.")] = "",
    site: Annotated[str, typer.Option(help="Of this site, with --since.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Acts acknowledged since (RFC 3339).")] = "",
    agency: Annotated[str, typer.Option(help="This agency's acts only.")] = "",
    as_json: AsJson = False,
    html: AsHtml = None,
) -> None:
    """Which acknowledged acts the surviving rows do not hold, by agency; and what nobody can name. It is journalled."""
    asked = {"run": run, "site": site, "since": since, "agency": agency}
    report = Api.from_environment(timeout_seconds=REPORT_SECONDS_MAX).post("/v1/reports/loss", asked)
    tell(report, as_json, html, pages.loss_page, report_loss.drawn)


def tell(
    report: Mapping[str, Any],
    as_json: bool,
    html: Path | None,
    page: Callable[[Mapping[str, Any]], str],
    drawing: Callable[[Mapping[str, Any]], RenderableType],
) -> None:
    """As JSON, as a page in a file, or drawn for the terminal."""
    if html is not None:
        try:
            html.write_text(page(report), encoding="utf-8")
        except OSError as error:
            raise NciaError("report.not-written", f"write {html}", error.strerror or str(error)) from error
        print(f"written to {html}", file=sys.stderr)
    if as_json:
        print(json.dumps(report, ensure_ascii=False, sort_keys=True))
    elif html is None:
        console().print(drawing(report))


def drawn(report: Mapping[str, Any]) -> Group:
    """The report for a terminal of 100 columns."""
    now = from_text(report["as_of"])
    parts: list[Table | Text] = [
        Text.from_markup(f"[bold]Continuity of {escape(report['estate'])}[/], as {report['site']} knows it"),
        Text(f"{now:%Y-%m-%d %H:%M:%S} UTC, estate {report['estate_hash'][:16]}", style="dim"),
        _systems(report["systems"], now),
        Text(LEGEND, style="dim"),
    ]
    if report["unprotected"]:
        parts.append(_unprotected(report["unprotected"]))
    parts.append(not_proven(report["not_proven"], "each answer above was measured"))
    return Group(*parts)


COLUMNS = ("", "system", "at", "RPO", "loss now", "named", "in run", "RTO", "measured", "proven", "restore", "alone")
LEGEND = """RPO, RTO: promised. loss now: what losing that site would cost, measured. named: each act of it by its
receipt at the other site (?: only that site can say). in run: the loss figure of the last run's plan.
measured: its RTO. proven: a copy restored and compared. alone: promoted, no partner since."""


def _systems(systems: list[Mapping[str, Any]], now: datetime) -> Table:
    table = quiet_table(*COLUMNS, gap=1)
    for system in systems:
        table.add_row(*_row(system, now))
    return table


def _row(system: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    run, proof, alone = system["last_run"], system["proof"], system["without_partner_seconds"]
    return (
        str(system["grade"]),
        f"[bold]{system['id']}[/]",
        system["active_site"],
        span(system["promise_rpo_seconds"]),
        _loss(system),
        {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "?"}[system["loss_named"]],
        "–" if run is None else span(run["loss_seconds"], UNKNOWN),
        span(system["promise_rto_seconds"]),
        _judged(span(run["rto_seconds"] if run else None, NEVER), system["keeps_rto"]),
        _proof(proof, now),
        "–" if proof["restore_seconds"] is None else span(proof["restore_seconds"]),
        "–" if alone is None else f"[bold red]✗ {span(alone)}[/]",
    )


def _loss(system: Mapping[str, Any]) -> str:
    loss = system["predicted_loss_seconds"]
    if loss is not None and system["stale"]:
        return f"[bold red]? {span(loss)} old[/]"
    return _judged(span(loss, UNKNOWN), system["keeps_rpo"])


def _judged(said: str, kept: bool | None) -> str:
    if kept is None:
        return said
    return f"[green]✓[/] {said}" if kept else f"[bold red]✗ {said}[/]"


def _proof(proof: Mapping[str, Any], now: datetime) -> str:
    if proof["at"] is None:
        return NEVER
    when = ago(from_text(proof["at"]), now)
    return f"[green]✓[/] {when}" if proof["matched"] else f"[bold red]✗ {when}[/]"


def _unprotected(exceptions: list[Mapping[str, Any]]) -> Text:
    """One person's one decision covers many datasets: told once."""
    same: dict[tuple[str, ...], list[str]] = {}
    for told in exceptions:
        past = "expired " if told["expired"] else ""
        same.setdefault((past, told["until"], told["by"], told["why"]), []).append(told["dataset"])
    text = Text("\nHeld at one site only\n", style="bold red")
    for (past, until, by, why), datasets in same.items():
        text.append(f"  {', '.join(datasets)}\n", style="red")
        text.append(f"    {past}until {until}, allowed by {by}: {why}\n", style="not bold default")
    text.rstrip()
    return text
