"""What the drawings for a terminal share: a console wide enough, quiet tables, the list of what is not proven."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_MIN = 100


def console() -> Console:
    """A pipe has no width of its own: it gets what the drawings are made for."""
    found = Console(highlight=False)
    if not found.is_terminal and found.width < WIDTH_MIN:
        return Console(width=WIDTH_MIN, highlight=False)
    return found


def quiet_table(*headings: str, right: Collection[str] = (), wraps: Collection[str] = (), gap: int = 2) -> Table:
    """A table without lines; a column is as wide as its widest cell unless it ``wraps``."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=heading not in wraps)
    return table


def not_proven(gaps: Sequence[Mapping[str, Any]], nothing: str) -> Text:
    """Many subjects with one gap are one line; ``nothing`` is said where there is no gap."""
    if not gaps:
        return Text(f"\nNot proven: nothing; {nothing}.", style="green")
    same: dict[str, list[str]] = {}
    for gap in gaps:
        same.setdefault(gap["what"], []).append(gap["subject"])
    text = Text("\nNot proven\n", style="bold red")
    for what, subjects in same.items():
        text.append(f"  {what}\n", style="not bold red")
        text.append(f"    {', '.join(subjects)}\n", style="not bold default")
    text.rstrip()
    return text
