"""`ncia estate`: the estate's files, read and judged without any server."""

from __future__ import annotations

import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ncia.core.base.errors import NciaError
from ncia.core.config import check_estate, estate_schema, load_estate, load_settings
from ncia.core.config.schema import FILE
from ncia.core.config.site import VARIABLE
from ncia.core.estate import Dataset, Estate, System
from ncia.core.reports.spelling import span

app = typer.Typer(help="The estate: what we run and promise (offline).", no_args_is_help=True)

Folder = Annotated[Path | None, typer.Argument(help="The estate's folder; this site's own where left out.")]


@app.command()
def check(folder: Folder = None) -> None:
    """Tell every fault of the estate's files at once: file, line, what, and what to try. Exit 1 where there is one."""
    where = chosen(folder)
    faults = check_estate(where)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        print(f"Error: the estate in {where} has {count}", file=sys.stderr)
        raise typer.Exit(1)
    estate = load_estate(where)
    print(f"{where}: no fault; {size_of(estate)}")
    print(f"hash {estate.hash}")


@app.command()
def show(folder: Folder = None) -> None:
    """The systems and their promises; what is held at one site only is in red."""
    estate = load_estate(chosen(folder))
    console = Console()
    console.print(systems_table(estate))
    exposed = [dataset for dataset in estate.datasets.values() if dataset.unprotected]
    if exposed:
        console.print(unprotected_table(exposed))
    console.print(f"{estate.name}: {size_of(estate)}; hash {estate.hash[:16]}", highlight=False)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="A folder to write estate.schema.json into.")] = None,
) -> None:
    """The JSON Schema of the estate's files: editors complete keys, and underline what is misspelt as it is typed."""
    told = json.dumps(estate_schema(Path(str(resources.files("configs")))), indent=2, ensure_ascii=False)
    if out is None:
        print(told)
        return
    file = out / FILE
    try:
        file.write_text(told + "\n", encoding="utf-8")
    except OSError as error:
        raise NciaError("estate.schema-not-written", f"write {file}", error.strerror or str(error)) from error
    print(f"{file}: put this on the first line of each file beside it:")
    print(f"# yaml-language-server: $schema={FILE}")


def chosen(folder: Path | None) -> Path:
    """The folder named, or that of this site's settings, or ``configs`` here."""
    if folder is not None:
        return folder
    return load_settings().estate if os.environ.get(VARIABLE) else Path("configs")


def size_of(estate: Estate) -> str:
    exposed = sum(1 for dataset in estate.datasets.values() if dataset.unprotected)
    return f"{len(estate.systems)} systems, {len(estate.datasets)} datasets, {exposed} unprotected"


def systems_table(estate: Estate) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("system", "name", "grade", "home", "RPO", "RTO", "rows", "depends on", "unprotected"):
        table.add_column(heading, justify="right" if heading in ("grade", "RPO", "RTO") else "left")
    for system in sorted(estate.systems.values(), key=lambda s: (s.grade, s.id)):
        table.add_row(*_row(system))
    return table


def _row(system: System) -> tuple[str, ...]:
    exposed = ", ".join(d.id.split("/", 1)[1] for d in system.datasets if d.unprotected)
    return (
        system.id,
        escape(system.name_ko or system.name),
        str(system.grade),
        system.home,
        span(system.postgres.promise.rpo_seconds),
        span(system.promise.rto_seconds),
        system.postgres.replication,
        ", ".join(system.depends_on) or "–",
        f"[bold red]✗ {exposed}[/]" if exposed else "–",
    )


def unprotected_table(datasets: list[Dataset]) -> Table:
    table = Table(title="Held at one site only", title_style="bold red", title_justify="left", box=None, pad_edge=False)
    for heading in ("dataset", "kind", "until", "by", "why"):
        table.add_column(heading, style="red")
    for dataset in datasets:
        exception = dataset.unprotected
        if exception:
            table.add_row(dataset.id, dataset.kind, str(exception.until), exception.by, escape(exception.why))
    return table
