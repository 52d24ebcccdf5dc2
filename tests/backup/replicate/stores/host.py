"""``python -m tests.backup.replicate.stores.host FOLDER PORT``: a lab's SSH host, to be run where a test wants it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ncia.core.base.ids import HostId, SiteId
from ncia.core.config import load_settings
from ncia.core.estate.model import Address, Host
from ncia.lab.ssh import open_host

FILES_USER = "files"


async def serve(site: Path, port: int) -> None:
    host = Host(HostId("h1"), SiteId("east"), Address("127.0.0.1", port), "ncia", ("files",), FILES_USER)
    (site / "site.yaml").write_text("site: east\nestate: configs\n")
    settings = load_settings(site / "site.yaml")
    await open_host(host, settings, site / "host")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
