"""The map agrees with the tree: a route that is not in it is not found, one that is in it twice is believed wrongly."""

from __future__ import annotations

import re
from pathlib import Path

from ncia.api.policy import POLICY

MAP = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_every_route_stands_in_the_map_once() -> None:
    told = routes_told(MAP.read_text(encoding="utf-8"))
    known = [re.sub(r"\{\w+\}", "{}", route) for route in POLICY]
    assert sorted(told) == sorted(known)


def test_a_line_of_the_map_is_not_told_again_in_other_words() -> None:
    """Two branches that each extend one line leave it twice: lines that begin alike are one line."""
    begins = [line[:50] for line in MAP.read_text(encoding="utf-8").splitlines() if len(line) > 50]
    assert [begin for begin in set(begins) if begins.count(begin) > 1] == []


def routes_told(document: str) -> list[str]:
    """`METHOD /path` of each route in the table of the API; `/last` after it is another last part of the same path."""
    table = document.partition("| route | answer |")[2].partition("\n\n")[0]
    told: list[str] = []
    for row in table.splitlines()[2:]:
        method = path = ""
        for span in re.findall(r"`([^`]+)`", row.split(" | ")[0].replace("\\|", "or")):
            words = span.split()
            if words[0] in ("GET", "POST"):
                method, path = words[0], words[1].partition("?")[0]
            else:
                path = f"{path.rpartition('/')[0]}/{words[0].rpartition('/')[2]}"
            told.append(f"{method} {re.sub(r'{[a-z]+}', '{}', path)}")
    return told
