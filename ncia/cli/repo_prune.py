"""`ncia repo forget` and `prune`: which snapshots are kept, by restic's rules, and room made in two steps."""

from __future__ import annotations

import importlib
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from ncia.cli.progress import Progress, size_text
from ncia.cli.repo import AsJson, Password, RetryLock, Url, _access, _names, _narrowing, _tell_damaged, app
from ncia.cli.repo_narrowing import Hosts, Made, Tags
from ncia.core.base.ids import SHORT

Count = Annotated[int, typer.Option(min=0, help="So many, each in an hour, day … of its own.")]
Within = Annotated[str, typer.Option(metavar="SPAN", help="So long before the newest, such as 1y5m7d2h.")]


class Engine(StrEnum):
    """Whose prune it is."""

    NCIA = "ncia"
    RESTIC = "restic"


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
    host: Hosts = None,
    tag: Tags = None,
    path: Made = None,
    proven: Annotated[list[str] | None, typer.Option(help="A snapshot that was restored and compared.")] = None,
    remove_max: Annotated[int | None, typer.Option(min=0, help="So many may go at once, and no share of them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show it, and remove nothing.")] = False,
    retry_lock: RetryLock = "",
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
    if snapshots and (any(counts.values()) or any(spans.values()) or keep_tag):
        raise typer.BadParameter(
            "a snapshot that is named goes by no rule: the one or the other", param_hint="--keep-…"
        )
    policy = pruning.policy_of(counts, spans, keep_tag or [])
    access, words = _access(repo, password_file, retry_lock=retry_lock), snapshots or []
    narrowing = _narrowing(host, tag, path)
    found = pruning.forget_by(access, policy, words, proven or [], remove_max, dry_run, narrowing)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    _tell_damaged(found)
    _tell_judged(found, dry_run)


@app.command("prune")
def prune(
    repo: Url,
    password_file: Password,
    grace: Annotated[str, typer.Option(metavar="SPAN", help="From being marked to being removed; 0h: at once.")] = "7d",
    max_unused: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of what stays that nobody may need, so that less is copied.")
    ] = 5.0,
    empty: Annotated[
        bool, typer.Option("--empty", help="Also where no snapshot is left: it is to be emptied.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Ours, or restic's program where it is on PATH.")] = Engine.NCIA,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show it, and write nothing.")] = False,
    retry_lock: RetryLock = "",
    as_json: AsJson = False,
) -> None:
    """Make room: what no snapshot needs is marked, and removed by a prune that runs after its grace.

    What a snapshot needs after all is brought back. Nothing is removed where an index, a snapshot or a tree is damaged
    or somebody is at work: exit 3.
    """
    pruning = importlib.import_module("ncia.app.repository_pruning")
    if engine is Engine.RESTIC:
        if dry_run:
            raise typer.BadParameter("restic prune --dry-run shows what restic would do", param_hint="--dry-run")
        told = pruning.prune_by_restic(_access(repo, password_file, retry_lock=retry_lock), grace, max_unused)
        print(json.dumps(told) if as_json else "\n".join(told["said"]))
        return
    access = _access(repo, password_file, retry_lock=retry_lock)
    with Progress("packs", as_json, "nothing that a snapshot needs was removed; prune again") as progress:
        found = pruning.prune(access, grace, max_unused, dry_run, empty, progress.phase)
    if as_json:
        print(json.dumps(found))
        return
    done = "would be " if dry_run else ""
    print(f"{found['snapshots']} snapshots need what is in them; {found['packs']} packs")
    if found["repacked"]:
        print(f"{found['repacked']} packs {done}copied without what nobody needs, {size_text(found['copied_bytes'])}")
    marked = f"{found['marked']} packs {done}marked, {size_text(found['marked_bytes'])}"
    print(f"{marked}; {found['waiting']} wait for their time")
    print(f"{found['removed']} packs {done}removed, {size_text(found['removed_bytes'])}")
    if found["back"]:
        print(f"{found['back']} packs {done}brought back: somebody had counted on them")
    if found["lost"]:
        print(f"{found['lost']} packs are missing that nobody needs: {done}struck from the index")


def _tell_judged(found: dict[str, Any], dry_run: bool) -> None:
    for each in found["snapshots"]:
        sign = "keep  " if each["kept"] else "remove"
        when = each["time"][:19].replace("T", " ")
        paths = " ".join(_names().paths_for_people(each))
        print(f"{sign} {each['id'][:SHORT]} {when} {each['hostname']} {paths}: {each['why']}")
    over = sum(not each["kept"] for each in found["snapshots"])
    if found.get("refusal"):
        print(f"Note: it would be refused: {found['refusal']}")
    print(f"{over} would be removed" if dry_run else f"{len(found['removed'])} snapshots removed; prune makes room")
