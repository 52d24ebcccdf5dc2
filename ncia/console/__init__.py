"""The console: one page, drawn by the browser from the status view, and kept live over server-sent events.

The page carries the newest view as JSON, so that it shows something before the stream speaks; ``static/console.js`` is
the only thing that draws. No build step, nothing from elsewhere: it must open while half of the country is dark.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ncia.core.views import StatusView

HERE = Path(__file__).parent
STATIC = str(HERE / "static")  # served at /static


def page(status: StatusView) -> str:
    """The whole page as HTML, with ``status`` as what it shows first."""
    return _pages().get_template("page.html").render(status=status.to_json(), version=_version())


@cache
def _pages() -> Environment:
    return Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)


@cache
def _version() -> str:
    """Changes with the static files, so that no browser mixes a new page with an old script."""
    files = sorted((HERE / "static").iterdir())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:12]
