"""The console: one page, drawn by the browser from the status view, and kept live over server-sent events.

The page carries the newest view as JSON, so that it shows something before the stream speaks; ``static/console.js`` is
the only thing that draws. No build step, nothing from elsewhere: it must open while half of the country is dark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ncia.core.views import StatusView

HERE = Path(__file__).parent
STATIC = str(HERE / "static")  # served at /static


def page(status: StatusView | Mapping[str, Any]) -> str:
    """The whole page as HTML, with ``status`` (or its JSON form) as what it shows first."""
    told = status.to_json() if isinstance(status, StatusView) else status
    return _pages().get_template("page.html").render(status=told, version=_version())


def sign_in_page(site: str) -> str:
    """Where a person without a session is sent: trades the code behind ``#`` for one, or says how to get a code."""
    return _pages().get_template("sign_in.html").render(site=site, version=_version())


@cache
def _pages() -> Environment:
    return Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)


@cache
def _version() -> str:
    """Changes with the static files, so that no browser mixes a new page with an old script."""
    files = sorted((HERE / "static").iterdir())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:12]
