"""`ncia recover`: plan, approve with one's own key, watch, stop, resume. Made to be read at 3 am."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ncia.cli.client import Api
from ncia.cli.estate import chosen
from ncia.cli.signing import own_key
from ncia.core.base.clock import SystemClock, from_text, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.config import load_estate
from ncia.core.journal.canonical import canonical
from ncia.core.reports.spelling import span
from ncia.core.requests.approval import NAMESPACE, person_of, signed_bytes

app = typer.Typer(help="Move systems to the other site, or home again, after two people said so.", no_args_is_help=True)

WATCH_SECONDS = 0.5
OVER = ("succeeded", "failed", "abandoned", "stopped")
COLOURS = {
    "served": "green",
    "succeeded": "green",
    "done": "green",
    "moving": "yellow",
    "running": "yellow",
    "failed": "bold red",
    "refused": "bold red",
    "stopped": "bold red",
}

RunName = Annotated[str, typer.Argument(help="The run's name, as `ncia recover plan` told it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of the page.")]


@app.command()
def plan(
    site: Annotated[str, typer.Argument(help="The lost site; with another runbook the returned site, or the system.")],
    accept_loss: Annotated[
        list[str] | None,
        typer.Option(metavar="SYSTEM=REASON", help="Go on although this system loses more than promised, or stays."),
    ] = None,
    accept_drift: Annotated[
        list[str] | None,
        typer.Option(metavar="SYSTEM=REASON", help="Go on although this system's program differs between the sites."),
    ] = None,
    runbook: Annotated[
        str, typer.Option(help="The procedure: site_failover, site_failback, system_failover, or another file's name.")
    ] = "site_failover",
    as_json: AsJson = False,
) -> None:
    """Freeze a plan: what moves, in which order, how long it takes, what would be lost. Changes nothing."""
    api = Api.from_environment()
    body: dict[str, Any] = {"runbook": runbook, "site": site, "by": api.asker()}
    body["accept_loss"] = _accepted(accept_loss or [], "--accept-loss")
    if accept_drift:
        body["accept_drift"] = _accepted(accept_drift, "--accept-drift")
    told = api.post("/v1/recovery/plans", body)
    if as_json:
        print(json.dumps(told))
        return
    console = Console(highlight=False)
    console.print(plan_page(told["plan"], told["sentence"]))
    console.print(f"\nplan hash  {told['plan_hash']}")
    console.print(f"\nNext: {told['approvals']} different people approve, each with their own key:", style="bold")
    for command in told["commands"]:
        console.print(f"  {command}")


@app.command()
def approve(
    run: RunName,
    key: Annotated[
        Path, typer.Option(help="Your OpenSSH key, or FILE.pub of the agent's; it does not leave this machine.")
    ],
    minutes: Annotated[float, typer.Option(help="How long the approval is good for.", min=1)] = 10,
    estate: Annotated[Path | None, typer.Option(help="The estate's folder; this site's own where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the plan of RUN as yourself. The last approval that is needed starts the run."""
    api = Api.from_environment()
    found = api.get(f"/v1/recovery/runs/{run}")
    own = own_key(key)
    person = person_of(load_estate(chosen(estate)).people, own.public.line)
    plan_hash = hashlib.sha256(canonical(found["plan"])).hexdigest()
    if plan_hash != found["plan_hash"]:
        why = f"its hash is {plan_hash[:16]}…, the controller says {found['plan_hash'][:16]}…"
        raise Refusal("approval.plan-altered", f"approve run {run}", why, "make a new plan, and ask why")
    expires_at = to_text(SystemClock().now() + timedelta(minutes=minutes))
    signed = {"run": run, "plan_hash": plan_hash, "person": person.id, "expires_at": expires_at}
    signature = own.sign(signed_bytes(**signed), NAMESPACE)
    told = api.post(
        f"/v1/recovery/runs/{run}/approvals",
        {k: v for k, v in signed.items() if k != "run"} | {"signature": signature},
    )
    if as_json:
        print(json.dumps(told))
        return
    print(f"{person.name} ({person.id}, {own.public.fingerprint}) approved plan {plan_hash[:16]}… until {expires_at}")
    print(told["sentence"])
    if told["run_next"]:
        print(f"Next: {told['run_next']}")


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(help="One run; every run where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was planned and done, and what a run waits for."""
    api = Api.from_environment()
    told = api.get(f"/v1/recovery/runs/{run}") if run else api.get("/v1/recovery/runs")
    if as_json:
        print(json.dumps(told))
        return
    Console(highlight=False).print(run_page(told) if run else runs_page(told["runs"]))


@app.command()
def watch(
    run: Annotated[str | None, typer.Argument(help="The newest run where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run until it is over or stopped. Leaving (Ctrl-C) does not touch the run."""
    api = Api.from_environment()
    name = run or _newest(api)
    told = api.get(f"/v1/recovery/runs/{name}")
    if as_json:
        _watch_lines(api, name)
        return
    with Live(run_page(told), console=Console(highlight=False), auto_refresh=False) as live:
        while told["state"] not in OVER:
            time.sleep(WATCH_SECONDS)  # the pace of a page for a person
            told = api.get(f"/v1/recovery/runs/{name}")
            live.update(run_page(told), refresh=True)
    _exit_by(told)


@app.command()
def start(run: RunName) -> None:
    """Begin an approved run, or go on with a stopped one."""
    _ask(run, "start")


@app.command()
def stop(run: RunName, reason: Annotated[str, typer.Option(help="Why, for the journal.")]) -> None:
    """Begin no further step; what is under way ends first. A run that has moved nothing yet takes back what it did."""
    _ask(run, "stop", reason=reason)


@app.command()
def resume(run: RunName) -> None:
    """Go on where a stopped run stands; what failed or was refused is tried again."""
    _ask(run, "resume")


@app.command()
def alone(
    run: RunName,
    by: Annotated[str, typer.Option(help="Who swears; a person of the estate.")],
    reason: Annotated[str, typer.Option(help="Why nobody else will ever be asked by which right this run acts.")],
) -> None:
    """Override: let a run act though neither peer nor witness knows of its plan and approvals. It is journalled."""
    _ask(run, "alone", by=by, reason=reason)


# --- pages -----------------------------------------------------------------------------------------------------------


def plan_page(told: Mapping[str, Any], sentence: str) -> Group:
    table = _table("wave", "system", "grade", "would be lost", "measured", "RPO", "served in", "after")
    for move in told["moves"]:
        table.add_row(
            str(move["wave"]),
            move["system"],
            str(move["grade"]),
            loss_text(move["loss"]),
            _clock(move["loss"]["measured_at"])[:8],
            span(move["promise_rpo_seconds"]),
            span(move["expected_seconds"]),
            ", ".join(move["depends_on"]) or "–",
        )
    parts: list[Any] = [Text(f"{told['run']}: {sentence}", style="bold"), Text(""), table]
    for move in told["moves"]:
        if move["loss"]["accepted"]:
            parts.append(Text(f"accepted: {move['system']}: {move['loss']['accepted']}", style="bold red"))
    for item in told["left_out"]:
        parts.append(Text(f"left out: {item['system']}: {item['why']}; accepted: {item['accepted']}", style="bold red"))
    parts.append(Text(""))
    parts += [Text(f"· {note}") for note in told["notes"]]
    if told["estimated"]:
        parts.append(Text(f"· never measured, estimated: {', '.join(told['estimated'])}", style="yellow"))
    return Group(*parts)


def loss_text(loss: Mapping[str, Any]) -> Text:
    if loss["seconds"] is None:
        told, style = "not known", "bold red"
    elif loss["how"] in ("synchronous", "planned"):
        told, style = "nothing", "green"
    else:
        told, style = f"≤ {span(loss['seconds'])}", "yellow"
    if loss["accepted"]:
        style = "bold red"
    return Text(told, style=style)


def run_page(told: Mapping[str, Any]) -> Group:
    heading = Text(f"{told['run']}  {told['state']}", style=COLOURS.get(told["state"], "bold"))
    table = _table("wave", "system", "grade", "state", "steps", "out of service", "what")
    for system in told["systems"]:
        state = system["state"]
        table.add_row(
            str(system["wave"]),
            system["system"],
            str(system["grade"]),
            Text(state, style=COLOURS.get(state, "")),
            f"{system['steps_done']}/{system['steps_total']}",
            span(system["rto_seconds"], "–"),
            Text(system["evidence"], style="red"),
        )
    parts: list[Any] = [heading, Text(told["sentence"]), Text(""), table, Text("")]
    parts += [Text(f"{word:<10} {what}") for word, what in _facts(told) if what]
    for refusal in told["refusals"]:
        parts.append(Text(f"refused    {refusal['person']}: {refusal['reason']}", style="red"))
    if told["run_next"]:
        parts.append(Text(f"Next: {told['run_next']}", style="bold"))
    return Group(*parts)


def runs_page(runs: list[Mapping[str, Any]]) -> Table | Text:
    if not runs:
        return Text("no plan was ever made; `ncia recover plan SITE` makes one and changes nothing")
    table = _table("run", "site", "to", "state", "steps", "what")
    for run in runs:
        state = Text(run["state"], style=COLOURS.get(run["state"], ""))
        steps = f"{run['steps_done']}/{run['steps_total']}"
        table.add_row(run["run"], run["site"], run["to_site"], state, steps, escape(run["sentence"]))
    return table


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The moments that a clock of the recovery counts from."""
    approved = ", ".join(f"{a['person']} {_clock(a['at'])}" for a in told["approved_by"])
    return [
        ("planned", f"{told['planned_by']} {_clock(told['planned_at'])}"),
        ("approved", approved),
        ("started", _clock(told["started_at"])),
        ("lease gone", _clock(told["lease_expired_seen_at"])),
        ("ended", _clock(told["ended_at"])),
    ]


def _clock(moment: str | None) -> str:
    return f"{from_text(moment):%H:%M:%S.%f}"[:-3] + "Z" if moment else ""


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("wave", "grade", "steps") else "left")
    return table


# --- talking ---------------------------------------------------------------------------------------------------------


def _ask(run: str, verb: str, **said: str) -> None:
    api = Api.from_environment()
    told = api.post(f"/v1/recovery/runs/{run}/{verb}", {"by": api.asker(), **said})
    print(f"{told['run']} {told['state']}: {told['sentence']}")
    if told["run_next"]:
        print(f"Next: {told['run_next']}")


def _accepted(words: list[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        system, equals, reason = word.partition("=")
        if not equals or not reason.strip():
            hint = f"{option} SYSTEM='why it is accepted'"
            raise NciaError("cli.accept-loss", f"read {option} {word}", "it names no reason", hint)
        found[system] = reason.strip()
    return found


def _newest(api: Api) -> str:
    runs = api.get("/v1/recovery/runs")["runs"]
    if not runs:
        raise NciaError("recovery.no-such-run", "watch a run", "no plan was ever made", "ncia recover plan SITE")
    return str(runs[0]["run"])


def _watch_lines(api: Api, name: str) -> None:
    last = ""
    while True:
        told = api.get(f"/v1/recovery/runs/{name}")
        line = json.dumps({k: v for k, v in told.items() if k != "plan"})
        if line != last:
            print(line, flush=True)
            last = line
        if told["state"] in OVER:
            _exit_by(told)
            return
        time.sleep(WATCH_SECONDS)  # as above, by lines


def _exit_by(told: Mapping[str, Any]) -> None:
    if told["state"] != "succeeded":
        raise typer.Exit(1)
