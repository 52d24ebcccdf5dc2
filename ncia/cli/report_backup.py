"""`ncia report backup`, drawn for a terminal: a line a dataset, then each thing that happened, with its entry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ncia.cli.drawing import not_proven, quiet_table
from ncia.core.base.clock import from_text
from ncia.core.reports.spelling import span

Report = Mapping[str, Any]


def drawn(report: Report) -> Group:
    """The report for a terminal of 100 columns; times are the site's."""
    zone = ZoneInfo(report["timezone"])
    whole = "" if report["over"] else f", so far ({_clock(report['as_of'], zone)})"
    whose = f" of agency {report['agency']}" if report["agency"] else ""
    parts: list[Table | Text] = [
        Text.from_markup(f"[bold]Backups{escape(whose)} on {report['day']}[/]{whole}, as {report['site']} knows them"),
        Text(f"the day is {report['site']}'s own, {report['timezone']}; so are all times", style="dim"),
        _datasets([told for told in report["datasets"] if _has_points(told)]),
    ]
    parts += [_happened(told, zone) for told in report["datasets"] if _has_entries(told)]
    parts.append(not_proven(report["not_proven"], "each point was made, read again and restored"))
    return Group(*parts)


def _has_points(told: Report) -> bool:
    return bool(told["expected"] or _has_entries(told) or told["standing"])


def _has_entries(told: Report) -> bool:
    return bool(told["points"] or told["troubles"] or told["deleted"])


def _datasets(datasets: list[Report]) -> Table:
    counts = ("expected", "made", "missed", "failed", "re-read", "proven", "deleted")
    table = quiet_table("dataset", "every", *counts, right=counts)
    for told in datasets:
        points, troubles = told["points"], told["troubles"]
        missed = sum(trouble["what"] == "missed" for trouble in troubles)
        table.add_row(
            f"[bold]{told['dataset']}[/]",
            span(told["interval_seconds"]),
            str(told["expected"]),
            str(told["made"]) if told["made"] >= told["expected"] else f"[bold red]✗ {told['made']}[/]",
            _bad(missed),
            _bad(len(troubles) - missed),
            _all(sum(point["reread_ok"] is True for point in points), len(points)),
            _all(sum(point["proven"] is True for point in points), len(points)),
            str(len(told["deleted"])),
        )
    return table


def _bad(count: int) -> str:
    return f"[bold red]✗ {count}[/]" if count else "0"


def _all(count: int, of: int) -> str:
    return f"{count}" if count == of else f"[bold red]✗ {count} of {of}[/]"


def _happened(told: Report, zone: ZoneInfo) -> Text:
    text = Text(f"\n{told['dataset']}", style="bold")
    text.append(f"  {told['agency']}\n", style="not bold dim")
    for point in told["points"]:
        _point(text, point, zone)
    for trouble in told["troubles"]:
        what = {"missed": "missed, due", "backup": "backup failed", "proof": "proof failed"}[trouble["what"]]
        line = f"  {what} {_clock(trouble['at'], zone)}: {trouble['reason']}  {trouble['entry']}\n"
        text.append(line, style="not bold red")
    for gone in told["deleted"]:
        line = f"  {gone['point']} deleted {_clock(gone['at'], zone)} at {gone['store_site']} by {gone['by']}"
        text.append(f"{line}: {gone['reason']}  {gone['entry']}\n", style="not bold")
    text.rstrip()
    return text


def _point(text: Text, point: Report, zone: ZoneInfo) -> None:
    made = f"  {_clock(point['made_at'], zone)}  {point['point']}  at {point['store_site']}"
    size = f"{point['size_bytes'] / 1e6:.0f} MB"
    text.append(f"{made}, {size}, manifest {point['manifest_sha256'][:16]}…  {point['entry']}\n", style="not bold")
    good, bad = "not bold green", "not bold bold red"
    if point["copied_to"]:
        text.append(f"    a second copy is at {point['copied_to']}  {point['copied_entry']}\n", style="not bold")
    if point["kept_at"]:
        where, entries = " and ".join(point["kept_at"]), " ".join(point["kept_entries"])
        text.append(f"    a snapshot of it is in its agency's repository at {where}  {entries}\n", style="not bold")
    if point["brought_from"]:
        line = f"    brought back out of the repository at {point['brought_from']}  {point['brought_entry']}\n"
        text.append(line, style="not bold")
    if point["reread_ok"] is None:
        text.append("    ✗ never read again\n", style=bad)
    else:
        mark, style = ("✓ every byte read again", good) if point["reread_ok"] else ("✗ DAMAGED, read", bad)
        text.append(f"    {mark} {_clock(point['reread_at'], zone)}  {point['reread_entry']}\n", style=style)
    if point["proven"] is None:
        text.append("    ✗ never restored and compared\n", style=bad)
    elif point["proven"]:
        took = span(point["restore_seconds"])
        line = f"    ✓ restored in {took} and equal {_clock(point['proven_at'], zone)}  {point['proven_entry']}\n"
        text.append(line, style=good)
    else:
        text.append(f"    ✗ does not count: {point['why']}  {point['proven_entry']}\n", style=bad)
    if not point["elsewhere"]:
        text.append(f"    ✗ not shown to be away from its source ({point['source_site'] or 'unknown'})\n", style=bad)
    if not point["present"]:
        text.append("    deleted since\n", style="not bold dim")


def _clock(moment: str, zone: ZoneInfo) -> str:
    at: datetime = from_text(moment).astimezone(zone)
    return f"{at:%H:%M:%S}"
