"""The west's controller, whose store has points and programs of what is active in the east, and an agency's repository
at both sites. Points are small ones laid by hand, with a manifest as PostgreSQL writes it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

from backup.agencies.archives import ArchiveTools, ArchiveWork
from backup.agencies.points import PointTools, PointWork
from backup.agencies.points_task import Parts, PointTask
from backup.agencies.room import Disk, Room
from backup.ports import Passage
from backup.program.hosts import SshPrograms
from backup.stores.remote import RemoteStore, StoreSite
from ncia.core.base.ids import DatasetId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Dataset, Replication
from ncia.core.estate.program import Program
from ncia.core.journal.entries import (
    BackupFinished,
    BackupStarted,
    ProgramCaptured,
    ProofFinished,
    ProofStarted,
    TableSum,
)
from ncia.core.journal.entries_repositories import RepositoryMade
from ncia.core.work.jobs import Job, Limits
from tests.backup.agencies.world import EAST, TREASURY, WEST, World, estate_of
from tests.fakes.remote import LocalRemote

ROWS, PROGRAM = DatasetId("tax/rows"), DatasetId("tax/program")
BASE = {"PG_VERSION": b"18\n", "global/pg_control": b"c" * 8192, "base/1/1259": b"r" * 50_000, "base/1/empty": b""}
WAL = {"data/pg_wal/000000010000000000000001": b"w" * 4096, "wal/000000010000000000000002.partial": b"x" * 4096}
SUM = TableSum(table="civil.acts", rows=1, sum128="0" * 32)


def estate_with_program(estate: Estate) -> Estate:
    system = estate.systems[SystemId("tax")]
    promise = system.datasets[0].promise
    made = Dataset(PROGRAM, system.id, "program", promise, Replication.ASYNCHRONOUS, {}, program=Program((), {}))
    return replace(estate, systems={system.id: replace(system, datasets=(*system.datasets, made))})


@dataclass
class PointsWorld(World):
    site: Any = WEST
    estate: Estate = field(default_factory=lambda: estate_with_program(estate_of()))
    tools_folder: Path = Path("/nonexistent")  # where PostgreSQL's own are
    free_bytes: int = 1 << 40

    def __post_init__(self) -> None:
        super().__post_init__()
        self.remote = LocalRemote()
        self.root = self.folder / "store"
        host = self.estate.host_of(WEST, "store")
        self.store = RemoteStore(
            self.remote, StoreSite(host, PurePosixPath(self.root), PurePosixPath(self.tools_folder))
        )
        self.room = Room(self.folder / "points", self.disk)
        self.proven: list[BackupFinished] = []
        self.points = PointTask(Parts(self.estate, self.site, self.journal, self.states, self.jobs, self.clock))
        self.work_with(self.store)

    def work_with(self, store: Passage) -> None:
        """Have jobs carried out with that store."""
        self.jobs.close()
        self.archives = archives = ArchiveTools(
            SshPrograms(self.estate, self.remote), self.estate.host_of(WEST, "store"), PurePosixPath(self.root)
        )
        self.works = {
            **self.works,
            **PointWork(self.estate, WEST, self.tools, self.room, PointTools(store, self.prove)).works(),
            **ArchiveWork(self.estate, WEST, self.tools, self.room, archives).works(),
        }
        self.jobs.start(self.works, Limits())

    def prove(self, steps: Any, backup: BackupFinished, database: str, by: str) -> ProofFinished:
        self.proven.append(backup)
        return proof_of(backup)

    def disk(self, folder: Path) -> Disk:
        return SimpleNamespace(total=1 << 40, free=self.free_bytes)

    def with_repositories(self) -> PointsWorld:
        """As the east makes them."""
        place = {site: self.place(self.agency, site) for site in (EAST, WEST)}
        id = self.engine.init(place[EAST])
        self.engine.init(place[WEST], place[EAST])
        for site in (EAST, WEST):
            made = RepositoryMade(
                job="made", agency=TREASURY, site=site, repository=id, engine="ncia", place=site, escrowed_for=()
            )
            self.journal.append(made, by="test")
        return self

    def lay(self, point: str = "point-1", files: Mapping[str, bytes] = BASE, proven: bool = True) -> BackupFinished:
        """A point in the store, and in the journal."""
        folder = self.root / ROWS / point
        manifest = manifest_of(files)
        write(folder, {f"data/{name}": content for name, content in files.items()} | WAL)
        write(folder, {"data/backup_manifest": manifest})
        (folder / "data" / "pg_notify").mkdir()
        sha256 = hashlib.sha256(manifest).hexdigest()
        write(folder, {"point.json": json.dumps({"point": point, "manifest_sha256": sha256}).encode()})
        backup = BackupFinished(
            job=f"backup-{point}",
            point=point,
            dataset=ROWS,
            store_site=WEST,
            path=f"{ROWS}/{point}",
            size_bytes=sum(map(len, files.values())),
            files=len(files),
            start_lsn="0/1",
            stop_lsn="0/2",
            manifest_sha256=sha256,
            seconds=1.0,
            compare_lsn="0/3",
            source=(SUM,),
        )
        begun = BackupStarted(job=backup.job, dataset=ROWS, source_site=EAST, store_site=WEST, due_at="")
        self.journal.append_all((begun, backup), by="test")
        if proven:
            told = proof_of(backup)
            self.journal.append_all((ProofStarted(job=told.job, point=point, dataset=ROWS), told), by="test")
        return backup

    def capture(self, archive: bytes, name: str = "0123.tar") -> ProgramCaptured:
        """A program's archive in the store, and in the journal."""
        path = f"{PROGRAM}/{name}"
        write(self.root, {path: archive})
        captured = ProgramCaptured(
            dataset=PROGRAM,
            source_site=EAST,
            store_site=WEST,
            path=path,
            size_bytes=len(archive),
            sha256=hashlib.sha256(archive).hexdigest(),
            files=(),
        )
        self.journal.append(captured, by="test")
        return captured

    def keep(self, dataset: str = ROWS) -> Job:
        (job,) = self.points.keep(dataset, "kim")
        return self.jobs.wait(job.id, 60)

    def bring(self, dataset: str = ROWS, subject: str = "", burnt: bool = True) -> Job:
        return self.jobs.wait(self.points.bring(dataset, subject, "kim", burnt).id, 60)

    def at(self, subject: str, dataset: str = ROWS) -> list[str]:
        """The places that have it, as the journal says."""
        return list(self.states.snapshot().snapshots_of(dataset, subject))

    def restored(self, site: str, snapshot: str) -> Path:
        """By hand: the folder that was kept."""
        target = self.folder / f"restored-{site}-{snapshot[:8]}"
        shutil.rmtree(target, ignore_errors=True)
        place = self.place(self.agency, site)  # type: ignore[arg-type]
        (held,) = (each for each in self.engine.snapshots(place).snapshots if each.snapshot == snapshot)
        assert self.engine.restore(place, snapshot, target).losses == ()
        return target / held.paths[0].lstrip("/")

    def staged(self) -> list[str]:
        """What jobs should not have left on this machine's disk."""
        return [path.name for path in self.room._root.glob("*") if path.suffix != ".lock"]


def proof_of(backup: BackupFinished) -> ProofFinished:
    return ProofFinished(
        job=f"proof-{backup.point}",
        point=backup.point,
        dataset=backup.dataset,
        matched=True,
        compare_lsn=backup.compare_lsn,
        source=backup.source,
        copy_=backup.source,
        differences=(),
        restore_seconds=0.5,
        seconds=1.0,
    )


def manifest_of(files: Mapping[str, bytes], **changed: Any) -> bytes:
    told = [
        {
            "Path": name,
            "Size": len(content),
            "Last-Modified": "2026-01-01 00:00:00 GMT",
            "Checksum-Algorithm": "SHA256",
            "Checksum": hashlib.sha256(content).hexdigest(),
            **changed,
        }
        for name, content in files.items()
    ]
    return json.dumps({"PostgreSQL-Backup-Manifest-Version": 2, "Files": told, "WAL-Ranges": []}).encode()


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                told = tarfile.TarInfo(member[0])
                told.size, told.mode = len(member[1]), 0o640
                archive.addfile(told, io.BytesIO(member[1]))
    return out.getvalue()


__all__ = ["EAST", "PROGRAM", "ROWS", "WEST", "PointsWorld"]
