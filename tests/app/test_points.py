"""What puts points and programs into repositories and back, made of a site's settings: its keys, its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

from backup.agencies.points_plan import BRING_PROGRAM, KEEP_POINT, KEEP_PROGRAM
from backup.repository.repository import create
from backup.stores.remote import RemoteStore, StoreSite
from ncia.app.agencies import Places
from ncia.app.points import STAGING, Ways, point_works
from ncia.core.base.clock import SystemClock
from ncia.core.base.ids import HostId
from ncia.core.config import load_settings
from ncia.core.estate.model import Host, TreeCopy
from ncia.core.journal.body import Body
from ncia.core.journal.entries import ProgramBrought
from ncia.core.journal.entries_repositories import SnapshotHolds
from ncia.core.work.jobs import Job
from tests.app.test_agencies import settings_in, with_place
from tests.backup.agencies.points_world import EAST, PROGRAM, ROWS, WEST, PointsWorld, estate_with_program, tar_of
from tests.backup.agencies.world import TREASURY
from tests.backup.replicate.stores.stands import sftp_stand
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.fakes.jobs import MemorySteps, order
from tests.fakes.remote import LocalRemote


class Ledger:
    def __init__(self) -> None:
        self.told: list[Body] = []

    def append(self, job: str, fence: int, body: Body, by: str) -> None:
        self.told.append(body)


def test_a_point_and_a_program_go_into_both_places_over_sftp_and_an_archive_comes_back(tmp_path: Path) -> None:
    world = PointsWorld(tmp_path)
    point, captured = world.lay(), world.capture(tar_of(("./etc/app.yaml", b"listen: 1\n")))
    with sftp_stand(tmp_path / "site") as stand:
        file = settings_in(tmp_path / "site").file
        file.write_text(f"{file.read_text()}store: {world.root}\nstate: state\n")
        settings = load_settings(file)
        estate, agency = with_place(TreeCopy(EAST, HostId("h1"), "east"), stand.address)
        there = {EAST: TreeCopy(EAST, HostId("h1"), "east"), WEST: TreeCopy(WEST, HostId("h1"), "west")}
        agency = replace(agency, repository=replace(agency.repository, places=there))
        host = Host(HostId("h1"), EAST, stand.address, "ncia", ("files", "store"), "files")
        estate = replace(estate_with_program(estate), agencies={TREASURY: agency}, hosts={host.id: host})
        places = Places(estate, settings)
        east, west = (places.store(places.of(agency, site).url) for site in (EAST, WEST))
        create(west, PASSWORD, HOLDER, NOW, CHEAP, twin=create(east, PASSWORD, HOLDER, NOW, CHEAP))
        ledger, site = Ledger(), StoreSite(host, PurePosixPath(world.root), PurePosixPath("/nonexistent"))
        performer: Any = SimpleNamespace(prove=None)
        ways = Ways(settings, estate, ledger, RemoteStore(LocalRemote(), site), performer, SystemClock())  # type: ignore[arg-type]
        works = point_works(ways)
        kept = {"agency": TREASURY, "repositories": {EAST: "id", WEST: "id"}, "reason": "kim asked for it"}

        def done(verb: str, dataset: str, details: dict[str, Any]) -> str:
            job = Job(order(f"{verb}-1", dataset, verb, details=details), "running", fence=1)
            return works[verb](job, MemorySteps(job, {}))

        assert "point-1 of tax/rows: snapshot" in done(KEEP_POINT, ROWS, {**kept, "point": point.model_dump()})
        done(KEEP_PROGRAM, PROGRAM, {**kept, "archive": captured.model_dump()})
        holds = [body for body in ledger.told if isinstance(body, SnapshotHolds)]
        assert [(body.site, body.subject) for body in holds] == [
            (site, subject) for subject in ("point-1", captured.path) for site in (EAST, WEST)
        ]
        archive = world.root / captured.path
        before = archive.read_bytes()
        archive.unlink()
        tree = next(body.tree for body in ledger.told if body.KIND == "snapshot.kept" and body.dataset == PROGRAM)  # type: ignore[attr-defined]
        snapshots = [(EAST, {"id": holds[-1].snapshot, "tree": tree, "size_bytes": 1})]
        asked = {"agency": TREASURY, "archive": captured.model_dump(), "snapshots": snapshots}
        assert "is back from east's place" in done(BRING_PROGRAM, PROGRAM, asked)
        assert (archive.read_bytes(), isinstance(ledger.told[-1], ProgramBrought)) == (before, True)
        assert {path.suffix for path in (settings.state / STAGING).iterdir()} == {".lock"}
    world.close()
