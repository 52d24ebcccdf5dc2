"""`ncia repo forget`: which snapshots are kept, by restic's rules, and why."""

from __future__ import annotations

import importlib
import json
from typing import Annotated, Any

import typer

from ncia.cli.repo import SHORT, AsJson, Password, Url, _access, _tell_damaged, app

Count = Annotated[int, typer.Option(min=0, help="So many, each in an hour, day … of its own.")]
Within = Annotated[str, typer.Option(metavar="SPAN", help="So long before the newest, such as 1y5m7d2h.")]


@app.command("forget")
def forget(
    repo: Url,
    password_file: Password,
    snapshots: Annotated[list[str] | None, typer.Argument(metavar="[SNAPSHOT]…", help="These, and no rule.")] = None,
    keep_last: Count = 0,
    keep_hourly: Count = 0,
    keep_daily: Count = 0,
    keep_weekly: Count = 0,
    keep_monthly: Count = 0,
    keep_yearly: Count = 0,
    keep_within: Within = "",
    keep_within_hourly: Within = "",
    keep_within_daily: Within = "",
    keep_within_weekly: Within = "",
    keep_within_monthly: Within = "",
    keep_within_yearly: Within = "",
    keep_tag: Annotated[list[str] | None, typer.Option(metavar="TAG[,TAG]", help="That have all of these.")] = None,
    proven: Annotated[list[str] | None, typer.Option(help="A snapshot that was restored and compared.")] = None,
    remove_max: Annotated[int | None, typer.Option(min=0, help="So many may go at once, and no share of them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show it, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove snapshots that no rule keeps, of each host and paths by themselves; prune then makes room.

    What is dated in the future or has no tree takes no place. The newest proven one stays, and so does the last of a
    host. More than a third at once are refused until --remove-max says how many. Exit 3 where that is so.
    """
    pruning = importlib.import_module("ncia.app.repository_pruning")
    counts = {
        "last": keep_last,
        "hourly": keep_hourly,
        "daily": keep_daily,
        "weekly": keep_weekly,
        "monthly": keep_monthly,
        "yearly": keep_yearly,
    }
    spans = {
        "within": keep_within,
        "within_hourly": keep_within_hourly,
        "within_daily": keep_within_daily,
        "within_weekly": keep_within_weekly,
        "within_monthly": keep_within_monthly,
        "within_yearly": keep_within_yearly,
    }
    policy = pruning.policy_of(counts, spans, keep_tag or [])
    found = pruning.forget_by(_access(repo, password_file), policy, snapshots or [], proven or [], remove_max, dry_run)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    _tell_damaged(found)
    _tell_judged(found, dry_run)


def _tell_judged(found: dict[str, Any], dry_run: bool) -> None:
    for each in found["snapshots"]:
        sign = "keep  " if each["kept"] else "remove"
        when = each["time"][:19].replace("T", " ")
        print(f"{sign} {each['id'][:SHORT]} {when} {each['hostname']} {' '.join(each['paths'])}: " + _why(each))
    over = sum(not each["kept"] for each in found["snapshots"])
    print(f"{over} would be removed" if dry_run else f"{len(found['removed'])} snapshots removed; prune makes room")


def _why(each: dict[str, Any]) -> str:
    return ", ".join(each["reasons"]) if each["kept"] else "no rule keeps it"
