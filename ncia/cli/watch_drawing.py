"""How the status view looks in a terminal at 3 am: the one thing that matters is the first line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ncia.cli.drawing import quiet_table
from ncia.core.base.clock import from_text
from ncia.core.reports.spelling import span

View = Mapping[str, Any]
COLOURS = {"up": "green", "degraded": "yellow", "down": "bold red", "unknown": "red"}
SEVERITY_COLOURS = {"critical": "bold white on red", "major": "bold red", "minor": "yellow"}
OPEN_RUNS = ("running", "stopped")


def status_drawn(view: View) -> RenderableType:
    """The whole status."""
    told, colour = headline(view)
    parts: list[RenderableType] = [
        Text(told, style=colour),
        Text(f"as {view['site']} knows it at {_moment(view['as_of'], view['timezone'])}", style="dim"),
        Text(),
        _sites(view),
        Text(),
    ]
    if view["incidents"]:
        parts += [alerts_drawn(view["incidents"], view["timezone"], view["as_of"]), Text()]
    parts += [_run(run) for run in view["runs"] if run["state"] in OPEN_RUNS]
    parts.append(_systems(view))
    if view["missed"]:
        names = ", ".join(sorted({missed["dataset"] for missed in view["missed"]}))
        parts.append(Text(f"Missed runs: {names}", style="yellow"))
    if view["unprotected"]:
        names = ", ".join(each["dataset"] for each in view["unprotected"])
        parts.append(Text(f"No copy at the other site, by declaration: {names}", style="red"))
    return Group(*parts)


def headline(view: View) -> tuple[str, str]:
    """The one thing that matters now, and its colour: a recovery under way, the gravest fault, or that all is well."""
    for run in view["runs"]:
        if run["state"] in OPEN_RUNS:
            words = ("Recovering", "from") if run["runbook"] == "site_failover" else ("Moving systems of", "to")
            word = words[0] if run["state"] == "running" else f"STOPPED while {words[0].lower()}"
            steps = f"{run['steps_done']} of {run['steps_total']} steps done"
            return f"{word} {run['site']} {words[1]} {run['executing_site']}: {steps}", "bold yellow"
    unowned = [each for each in view["incidents"] if not each["acked_by"]]
    for incident in unowned or view["incidents"]:
        owner = f" ({incident['acked_by']} has it)" if incident["acked_by"] else ""
        return incident["sentence"] + owner, SEVERITY_COLOURS.get(incident["severity"], "bold red")
    not_up = [system["id"] for system in view["systems"] if system["verdict"] != "up"]
    if not_up:
        word = "is" if len(not_up) == 1 else "are"
        return f"{', '.join(not_up)} {word} not seen up; no incident is open (yet)", "bold yellow"
    at_risk = [system["id"] for system in view["systems"] if system["breaks_promise"] or system["lag_seconds"] is None]
    if at_risk:
        return f"All systems are up; the loss of {', '.join(at_risk)} is unknown or over its promise", "bold yellow"
    return f"All {len(view['systems'])} systems are up, and their copies keep what was promised", "bold green"


def alerts_drawn(incidents: Sequence[View], timezone: str, as_of: str) -> RenderableType:
    """The incidents, each with what to run."""
    if not incidents:
        return Text("No incident is open.", style="green")
    parts = []
    for incident in incidents:
        head = Text()
        head.append(f" {incident['severity']} ", style=SEVERITY_COLOURS.get(incident["severity"], "red"))
        head.append(f" {incident['id']} ", style="bold")
        lasting = (from_text(as_of) - from_text(incident["opened_at"])).total_seconds()
        head.append(f"since {_moment(incident['opened_at'], timezone)} ({span(max(0.0, lasting))})", style="dim")
        if incident["members"]:
            head.append(f", explains {incident['members']} more", style="dim")
        parts += [head, Text(f"  {incident['sentence']}")]
        if incident["acked_by"]:
            until = _moment(incident["acked_until"], timezone)
            parts.append(
                Text(f"  {incident['acked_by']} has it until {until}: {incident['ack_comment']}", style="cyan")
            )
        else:
            parts.append(Text(f"  Nobody has it: ncia alerts ack {incident['id']} --by … --comment …", style="dim"))
        if incident["run_next"]:
            parts.append(Text(f"  Run: {incident['run_next']}", style="bold"))
    return Group(*parts)


def _sites(view: View) -> Table:
    table = quiet_table("site", "verdict", "seen by", "lease", "etcd", "agent", "active", wraps=("seen by",))
    for site in view["sites"]:
        seen = ", ".join(f"{vantage} {verdict}" for vantage, verdict in sorted(site["seen_by"].items())) or "nobody"
        agent = Text("silent", style="bold red") if site["silent"] else Text("speaks", style="green")
        lease, etcd = (_verdict(site[key], {"up": "held"} if key == "lease" else {}) for key in ("lease", "etcd"))
        table.add_row(
            Text(site["name"], style="bold"), _verdict(site["verdict"]), seen, lease, etcd, agent,
            str(site["active_systems"]) if site["kind"] == "centre" else "",
        )  # fmt: skip
    return table


def _systems(view: View) -> Table:
    table = quiet_table("grade", "system", "active at", "verdict", "lag", "would lose", "promise", "proven")
    for system in view["systems"]:
        where = system["active_site"] + ("" if system["active_site"] == system["home"] else " (moved)")
        table.add_row(
            str(system["grade"]),
            Text(system["id"], style="bold"),
            where,
            _verdict(system["verdict"]),
            _lag(system),
            _loss(system),
            span(system["promise_rpo_seconds"]),
            Text("never", style="red")
            if system["proven_at"] is None
            else _moment(system["proven_at"], view["timezone"]),
        )
    return table


def _lag(system: View) -> Text:
    if system["lag_seconds"] is None:
        return Text("unknown", style="bold red")
    return Text(f"{system['lag_seconds']:.1f} s" + (" (stale)" if system["stale"] else ""), style=_lag_colour(system))


def _lag_colour(system: View) -> str:
    return "red" if system["stale"] else COLOURS.get(system["replica_verdict"], "red")


def _loss(system: View) -> Text:
    """What a loss of the active site would cost now."""
    if system["predicted_loss_seconds"] is None:
        return Text("unknown", style="bold red")
    told = f"{system['predicted_loss_seconds']:.1f} s"
    if system["commits_wait"] and not system["breaks_promise"]:
        return Text("nothing", style="green")
    return Text(told, style="bold red" if system["breaks_promise"] or system["stale"] else "")


def _run(run: View) -> Text:
    told = f"Run {run['id']}: {run['runbook']} of {run['site']}, {run['state']}"
    return Text(f"{told}, {run['steps_done']} of {run['steps_total']} steps, approved by {len(run['approvals'])}\n")


def _verdict(verdict: str, words: Mapping[str, str] | None = None) -> Text:
    return Text((words or {}).get(verdict, verdict), style=COLOURS.get(verdict, ""))


def _moment(text: str, timezone: str) -> str:
    """The time of day at the site that answers; whole moments are in the JSON."""
    moment: datetime = from_text(text)
    try:
        return moment.astimezone(ZoneInfo(timezone)).strftime("%H:%M:%S")
    except (ZoneInfoNotFoundError, ValueError):
        return moment.strftime("%H:%M:%SZ")
