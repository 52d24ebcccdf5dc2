"""``ncia backup``: the recovery points, and having one made or proven now."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ncia.cli.backup_snapshots import show_forgotten, show_looks, show_snapshots
from ncia.cli.client import Api
from ncia.core.base.errors import NciaError

app = typer.Typer(no_args_is_help=True, help="Recovery points: list them, make them, prove them, copy them.")

POLL_SECONDS = 0.5
WIDE = 120
ENDED = ("succeeded", "failed", "cancelled")
FORGET_SECONDS_MAX = 600.0
REHASH_SECONDS_MAX = 6 * 3600.0
COLOURS = {"matched": "green", "differs": "bold red", "failed": "red", "none": "yellow"}

DatasetName = Annotated[str | None, typer.Argument(help="A dataset such as SYSTEM/rows; all of this site's without.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]
Every = Annotated[bool, typer.Option("--all", help="Older points too.")]
NOTHING = {
    **dict.fromkeys(("run", "prove"), "This site protects nothing: no dataset is active at the other site."),
    "mend": "Nothing to mend.",
    "keep": "Nothing to keep: what is proven in this site's store is in its agency's repository at each place.",
    "bring": "Nothing to bring: nothing was kept out of this site's store.",
    "copy": "Nothing to copy: every proven point of the other site's store is here too.",
}
Wait = Annotated[bool, typer.Option(help="Wait for the end, and fail where a job failed.")]


@app.command("list")
def listed(
    as_json: AsJson = False, every: Annotated[bool, typer.Option("--all", help="Older points too.")] = False
) -> None:
    """Show what is protected: each dataset's newest points, and what was found when they were restored."""
    answer = Api.from_environment().get("/v1/backups")
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    _show(answer, every)


@app.command()
def run(
    dataset: DatasetName = None,
    emptied: Annotated[
        bool, typer.Option(help="Documents were removed from their store: it lists none, or few of many, rightly.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Back up now into this site's store, restore the copy on scratch and compare it with its source.

    Documents are named (SYSTEM/documents): they go into their agency's repository at both sites."""
    _have_done("run", dataset, wait, **({"emptied": True} if emptied else {}))


@app.command()
def prove(dataset: DatasetName = None, wait: Wait = True) -> None:
    """Restore the newest point on scratch again and compare it; where there is none yet, make one first.

    Of documents that are named (SYSTEM/documents) a sample of the newest snapshot at this site."""
    _have_done("prove", dataset, wait)


@app.command()
def copy(dataset: DatasetName = None, wait: Wait = True) -> None:
    """Bring the newest proven point of the other site's store into this site's store as well."""
    _have_done("copy", dataset, wait)


@app.command()
def keep(dataset: DatasetName = None, wait: Wait = True) -> None:
    """Put the newest proven point, or the program, in this site's store into its agency's repository at both sites."""
    _have_done("keep", dataset, wait)


@app.command()
def bring(
    dataset: Annotated[str | None, typer.Argument(help="A dataset such as SYSTEM/rows or SYSTEM/program.")] = None,
    point: Annotated[str, typer.Option(help="A point, or a program's archive; without it the newest kept one.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Of each dataset that was kept out of this site's store.")
    ] = False,
    burnt: Annotated[
        bool, typer.Option(help="The store is empty because it burnt, not because it is missing.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Bring a point out of its agency's repository back into this site's store, under its own name, and prove it.

    For a store that burnt with its points; a program's archive comes back in the same way. What lies there
    damaged under that name is kept aside. To restore into a folder without a controller: ncia repo restore."""
    if every == (dataset is not None):
        raise NciaError("backup.which", "bring copies back", "name a dataset, or say --all", "ncia backup list")
    _have_done("bring", dataset, wait, subject=point, burnt=burnt)


@app.command()
def mend(
    dataset: Annotated[str, typer.Argument(help="Any dataset of the agency, such as SYSTEM/documents.")],
    wait: Wait = True,
) -> None:
    """Bring what this site's place of the agency's repository lacks, or has damaged, from its twin at the other one."""
    _have_done("mend", dataset, wait)


@app.command()
def look(dataset: DatasetName = None) -> None:
    """Compare now what this site's agency repositories hold with what the journal expects there."""
    found = Api.from_environment().post("/v1/backups/look", {"dataset": dataset})["looked"]
    show_looks(found)
    bad = [each["agency"] for each in found if each["missing"] or each["why"]]
    if bad:
        raise NciaError("backup.snapshots-gone", "look into repositories", f"not as expected: {', '.join(bad)}")


@app.command()
def forget(
    agency: Annotated[str, typer.Argument(help="Whose repository, at the site that is asked.")],
    remove_max: Annotated[int | None, typer.Option(help="How many snapshots may go, once.", min=1)] = None,
    reason: Annotated[str, typer.Option(help="Why they may: it stands in the journal.")] = "",
) -> None:
    """Show which snapshots an agency's rules have no place for; with --remove-max let them go, if they are no more.

    Anybody may look; letting them go is the retention officer's. What is modest goes by itself; much at once waits."""
    if remove_max is not None and not reason.strip():
        raise NciaError("backup.no-reason", f"forget snapshots of {agency}", "nobody says why", "--reason TEXT")
    api = Api.from_environment(timeout_seconds=FORGET_SECONDS_MAX)
    if remove_max is None:
        show_forgotten(api.get("/v1/backups/forget", agency=agency))
        return
    ask = {"agency": agency, "remove_max": remove_max, "reason": reason, "by": api.asker()}
    show_forgotten(api.post("/v1/backups/forget", ask))


@app.command("write-off")
def write_off(
    agency: Annotated[str, typer.Argument(help="Whose repository, at the site that is asked.")],
    reason: Annotated[str, typer.Option(help="Why nobody looks for them any more: it stands in the journal.")],
) -> None:
    """Expect no more what is missing in a repository and at the other site, too. For the retention officer.

    Nothing is forgotten or pruned while something is missing; `ncia backup mend` comes first."""
    api = Api.from_environment(timeout_seconds=FORGET_SECONDS_MAX)
    show_forgotten(api.post("/v1/backups/write-off", {"agency": agency, "reason": reason, "by": api.asker()}))


@app.command()
def cancel(job: Annotated[str, typer.Argument(help="The job's id, as `ncia backup list` tells it.")]) -> None:
    """End a job: at once where it waits, before its next step where it runs."""
    ended = Api.from_environment().post("/v1/jobs/cancel", {"job": job})
    print(f"{ended['job']}: {ended['state']}" + ("; it ends before its next step" * (ended["state"] == "running")))


@app.command()
def rehash(dataset: DatasetName = None) -> None:
    """Read the newest point in this site's store again, every byte, and compare it with its manifest."""
    verb = Api.from_environment(timeout_seconds=REHASH_SECONDS_MAX).post("/v1/backups/rehash", {"dataset": dataset})
    damaged = [told for told in verb["read"] if not told["matched"]]
    for told in verb["read"]:
        found = "every byte is as written" if told["matched"] else f"DAMAGED: {told['why']}"
        print(f"{told['dataset']}: {told['point']}, {told['size_bytes'] / 1e6:.0f} MB: {found}")
    if damaged:
        names = ", ".join(told["dataset"] for told in damaged)
        raise NciaError("backup.damaged", "read copies again", f"damaged: {names}", "ncia backup run; keep the copy")


def _have_done(verb: str, dataset: str | None, wait: bool, **more: str | bool) -> None:
    api = Api.from_environment()
    asked = api.post(f"/v1/backups/{verb}", {"dataset": dataset, **more})["jobs"]
    if not asked:
        print(NOTHING[verb])
        return
    for job in asked:
        print(f"{job['job']}  {job['verb']} {job['dataset']}  {job['state']}")
    if not wait:
        return
    failed = [job for job in _ended(api, {job["job"] for job in asked}) if job["state"] != "succeeded"]
    if failed:
        names = ", ".join(job["dataset"] for job in failed)
        raise NciaError("backup.jobs-failed", f"{verb} {len(asked)} datasets", f"failed: {names}", "ncia backup list")


def _ended(api: Api, wanted: set[str]) -> list[dict[str, Any]]:
    """The jobs' last words, printed as they come. A job that the controller no longer knows has ended with it."""
    told: dict[str, dict[str, Any]] = {}
    while True:
        known = {job["job"]: job for job in api.get("/v1/backups")["jobs"] if job["job"] in wanted}
        for name, job in known.items():
            if job["state"] in ENDED and name not in told:
                told[name] = job
                print(f"{job['dataset']}: {job['state']}: {job['sentence']}")
        lost = wanted - known.keys()
        if lost - told.keys():
            raise NciaError("backup.jobs-lost", "wait for the jobs", "the controller restarted", "ncia backup list")
        if len(told) == len(wanted):
            return list(told.values())
        time.sleep(POLL_SECONDS)  # a person waits; the API has no stream of jobs


def _show(answer: dict[str, Any], every: bool) -> None:
    """One line for each dataset and store; in words only what a person must know."""
    console = Console()
    if every:  # with names that are asked for whole
        console.width = max(console.width, WIDE)
    title = f"Recovery points, as {answer['site']} knows them"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("dataset", "taken (UTC)", "at", "snap", "size", "proof", "restored"):
        justify: Any = "right" if column in ("snap", "size", "restored") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "at")
    if every:
        table.add_column("point", no_wrap=True)
    latest = max((str(point["at"]) for point in answer["points"]), default="")
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for point in answer["points"]:
        newest.setdefault((point["dataset"], point["store_site"]), point)
    for point in sorted(answer["points"] if every else newest.values(), key=lambda each: str(each["dataset"])):
        table.add_row(*_row(point, latest), *([point["point"]] if every else []))
    console.print(table)
    for point in newest.values():
        if point["proof"] != "matched":
            console.print(f"[{COLOURS[point['proof']]}]{point['dataset']}: {point['sentence']}[/]", soft_wrap=True)
    for each in answer["datasets"]:
        if (each["dataset"], each["store_site"]) not in newest:
            due = f"first run due {each['due_at'][:19]}Z"
            console.print(f"[bold red]{each['dataset']}: no recovery point[/]; {due}", soft_wrap=True)
    show_snapshots(console, answer)
    for each in answer.get("aside", ()):
        size = "" if each["size_bytes"] < 0 else f"{each['size_bytes'] / 1e6:.0f} MB, "
        console.print(
            f"[yellow]kept aside at {each['site']}: {each['path']}[/] ({size}since {each['since'][:16]}Z): it was "
            "damaged there. Look at that disk; once nobody needs it as evidence, "
            f"rm it below the store's folder on {each['host']}",
            soft_wrap=True,
            highlight=False,
        )
    for each in answer["missed"]:
        console.print(
            f"[bold red]missed: {each['job']} due {each['due_at'][:19]}Z[/]: {each['reason']}", soft_wrap=True
        )
    for job in answer["jobs"]:
        if job["state"] in ("queued", "running"):
            console.print(f"{job['state']}: {job['verb']} {job['dataset']} ({job['job']})", soft_wrap=True)


def _row(point: dict[str, Any], latest: str) -> tuple[str, ...]:
    at = str(point["at"])
    seconds = "" if point["restore_seconds"] is None else f"{point['restore_seconds']:.1f} s"
    return (
        point["dataset"],
        at[5:16].replace("T", " ") if at[:4] == latest[:4] else at[:10],  # a list is of one year, and 80 columns wide
        " + ".join((point["store_site"], *point["copies"])),
        str(len(point["snapshots"])),  # at so many places of its agency's repository
        f"{point['size_bytes'] / 1e6:.0f} MB",
        f"[{COLOURS[point['proof']]}]{point['proof']}[/]",
        seconds,
    )
