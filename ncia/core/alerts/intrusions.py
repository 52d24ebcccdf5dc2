"""Attacks on the same graph as everything else: the findings of one host are one fault, ``intrusion:<host>``. Pure.

While nobody got in it is an ``attack``, which explains nothing. Once somebody did it is an ``intrusion``, and stands
behind what breaks on that host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from ncia.core.alerts.reach import Fault
from ncia.core.base.clock import from_text
from ncia.core.base.ids import SiteId
from ncia.core.state.facts import Finding

CAUSES = ("attack", "intrusion")
LEVELS = ("informational", "low", "medium", "high", "critical")


def root_of(finding: Finding) -> str:
    return f"intrusion:{finding.now.host}"


def of(findings: Sequence[Finding], root: str) -> tuple[Finding, ...]:
    """The findings behind a root, the gravest first."""
    mine = (each for each in findings if root_of(each) == root)
    return tuple(sorted(mine, key=lambda f: (not f.now.entered, -LEVELS.index(f.now.level), f.now.first_at, f.id)))


def entered(findings: Sequence[Finding]) -> frozenset[str]:
    """The hosts on which somebody got in."""
    return frozenset(each.now.host for each in findings if each.now.entered)


def faults(findings: Sequence[Finding]) -> Iterator[Fault]:
    for root in sorted({root_of(each) for each in findings}):
        gravest = of(findings, root)[0]
        cause = "intrusion" if gravest.now.entered else "attack"
        yield Fault(root, cause, from_text(gravest.now.first_at), (SiteId(gravest.site),), gravest.now.title)


def severity(findings: Sequence[Finding], root: str) -> Literal["critical", "major", "minor"]:
    level = max((LEVELS.index(each.now.level) for each in of(findings, root)), default=0)
    return "critical" if level == LEVELS.index("critical") else "major" if level == LEVELS.index("high") else "minor"


def sentence(findings: Sequence[Finding], root: str) -> str:
    """The gravest finding's own words, and how many other sources are at it."""
    mine = of(findings, root)
    sources = {each.now.group.get("source.ip", each.id) for each in mine}
    more = len(sources) - 1
    others = "" if more == 0 else "; 1 more source attacks it" if more == 1 else f"; {more} more sources attack it"
    return f"{mine[0].now.sentence}{others}"
