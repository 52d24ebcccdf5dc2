"""Reports as pages: each one file that holds everything, opens without a network or a script, and prints on A4.

A page is made of the report's JSON, the same facts as on every other surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ncia.core.base.clock import from_text
from ncia.core.reports.spelling import ago, span

Report = Mapping[str, Any]


def continuity_page(report: Report) -> str:
    return _page("continuity.html", report)


def backup_page(report: Report) -> str:
    return _page("backup.html", report)


def loss_page(report: Report) -> str:
    return _page("loss.html", report)


def _page(name: str, report: Report) -> str:
    return _pages().get_template(name).render(report=report, now=from_text(report["as_of"]))


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        span=span, ago=_ago, moment=_moment, local=_local, clock=_clock, size=_size, together=_together
    )
    return pages


def _ago(text: str | None, now: datetime) -> str:
    return ago(from_text(text) if text else None, now)


def _moment(text: str | None) -> str:
    return f"{text[:10]} {text[11:19]}" if text else "–"


def _local(text: str | None, timezone: str) -> str:
    """The time of a day that the page names, where the site is."""
    return f"{from_text(text).astimezone(ZoneInfo(timezone)):%H:%M:%S}" if text else "–"


def _clock(text: str | None) -> str:
    """With milliseconds: acts of one second are told apart."""
    return f"{text[:10]} {text[11:23]}" if text else "–"


def _size(count: float | None) -> str:
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _together(rows: list[Report], by: str, of: str) -> list[tuple[str, list[str]]]:
    """Many subjects with one sentence are told once: ``[(sentence, [subject, …]), …]``."""
    same: dict[str, list[str]] = {}
    for row in rows:
        same.setdefault(row[by], []).append(row[of])
    return list(same.items())
