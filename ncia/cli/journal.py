"""`ncia journal`: show it and export it through the API; verify it offline, without trusting whoever kept it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ncia.cli.client import Api
from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_settings
from ncia.core.config.site import VARIABLE
from ncia.core.journal.canonical import canonical
from ncia.core.journal.checkpoint import Keyring, checkpoint_from_note, load_keyring
from ncia.core.journal.copies import export_lines, head_line, read_copies
from ncia.core.journal.verify import Verdict, verify

KEYS_FILE = "peer_keys.yaml"
PAGE = 1000

app = typer.Typer(help="The journal: what happened, in signed, append-only logs.", no_args_is_help=True)


@app.command("verify")
def verify_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Journal databases, exports of them, or both.")],
    keys: Annotated[
        Path | None,
        typer.Option(help=f"The signers' public keys; {KEYS_FILE} of this site or beside FILE if left out."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
) -> None:
    """Find every flipped, dropped, reordered or forked entry, offline. Exit 0 only when every check held.

    Several files are also held against each other: give both sites' journals, and the witness' notes, to see a fork.
    """
    verdict = verify([copy for file in files for copy in read_copies(file)], chosen_keys(keys, files))
    if as_json:
        print(json.dumps(as_fields(verdict)))
    else:
        tell(verdict)
    if not verdict.holds:
        raise typer.Exit(1)


@app.command("export")
def export_command(
    file: Annotated[str | None, typer.Argument(help="A journal's database; this site's API where left out.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; standard output if left out.")
    ] = None,
) -> None:
    """Write the journal as JSON lines with its signed heads: both logs from a database, the own log from the API."""
    lines = export_lines(read_copies(file)) if file else api_lines(Api.from_environment())
    if output is None:
        for line in lines:
            print(line)
        return
    with output.open("w", encoding="utf-8") as target:
        for line in lines:
            target.write(line + "\n")


@app.command("show")
def show_command(
    site: Annotated[str | None, typer.Option(help="Whose log; the answering site's own if left out.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, e.g. step.ended, or a leading part of it.")] = None,
    tail: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """The newest entries of a log."""
    api = Api.from_environment()
    shown = newest(api, site or str(api.get("/v1/health")["site"]), kind or "", tail)
    if as_json:
        for wire in shown:
            print(json.dumps(wire, ensure_ascii=False))
        return
    Console().print(entries_table(shown))


@app.command("swear")
def swear_command(
    by: Annotated[str, typer.Option(help="Who swears; a person of the estate.")],
    reason: Annotated[str, typer.Option(help="Why nobody will ever give the missing entries back.")],
) -> None:
    """Override: let a read-only journal go on though nobody can tell that it is whole. The oath is its next entry.

    For one case: the other site is gone for good, and the witness cannot be asked or vouches for more than is left.
    Where lost entries were vouched for, the log is forked from here on, and `journal verify` will always say so.
    """
    oath = Api.from_environment().post("/v1/journal/swear", {"by": by, "reason": reason})
    lost = f"; entries {oath['size']}..{oath['lost_to'] - 1} are given up" if oath["lost_to"] > oath["size"] else ""
    print(f"The journal goes on from entry {oath['size']} on the word of {oath['by']}{lost}.")


def chosen_keys(named: Path | None, files: list[str]) -> Keyring:
    """The keyring named, or that of this site's settings, or the one beside a file."""
    beside = [Path(file).parent / KEYS_FILE for file in files if "://" not in file]
    ours = [load_settings().state / KEYS_FILE] if os.environ.get(VARIABLE) else []
    candidates = [named] if named else [*ours, *beside]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        why = f"no keyring at {', '.join(str(path) for path in candidates) or 'any known place'}"
        hint = "--keys FILE: a map of site to base64 of its raw Ed25519 public key, from a source that you trust"
        raise NciaError("journal.no-keyring", "verify the journal", why, hint)
    return load_keyring(found)


def tell(verdict: Verdict) -> None:
    for each in verdict.checked:
        signed = f"signed up to {each.signed_size}, root {each.root.hex()[:16]}…" if each.root else "no head that holds"
        print(f"{each.file}: {each.site}: {each.entries} entries, {each.heads} heads, {signed}")
        for vouch in each.vouched:
            print(f"    {vouch.by} vouches for {vouch.site} up to {vouch.size}, since {to_text(vouch.at)}")
        if each.root and not each.vouched:
            print(f"    nobody else vouches for {each.site}'s log")
    for finding in verdict.findings:
        print(finding, file=sys.stderr)
    if verdict.holds:
        print("Every check held: no entry was flipped, dropped, reordered or forked.")
    else:
        count = "1 fault" if len(verdict.findings) == 1 else f"{len(verdict.findings)} faults"
        print(f"Error: the journal does not hold: {count if verdict.findings else 'nothing to check'}", file=sys.stderr)


def as_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "holds": verdict.holds,
        "checked": [
            {
                "file": each.file,
                "site": each.site,
                "entries": each.entries,
                "heads": each.heads,
                "signed_size": each.signed_size,
                "root": each.root.hex(),
                "vouched": [
                    {"by": v.by, "size": v.size, "root": v.root.hex(), "at": to_text(v.at)} for v in each.vouched
                ],
            }
            for each in verdict.checked
        ],
        "findings": [
            {
                "kind": finding.kind,
                "site": finding.site,
                "number": finding.number,
                "file": finding.file,
                "sentence": finding.sentence,
            }
            for finding in verdict.findings
        ],
    }


def api_lines(api: Api) -> Iterator[str]:
    """The answering site's own log up to the head that it signs now."""
    told = api.get("/v1/journal/checkpoint")
    head = checkpoint_from_note(str(told["note"]))
    yield canonical({"journal": {"site": head.site, "peer": None}}).decode()
    for start in range(0, head.size, PAGE):
        for wire in page(api, head.site, start, min(PAGE, head.size - start)):
            yield canonical({"entry": wire}).decode()
    for vouched in told["vouched"]:
        if vouched["size"] < head.size:
            yield head_line(str(vouched["note"]))
    yield head_line(head.note())


def newest(api: Api, site: str, kind: str, count: int) -> list[dict[str, Any]]:
    """The newest ``count`` entries whose kind begins with ``kind``, oldest first; pages backwards from the end."""
    found: list[dict[str, Any]] = []
    end = size_of(api, site)
    while end > 0 and len(found) < count:
        start = max(0, end - PAGE)
        found = [wire for wire in page(api, site, start, end - start) if wire["kind"].startswith(kind)] + found
        end = start
    return found[-count:]


def size_of(api: Api, site: str) -> int:
    """The size of a log, found by asking for single entries: doubling, then halving."""
    low, high = 0, 1
    while page(api, site, high - 1, 1):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if page(api, site, middle - 1, 1) else (low, middle)
    return low


def page(api: Api, site: str | SiteId, start: int, limit: int) -> list[dict[str, Any]]:
    return list(api.get(f"/v1/journal/{site}/entries", start=start, limit=limit)["entries"])


def entries_table(shown: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("number", "at (UTC)", "kind", "by", "what"):
        table.add_column(heading, justify="right" if heading == "number" else "left", overflow="fold")
    for wire in shown:
        at = from_text(wire["at"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(wire["number"]), at, wire["kind"], escape(wire["by"]), escape(gist(wire["body"])))
    return table


def gist(body: dict[str, Any]) -> str:
    """The body in a line: its sentence where it has one, else its short fields."""
    if body.get("sentence"):
        return str(body["sentence"])
    if "changes" in body:
        return ", ".join(f"{each['subject']} {each['previous']}→{each['verdict']}" for each in body["changes"])
    return " ".join(
        f"{key}={value}" for key, value in body.items() if isinstance(value, (str, int, float)) and value != ""
    )
