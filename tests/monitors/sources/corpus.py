"""Logs with expected parses that others made (CrowdSec's hub), where that folder stands beside the checkout."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.demand import lack

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

_EXPECTED = re.compile(
    r'results\["[^"]+"\]\["(?P<parser>[^"]+)"\]\[(?P<n>\d+)\]\.Evt\.(?P<part>Parsed|Meta)\["(?P<key>[^"]+)"\]'
    r" == (?P<value>\".*\")"
)


def folder(*names: str) -> Path:
    """A folder of the data; the test is skipped, or fails where all is demanded, if it is not there."""
    found = DATA.joinpath(*names)
    if not found.is_dir():
        lack(f"{'/'.join(names)} of the shared test data is not beside this checkout")
    return found


def expected(sample: str, parser: str) -> list[dict[str, str]]:
    """Of each record, in order, what the corpus says a parser finds in it (``Parsed`` and ``Meta``)."""
    found: dict[int, dict[str, str]] = {}
    for line in (folder("crowdsec", sample) / "parser.assert").read_text().splitlines():
        told = _EXPECTED.fullmatch(line)
        if told is not None and told["parser"] == parser:
            found.setdefault(int(told["n"]), {})[f"{told['part']}.{told['key']}"] = ast.literal_eval(told["value"])
    return [found[number] for number in sorted(found)]
