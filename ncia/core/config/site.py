"""A process's own settings: which site it belongs to and where its files are (``site.yaml``)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.errors import InputFaults, NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import marked
from ncia.core.config.reading import WORD, Reading, Record

VARIABLE = "NCIA_SETTINGS"
URL = re.compile(r"[a-z][a-z0-9+]*://.*")


@dataclass(frozen=True)
class LogFiles:
    """Logs that the site's agent reads: every file that the pattern (``*`` within a name) finds in ``root``, and the
    form of its lines."""

    root: Path
    pattern: str
    form: str


@dataclass(frozen=True)
class SiteSettings:
    """``site.yaml`` with every path absolute. ``data_root`` and ``store`` are paths on the site's hosts, and so is
    ``host_pgpass``, the password file of the databases' own user there. The ``peer_…`` ones are paths on the hosts of
    the other centre, the same as here unless told."""

    file: Path
    site: SiteId
    estate: Path
    state: Path
    run: Path
    secrets: Path
    log: Path
    store: Path
    postgresql_tools: Path
    data_root: Path
    host_pgpass: Path
    peer_postgresql_tools: Path
    peer_store: Path
    peer_data_root: Path
    peer_host_pgpass: Path
    journal_url: str
    jobs_url: str
    logs: tuple[LogFiles, ...] = ()


def load_settings(path: str | Path | None = None) -> SiteSettings:
    """The settings in ``path``, or in the file that ``NCIA_SETTINGS`` names; raises :class:`InputFaults`."""
    chosen = path or os.environ.get(VARIABLE)
    if not chosen:
        hint = f"--settings FILE, or {VARIABLE}=FILE"
        raise NciaError("config.no-settings", "find this site's settings", "no file was named", hint)
    file = Path(chosen).absolute()
    reading = Reading()
    root = marked.read(file, reading.faults)
    if root is None:
        raise InputFaults(f"read {file}", tuple(reading.faults) or (marked.Node(str(file), 0, None).fault("is empty"),))
    record = Record(reading, root, "site settings")

    def under(key: str, default: str | None = None) -> Path:
        told = record.text(key) if default is None else record.text(key, default)
        return Path(os.path.normpath(file.parent / told))

    state = under("state", "state")
    tools, data_root = under("postgresql_tools", "/usr/bin"), under("data_root", "pg")
    host_pgpass = under("host_pgpass", f"{under('secrets', 'secrets')}/pgpass")
    settings = SiteSettings(
        file=file,
        site=SiteId(record.text("site", pattern=WORD)),
        estate=under("estate"),
        state=state,
        run=under("run", "run"),
        secrets=under("secrets", "secrets"),
        log=under("log", "log"),
        store=under("store", "store"),
        postgresql_tools=tools,
        data_root=data_root,
        host_pgpass=host_pgpass,
        peer_postgresql_tools=under("peer_postgresql_tools", str(tools)),
        peer_store=under("peer_store", str(under("store", "store"))),
        peer_data_root=under("peer_data_root", str(data_root)),
        peer_host_pgpass=under("peer_host_pgpass", str(host_pgpass)),
        journal_url=record.text("journal_url", f"sqlite:///{state}/journal.db", pattern=URL),
        jobs_url=record.text("jobs_url", f"sqlite:///{state}/jobs.db", pattern=URL),
        logs=_logs(record, file.parent),
    )
    if not record.finish():
        raise InputFaults(f"read {file}", tuple(reading.faults))
    return settings


def _logs(record: Record, folder: Path) -> tuple[LogFiles, ...]:
    found = []
    for node in record.items("logs", required=False):
        part = record.part(node, "logs")
        files = part.text("files")
        form = part.text("form", pattern=WORD)
        part.finish()
        path = Path(os.path.normpath(folder / files))
        # the part before the first pattern is where to look; an absolute path stays what it is
        fixed = next((p for p in (path, *path.parents) if "*" not in str(p)), folder)
        fixed = fixed if fixed != path else path.parent
        found.append(LogFiles(fixed, str(path.relative_to(fixed)), form))
    return tuple(found)
