"""Processes of a small estate, each with a certificate of its site's own authority."""

from __future__ import annotations

from pathlib import Path

from ncia.app.tls import Identity
from ncia.core.base.clock import SystemClock
from ncia.core.base.ids import SiteId
from ncia.core.config import load_settings
from ncia.core.requests import pki

PROCESSES = ("serve", "agent", "witness")


def identity(folder: Path, site: SiteId, process: str, root: str = "root") -> Identity:
    """A process of ``site`` with a certificate under the root of that name."""
    now, home = SystemClock().now(), folder / f"{root}-{site}"
    if not (folder / root).exists():
        pki.init(folder / root, "sample", now)
    if not home.exists():
        home.mkdir()
        (home / "site.yaml").write_text(f"site: {site}\nestate: configs\npostgresql_tools: x\n")
        pki.issue_site(folder / root, pki.SitePki(home / "secrets" / "pki", site), PROCESSES, now)
    return Identity(load_settings(home / "site.yaml"), process)
