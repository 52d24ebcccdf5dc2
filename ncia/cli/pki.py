"""`ncia pki`: the estate's certificates. All but `revoke` works on files alone, at no site or at a dying one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ncia.cli.client import Api
from ncia.cli.estate import chosen
from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate, load_settings
from ncia.core.requests import pki
from ncia.core.requests.certificates import Facts

app = typer.Typer(help="Certificates of our own processes: make, issue, renew, show, revoke.", no_args_is_help=True)

COLOURS = {"good": "green", "due": "yellow", "expired": "bold red", "early": "bold red"}

Settings = Annotated[Path | None, typer.Option(help="The site's settings (site.yaml).", envvar="NCIA_SETTINGS")]
Estate = Annotated[Path | None, typer.Option(help="The estate's folder; this site's own where left out.")]
AsJson = Annotated[bool, typer.Option("--json", help="The facts as JSON.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the root lies from now on: on a medium that is at no site.")],
    estate: Estate = None,
) -> None:
    """Make the estate's root, once. Its key signs the sites' authorities and nothing else: lock it away."""
    name = load_estate(chosen(estate)).name
    _show([pki.init(folder, name, _now())], as_json=False)
    print(f"Next: ncia pki issue SITE --root {folder} --into SECRETS/pki, for each site; then lock {folder} away")


@app.command()
def issue(
    site: Annotated[str, typer.Argument(help="A site of the estate.")],
    root: Annotated[Path, typer.Option(help="The root's folder.")],
    into: Annotated[Path, typer.Option(help="The folder pki of the site's secrets.")],
    process: Annotated[
        list[str] | None, typer.Option(help="These processes only; else all that the site runs.")
    ] = None,
    estate: Estate = None,
) -> None:
    """Make a site's authority, and a certificate for each of its processes."""
    sites = load_estate(chosen(estate)).sites
    if SiteId(site) not in sites:
        raise NciaError("pki.no-such-site", f"issue certificates for {site}", "not in the estate", ", ".join(sites))
    processes = process or pki.PROCESSES[sites[SiteId(site)].kind]
    _show(pki.issue_site(root, pki.SitePki(into, SiteId(site)), processes, _now()), as_json=False)


@app.command()
def renew(
    settings: Settings = None,
    every: Annotated[bool, typer.Option("--all", help="Not only those that are due.")] = False,
) -> None:
    """New certificates for this site's processes; they take them up by themselves within a minute."""
    issued = _of(settings).renew(_now(), every=every)
    if not issued:
        print("nothing is due")
        return
    _show(issued, as_json=False)


@app.command()
def show(settings: Settings = None, as_json: AsJson = False) -> None:
    """This site's certificates and until when they are good; exit 1 where one is not."""
    facts = _of(settings).all_facts()
    _show(facts, as_json)
    if any(each.state(_now()) not in ("good", "due") for each in facts):
        raise typer.Exit(1)


@app.command()
def revoke(
    serial: Annotated[str, typer.Argument(help="As `ncia pki show` tells it.")],
    reason: Annotated[str, typer.Option(help="Why, for the journal.")],
    by: Annotated[str, typer.Option(help="Who asks, at the unix socket; elsewhere it is whoever is signed in.")] = "",
) -> None:
    """A certificate counts no longer at either site, although it has not expired. Goes through the API."""
    told = Api.from_environment().post(f"/v1/certificates/{serial}/revoke", {"reason": reason, "by": by})
    print(f"{told['serial']} {told['state']}")


def _of(settings: Path | None) -> pki.SitePki:
    found = load_settings(settings or os.environ.get("NCIA_SETTINGS"))
    return pki.SitePki(found.secrets / pki.FOLDER, found.site)


def _now() -> datetime:
    return SystemClock().now()


def _show(facts: Sequence[Facts], as_json: bool) -> None:
    now = _now()
    if as_json:
        moments = ("not_before", "not_after")
        rows = [{**asdict(f), **{m: to_text(getattr(f, m)) for m in moments}, "state": f.state(now)} for f in facts]
        print(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "issued by", "serial", "until (UTC)", "state"):
        table.add_column(heading, no_wrap=True)
    for each in facts:
        state = each.state(now)
        coloured = f"[{COLOURS[state]}]{state}[/]"
        table.add_row(each.name, each.issuer, each.serial, f"{each.not_after:%Y-%m-%d %H:%M}", coloured)
    Console(highlight=False, width=160).print(table)
