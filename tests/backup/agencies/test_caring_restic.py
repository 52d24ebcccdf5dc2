"""An agency that keeps restic: the real one reads its places part by part and prunes them, as the jobs ask."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backup.agencies.ports import Asked, Place
from backup.engines.restic import ResticEngine
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Agency
from ncia.core.estate.repository import EngineName, Rotation
from ncia.core.journal.entries_repositories import RepositoryChecked, RepositoryMade, RepositoryPruned
from tests.backup.agencies.world import EAST, TREASURY, WEST, World, estate_of
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.restic import demand_restic

DAY = 86_400.0


def estate() -> Estate:
    """Read whole and pruned each day."""
    base = estate_of(EngineName.RESTIC)
    changed = {"interval_seconds": 1000 * DAY, "check": Rotation(DAY, parts=1), "prune_interval_seconds": DAY}
    repository = replace(base.agencies[TREASURY].repository, **changed)
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


@dataclass
class KeptByRestic(World):
    """The repository is there already, with a key that costs nothing to open: restic's own takes a second each time."""

    estate: Estate = field(default_factory=estate)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.engine = ResticEngine(str(demand_restic().program), {"PATH": os.environ["PATH"]})
        made = create(FolderStore(self.folder / EAST), PASSWORD, HOLDER, NOW, CHEAP).config.id
        for site in (EAST, WEST):
            named = {"job": "repository:1", "agency": TREASURY, "site": site, "repository": made}
            self.journal.append(RepositoryMade(**named, engine="restic", place="", escrowed_for=()), by="kim")
        self.active = {SystemId("tax"): WEST}  # whose controller keeps its documents

    def place(self, agency: Agency, site: str) -> Place:
        return Place(str(self.folder / site), self.folder / "password")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KeptByRestic]:
    found = KeptByRestic(tmp_path)
    yield found
    found.close()


def test_what_no_snapshot_needs_goes_at_once_and_a_flipped_bit_is_an_entry(world: KeptByRestic) -> None:
    """restic tells neither bytes that are removed nor bytes that are read."""
    place = world.place(world.agency, EAST)
    kept = []
    for seed in (7, 8):
        (world.folder / "return").write_bytes(random.Random(seed).randbytes(100_000))
        kept.append(world.engine.backup(place, Asked((str(world.folder / "return"),), "tax")).snapshot)
    world.engine.forget(place, kept[:1])
    world.look()
    (job,) = world.tick(2 * DAY)
    (pruned,) = (body for body in world.told() if isinstance(body, RepositoryPruned))
    assert (job.state, pruned.marked, pruned.removed > 0, pruned.removed_bytes) == ("succeeded", 0, True, -1)
    pack = max((world.folder / EAST / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[5000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    (job,) = world.tick(1)
    (read,) = (body for body in world.told() if isinstance(body, RepositoryChecked))
    assert (job.state, read.faults > 0, read.bytes_read, read.bytes_all) == ("failed", True, -1, -1)
    assert pack.name[:8] in " ".join(read.named)
