"""`ncia report loss`, drawn for a terminal: which acts are lost, by agency, and what nobody can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ncia.cli.drawing import quiet_table

ACTS_SHOWN_MAX = 20  # of an agency; --json and --html hold all

Report = Mapping[str, Any]


def drawn(report: Report) -> Group:
    """The report for a terminal of 100 columns."""
    asked = f", run {report['run']}" if report["run"] else ""
    parts: list[Table | Text] = [
        Text.from_markup(f"[bold]What was lost of {report['lost_site']}[/]{asked}, as {report['site']} knows it"),
        Text(f"acknowledged from {_moment(report['since'])} to {_moment(report['until'])} UTC", style="dim"),
        _sentence(report),
    ]
    if report["agencies"]:
        parts.append(_agencies(report["agencies"]))
    parts += [_acts(agency) for agency in report["agencies"] if agency["lost"] or agency["altered"]]
    parts.append(_not_proven(report))
    parts.append(Text(f"\nlist SHA-256 {report['list_sha256']}, journal entry {report['entry']}", style="dim"))
    return Group(*parts)


def _sentence(report: Report) -> Text:
    told = f"{report['receipts']:,} acknowledged acts looked for by id and content: "
    if not report["lost"] and not report["altered"]:
        known = not report["unnamed"] and not report["uncompared"]
        return Text(told + ("none is lost" if known else "none of them is lost"), style="green" if known else "")
    return Text(told + f"{report['lost']:,} lost, {report['altered']:,} altered", style="bold red")


def _agencies(agencies: list[Report]) -> Table:
    counts = ("acts", "lost", "altered")
    table = quiet_table("agency", *counts, right=counts)
    for agency in agencies:
        table.add_row(
            escape(agency["name"]),
            f"{agency['receipts']:,}",
            _count(len(agency["lost"])),
            _count(len(agency["altered"])),
        )
    return table


def _count(number: int) -> str:
    return f"[bold red]{number:,}[/]" if number else "0"


def _acts(agency: Report) -> Text:
    text = Text(f"\n{agency['name']}\n", style="bold")
    acts = [("lost", act) for act in agency["lost"]] + [("altered", act) for act in agency["altered"]]
    for kind, act in acts[:ACTS_SHOWN_MAX]:
        row = f"  {kind:8}{act['system']:14}{act['id']}  {_moment(act['acked_at'])}  {act['content_sha256'][:12]}…\n"
        text.append(row, style="not bold")
    if len(acts) > ACTS_SHOWN_MAX:
        text.append(
            f"  … and {len(acts) - ACTS_SHOWN_MAX:,} more: --json or --html FILE has all\n", style="not bold dim"
        )
    text.rstrip()
    return text


def _not_proven(report: Report) -> Text:
    """Unknown is red: time in which acts may be lost that no list holds, and rows that could not be asked."""
    if not report["unnamed"] and not report["uncompared"]:
        return Text(
            "\nNot proven: nothing; each acknowledged act had its receipt here and was looked for.", style="green"
        )
    text = Text("\nNot proven\n", style="bold red")
    for gap in report["unnamed"]:
        at_least = f", at least {gap['dropped']:,} acts" if gap["dropped"] else ""
        span = f"{_moment(gap['since'])} to {_moment(gap['until'])}"
        text.append(f"  loss may be unnamed from {span}{at_least}: {gap['why']}\n", style="not bold red")
    for gap in report["uncompared"]:
        text.append(f"  {gap['system']}, {gap['receipts']:,} acts: {gap['why']}\n", style="not bold red")
    text.rstrip()
    return text


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:23]}"
