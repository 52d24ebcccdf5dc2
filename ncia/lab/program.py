"""The program of each hosted system as real files at each centre: what it runs on, its settings, timers, certificate,
zone records, and the schema version that its definition expects.

They lie in ``programs/<system>`` of the site, where the estate says the site's host has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.core.estate.program import ItemKind
from ncia.lab import secrets
from ncia.lab.apps.definitions import definition_of
from ncia.lab.layout import Layout

RUNS_ON = ("psycopg", "psycopg-binary", "structlog", "uvloop", "ncia")


def write_programs(layout: Layout, estate: Estate, certificates: Mapping[SystemId, str]) -> None:
    """Write every program at every place; ``certificates`` are the same at both, as they are for one name."""
    for system in estate.systems.values():
        for dataset in system.datasets:
            if dataset.program is None:
                continue
            for site, place in dataset.program.places.items():
                contents = content_of(estate, system, site, certificates[system.id])
                for item in dataset.program.items:
                    path = layout.site(site) / place.folder / item.path
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    secrets.write(path, contents[item.kind])


def content_of(estate: Estate, system: System, site: SiteId, certificate: str) -> dict[ItemKind, str]:
    application = system.applications[site].address
    gate = system.postgres.copies[site].gate
    packages = sorted(f"{name} {metadata.version(name)}" for name in RUNS_ON)
    return {
        ItemKind.PACKAGES: "\n".join(packages) + "\n",
        ItemKind.CONFIGURATION: (
            f"system: {system.id}\nlisten: {application}\ndatabase: {system.postgres.database} at {gate}\n"
            f"read_path: {system.read_path}\nverify_path: {system.verify_path}\n"
            f"calls: [{', '.join(system.depends_on)}]\n"
        ),
        ItemKind.TIMERS: f"# when what {system.id} does by itself is due\nanalyze: 03:00\nclose-of-day: 00:05\n",
        ItemKind.CERTIFICATE: certificate,
        ItemKind.ZONE: f"; the citizens' names of {system.id}\n{system.id} 60 IN A {system.entry.host}\n",
        ItemKind.SCHEMA: f"{definition_of(str(system.id)).schema_version}\n",
    }


def make_certificates(estate: Estate) -> dict[SystemId, str]:
    """One certificate for each system's name."""
    found = {}
    for system in estate.systems:
        key = ec.generate_private_key(ec.SECP256R1())
        found[system] = secrets.certificate(system, key, None, key).public_bytes(Encoding.PEM).decode()
    return found
