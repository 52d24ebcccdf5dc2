"""Programs as the calendar looks at them: those of systems active at the other centre, compared and copied here.

The controller of the site that would take over compares both sites, and keeps the active one's program in its own
store. What is found out is journalled when it changes. A difference counts once it was seen twice in a row: a rollout
does not reach both sites in the same moment.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath

import structlog

from backup.program.archive import member_hashes
from backup.program.inventory import File, Inventory, differences, doubtful
from backup.program.ports import Programs, Schemas
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import DatasetId, SiteId, SystemId
from ncia.core.estate.model import Dataset, Estate, Host, System
from ncia.core.estate.program import ItemKind, Program
from ncia.core.journal import Journal
from ncia.core.journal.entries import ProgramCaptured, ProgramCompared, ProgramFile
from ncia.core.state import StateStore

SCHEMA_SECONDS = 60.0  # between two questions to a database for its schema's version
TEXTS_KEPT_MAX = 2_000
BY = "programs"

log = structlog.get_logger("backup.program")


@dataclass(frozen=True)
class Parts:
    """What the task is made of. ``store`` is where this site keeps copies, ``root`` the folder there."""

    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    programs: Programs
    schemas: Schemas
    store: Host
    root: PurePosixPath
    active: Callable[[], Mapping[SystemId, SiteId]]


@dataclass
class ProgramTask:
    """``tick`` may be called at any time; calls must not overlap."""

    parts: Parts
    _seen: dict[DatasetId, tuple[str, ...]] = field(default_factory=dict)  # the outcome of the comparison before
    _texts: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    _schemas: dict[tuple[SystemId, SiteId], tuple[datetime, str]] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)

    def tick(self, now: datetime) -> None:
        """Compare, and copy what changed; what cannot be reached now is looked at the next time."""
        ours = tuple(self._ours())
        try:
            listed = {
                site: self._listed(site, [program for _, _, program in ours]) for site in self.parts.estate.centres
            }
        except NciaError as error:
            self._tell_silent("listing", error)
            return
        self._silent.discard("listing")
        for system, dataset, program in ours:
            sites = {site: Inventory(listed[site][program.places[site].folder]) for site in program.places}
            try:
                self._compare(system, dataset, program, sites, now)
                self._capture(system, dataset, program, sites)
            except NciaError as error:
                self._tell_silent(dataset.id, error)
            else:
                self._silent.discard(dataset.id)

    def _ours(self) -> Iterator[tuple[System, Dataset, Program]]:
        active = self.parts.active()
        for system in self.parts.estate.systems.values():
            for dataset in system.datasets:
                program = dataset.program
                if program is None or active.get(system.id, system.home) == self.parts.site:
                    continue
                if set(program.places) == set(self.parts.estate.centres):
                    yield system, dataset, program

    def _listed(self, site: SiteId, programs: list[Program]) -> dict[str, dict[str, File]]:
        """Every program's folder at a site: one question for each host."""
        by_host = defaultdict(list)
        for program in programs:
            by_host[program.places[site].host].append(program.places[site].folder)
        found: dict[str, dict[str, File]] = {}
        for host, folders in by_host.items():
            found |= self.parts.programs.listed(host, folders)
        return found

    # --- comparing -----------------------------------------------------------------------------------------------

    def _compare(
        self, system: System, dataset: Dataset, program: Program, sites: Mapping[SiteId, Inventory], now: datetime
    ) -> None:
        whole = {site: self._filled(system, program, site, sites, now) for site in sites}
        found = differences(program, whole)
        before, self._seen[dataset.id] = self._seen.get(dataset.id), found
        known = self.parts.states.snapshot().programs.get(dataset.id)
        written = known.compared.differences if known is not None and known.compared is not None else None
        if found == written or (found and found != before):
            return
        files = max(len(inventory.files) for inventory in sites.values())
        body = ProgramCompared(dataset=dataset.id, sites=tuple(sites), differences=found, files=files)
        self.parts.journal.append(body, by=BY)
        log.info("program.compared", dataset=dataset.id, differences=list(found))

    def _filled(
        self, system: System, program: Program, site: SiteId, sites: Mapping[SiteId, Inventory], now: datetime
    ) -> Inventory:
        """The inventory of a site with the texts that a comparison needs, and its database's schema version."""
        other = next(inventory for at, inventory in sites.items() if at != site)
        own, place = sites[site], program.places[site]
        wanted = {*doubtful(own, other), *(i.path for i in program.items if i.kind is ItemKind.SCHEMA)}
        missing = [p for p in sorted(wanted) if p in own.files and own.files[p].sha256 not in self._texts]
        read = self.parts.programs.read(place.host, [f"{place.folder}/{path}" for path in missing])
        for text in read.values():
            self._texts[hashlib.sha256(text).hexdigest()] = text
        while len(self._texts) > TEXTS_KEPT_MAX:
            del self._texts[next(iter(self._texts))]
        texts = {p: self._texts[f.sha256] for p, f in own.files.items() if p in wanted and f.sha256 in self._texts}
        return replace(own, texts=texts, schema=self._schema(system, program, site, now))

    def _schema(self, system: System, program: Program, site: SiteId, now: datetime) -> str | None:
        if not any(item.kind is ItemKind.SCHEMA for item in program.items):
            return None
        asked_at, known = self._schemas.get((system.id, site), (None, ""))
        if asked_at is None or (now - asked_at).total_seconds() >= SCHEMA_SECONDS:
            try:
                known = self.parts.schemas.version(system, site)
            except NciaError as error:  # its database's own probe tells that it is down
                self._tell_silent(f"schema of {system.id} at {site}", error)
                return None
            self._schemas[system.id, site] = (now, known)
        return known

    # --- copying -------------------------------------------------------------------------------------------------

    def _capture(self, system: System, dataset: Dataset, program: Program, sites: Mapping[SiteId, Inventory]) -> None:
        """Keep the active site's program here, where it is not kept yet as it is now."""
        source = self.parts.active().get(system.id, system.home)
        inventory, place = sites[source], program.places[source]
        known = self.parts.states.snapshot().programs.get(dataset.id)
        held = known.captured if known is not None else None
        if not inventory.files or (
            held is not None
            and held.store_site == self.parts.site
            and {(f.path, f.mode, f.sha256) for f in held.files}
            == {(f.path, f.mode, f.sha256) for f in inventory.files.values()}
        ):
            return
        archive = self.parts.programs.packed(place.host, place.folder)
        try:
            packed = member_hashes(archive)
        except ValueError as fault:
            log.warning("program.hostile", dataset=dataset.id, host=place.host, why=str(fault))
            return
        if packed != {path: file.sha256 for path, file in inventory.files.items()}:
            log.info("program.changing", dataset=dataset.id)  # between listing and packing: taken the next time
            return
        folder = PurePosixPath(dataset.id)
        name = f"{hashlib.sha256(archive).hexdigest()[:16]}.tar"  # of all of it: links are in no inventory
        sha256 = self.parts.programs.keep(self.parts.store, self.parts.root / folder, name, archive)
        body = ProgramCaptured(
            dataset=dataset.id,
            source_site=source,
            store_site=self.parts.site,
            path=str(folder / name),
            size_bytes=len(archive),
            sha256=sha256,
            files=tuple(ProgramFile(**vars(inventory.files[path])) for path in sorted(inventory.files)),
        )
        self.parts.journal.append(body, by=BY)
        log.info("program.captured", dataset=dataset.id, path=body.path, size_bytes=body.size_bytes)

    def _tell_silent(self, what: str, error: NciaError) -> None:
        """Once for each silence: a lost site is told by those who watch it."""
        if what not in self._silent:
            self._silent.add(what)
            log.warning("program.not-reached", what=what, why=str(error))
