"""Part of ``ncia backup list``: agencies' repositories, and the newest snapshot of each dataset in them."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ncia.core.base.ids import SHORT


def show_snapshots(console: Console, answer: dict[str, Any]) -> None:
    """A line for each dataset and place; in words what a person must know."""
    if not answer.get("repositories"):
        return
    table = Table(title="Newest snapshots in agencies' repositories", title_justify="left", box=SIMPLE_HEAD)
    for column in ("dataset", "kept (UTC)", "at", "snapshot", "proven", "files", "size"):
        table.add_column(column, justify="right" if column in ("files", "size") else "left", no_wrap=True)
    for each in sorted(answer["snapshots"], key=lambda each: (each["dataset"], each["site"])):
        when, size = each["at"][:16].replace("T", " "), f"{each['size_bytes'] / 1e6:.1f} MB"
        short = each["snapshot"][:SHORT]
        table.add_row(each["dataset"], when, each["site"], short, _proven(each), str(each["files"]), size)
    if table.rows:
        console.print(table)
    for each in answer["snapshots"]:
        if each["losses"]:
            lost = "; ".join(each["lost"])
            console.print(f"[red]{each['dataset']} at {each['site']}: partial[/]: {lost}", soft_wrap=True)
    for each in answer["snapshots"]:
        if each["unproven"]:
            where = f"{each['dataset']} at {each['site']}"
            console.print(f"[bold red]{where}[/]: {escape(each['unproven'])}", soft_wrap=True, highlight=False)
    for each in answer["repositories"]:
        if each["made"]:
            _tell(console, each)
    _tell_unread(console, answer["repositories"])
    for each in answer.get("late", ()):
        console.print(f"[yellow]{each['dataset']} is late[/]: {each['why']}", soft_wrap=True, highlight=False)
    lacking = dict.fromkeys(each["agency"] for each in answer["repositories"] if not each["made"])
    if lacking:
        why = "a controller makes them once rows are protected, some minutes after its start"
        console.print(
            f"[yellow]Agencies whose repository is not made yet[/] ({why}): {', '.join(lacking)}", soft_wrap=True
        )


def _proven(snapshot: dict[str, Any]) -> str:
    """Itself, or an older one, by when that was kept."""
    proven = snapshot["proven"]
    if proven is None:
        return "never"
    return "it is" if proven["snapshot"] == snapshot["snapshot"] else str(proven["at"][:16].replace("T", " "))


def _tell(console: Console, place: dict[str, Any]) -> None:
    where = f"{place['agency']} at {place['site']}"
    for sentence in (*([place["why"]] if place["why"] else []), *place["missing"]):
        console.print(f"[bold red]{where}: {sentence}[/]", soft_wrap=True, highlight=False)
    if place["prune"]["unwell"]:
        console.print(f"{where}: {escape(place['prune']['unwell'])}", soft_wrap=True, highlight=False)
    if place["held"]:
        run = f"ncia backup forget {place['agency']} (at that site)"
        console.print(
            f"[yellow]{where}: nothing is forgotten[/]: {escape(place['held']['why'])}: {run}", soft_wrap=True
        )
    if place["locked"]:
        console.print(f"[yellow]{where}[/]: {escape(place['locked'])}", soft_wrap=True, highlight=False)
    read = place["read"]
    if read["faults"] or (read["unwell"] and read["whole_since"]):
        style = "bold red" if read["faults"] else "yellow"
        console.print(f"[{style}]{where}: {escape(read['unwell'])}[/]", soft_wrap=True, highlight=False)
    if place["strangers"]:
        console.print(f"{where}: {place['strangers']} snapshots there that nobody wrote down", soft_wrap=True)
    if not place["escrowed_for"]:
        console.print(f"[yellow]{where}: its key is in no escrow[/]: ncia repo key escrow", soft_wrap=True)


def _tell_unread(console: Console, places: list[dict[str, Any]]) -> None:
    """In one line, for all of them begin so."""
    unread = [
        f"{each['agency']} at {each['site']} ({each['read']['parts_read']} of {each['read']['parts']} parts)"
        for each in places
        if each["made"] and not each["read"]["whole_since"] and not each["read"]["faults"]
    ]
    if unread:
        console.print(f"[yellow]Not read whole yet[/]: {', '.join(unread)}", soft_wrap=True, highlight=False)


def show_looks(looked: list[dict[str, Any]]) -> None:
    for each in looked:
        where = f"{each['agency']} at {each['site']}"
        faults = [*([each["why"]] if each["why"] else []), *each["missing"]]
        for sentence in faults:
            print(f"{where}: {sentence}")
        if not faults:
            strangers = f"; {each['strangers']} that nobody wrote down" if each["strangers"] else ""
            print(f"{where}: all {each['expected']} expected snapshots are there{strangers}")


def show_forgotten(told: dict[str, Any]) -> None:
    where = f"{told['agency']} at {told['site']}"
    for sentence in told["named"]:
        print(sentence)
    more = told["would_go"] - len(told["named"])
    if more > 0:
        print(f"and {more} more")
    if not told["forgotten"]:
        also = f"; --remove-max {told['would_go']} lets them go" if told["would_go"] else ""
        print(f"{where}: {told['would_go']} of {told['of']} snapshots would go{also}")
        return
    print(f"{where}: {len(told['forgotten'])} of {told['of']} snapshots are forgotten")
    if told.get("left"):
        print(f"{told['left']} more are missing here, and are not told to be missing at the other site: ask there, too")
    if told["why"]:
        print(f"their files are removed at a later look: {told['why']}")
