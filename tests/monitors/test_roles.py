import json
import os
from pathlib import Path

from monitors.ports import Standing
from monitors.roles import LeaseFileRoles
from ncia.core.base.ids import SiteId, SystemId
from tests.monitors.servers import SetClock

EAST, TAX = SiteId("east"), SystemId("tax")


def write(path: Path, deadline: int, site: str = "east", epoch: int = 1) -> None:
    told = {"site": "east", "deadline_boottime_ns": deadline, "systems": {"tax": {"epoch": epoch, "site": site}}}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(told))
    os.replace(fresh, path)


def test_a_system_may_be_written_only_where_it_is_active_and_until_the_deadline(tmp_path: Path) -> None:
    path, clock = tmp_path / "lease.json", SetClock(boottime=100)
    roles = LeaseFileRoles(path, EAST, clock)
    assert roles.of(TAX) is None
    write(path, deadline=200)
    assert roles.of(TAX) == Standing(EAST, 1, writable=True)
    clock.boottime = 200
    assert roles.of(TAX) == Standing(EAST, 1, writable=False)
    write(path, deadline=900, site="west", epoch=2)
    assert roles.of(TAX) == Standing(SiteId("west"), 2, writable=False)


def test_a_torn_or_missing_file_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    roles = LeaseFileRoles(path, EAST, SetClock())
    write(path, deadline=200)
    assert roles.of(TAX) is not None
    path.write_text('{"site"')
    assert roles.of(TAX) is None
    path.unlink()
    assert roles.of(TAX) is None
