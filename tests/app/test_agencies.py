"""A site's own keys open its agencies' repositories, over SFTP and S3, for ours and for restic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup.agencies.ports import Asked, Place
from backup.repository.repository import create
from ncia.app.agencies import PASSWORDS, Engines, Places
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, HostId
from ncia.core.config import SiteSettings, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, Agency, BucketCopy, Host, TreeCopy
from ncia.core.estate.repository import AgencyRepository, EngineName, Keep
from tests.backup.agencies.world import EAST, TREASURY, WEST, estate_of
from tests.backup.replicate.stores.stands import s3_stand, sftp_stand
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.demand import demand
from tests.restic import demand_restic


def settings_in(folder: Path) -> SiteSettings:
    """With a password for the agency, and what a stand has written of keys."""
    (folder / "site.yaml").write_text("site: east\nestate: configs\nsecrets: .\n")
    (folder / PASSWORDS).mkdir()
    (folder / PASSWORDS / TREASURY).write_text("open sesame\n")
    return load_settings(folder / "site.yaml")


def with_place(place: TreeCopy | BucketCopy, address: Address) -> tuple[Estate, Agency]:
    base = estate_of()
    agency = replace(
        base.agencies[TREASURY], repository=AgencyRepository(EngineName.NCIA, 60, Keep(1), {EAST: place}, ())
    )
    host = Host(HostId("h1"), EAST, address, "ncia", ("files",), "files")
    return replace(base, hosts={host.id: host}, agencies={AgencyId(TREASURY): agency}), agency


def there_and_back(settings: SiteSettings, places: Places, place: Place) -> None:
    """Made and filled by ours, and listed by restic with the same keys."""
    source = settings.secrets / "source"
    source.mkdir()
    (source / "document").write_text("a petition")
    engines = Engines(settings, places, SystemClock())
    ours, theirs = (engines.of(AgencyRepository(name, 60, Keep(1), {}, ())) for name in EngineName)
    id_ = ours.init(place)
    kept = ours.backup(place, Asked((str(source),), "tax"))
    found = theirs.snapshots(place)
    assert (found.repository, [each.snapshot for each in found.snapshots]) == (id_, [kept.snapshot])


def test_over_sftp_with_the_sites_key_and_to_no_host_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh, program = demand("ssh"), demand_restic().program
    monkeypatch.setenv("PATH", f"{program.parent}:{Path(ssh).parent}:/usr/bin:/bin")
    with sftp_stand(tmp_path / "site") as stand:
        settings = settings_in(tmp_path / "site")
        estate, agency = with_place(TreeCopy(EAST, HostId("h1"), "repositories/treasury"), stand.address)
        places = Places(estate, settings)
        place = places.of(agency, EAST)
        assert place.url == f"sftp://files@127.0.0.1:{stand.address.port}//repositories/treasury"
        there_and_back(settings, places, place)
        assert (tmp_path / "site" / "files" / "repositories" / "treasury" / "config").exists()
        (settings.secrets / "known_hosts").write_text("")
        with pytest.raises(NciaError):
            Engines(settings, places, SystemClock()).of(
                AgencyRepository(EngineName.RESTIC, 60, Keep(1), {}, ())
            ).snapshots(place)


def test_over_sftp_a_place_is_looked_into_and_mended_from_its_twin(tmp_path: Path) -> None:
    with sftp_stand(tmp_path / "site") as stand:
        settings = settings_in(tmp_path / "site")
        estate, agency = with_place(TreeCopy(EAST, HostId("h1"), "east"), stand.address)
        there = {EAST: TreeCopy(EAST, HostId("h1"), "east"), WEST: TreeCopy(WEST, HostId("h1"), "west")}
        agency = replace(agency, repository=replace(agency.repository, places=there))
        places = Places(estate, settings)
        east, west = (places.of(agency, site) for site in (EAST, WEST))
        engine = Engines(settings, places, SystemClock()).of(agency.repository)
        first = create(places.store(east.url), PASSWORD, HOLDER, NOW, CHEAP)  # a key that costs nothing to open
        create(places.store(west.url), PASSWORD, HOLDER, NOW, CHEAP, twin=first)
        kept = engine.backup_both(east, west, Asked((str(settings.file),), "tax"))
        assert kept.missing == {}
        file = tmp_path / "site" / "files" / "west" / "snapshots" / kept.kept.snapshot
        before = file.read_bytes()
        file.unlink()
        assert engine.snapshots(west).snapshots == ()
        healed = engine.heal(west, east)
        assert (healed.lost, file.read_bytes()) == ((), before)
        assert [each.snapshot for each in engine.snapshots(west).snapshots] == [kept.kept.snapshot]
        engine.forget(west, [kept.kept.snapshot])
        assert (engine.snapshots(west).snapshots, len(engine.snapshots(east).snapshots)) == ((), 1)


def test_over_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{demand_restic().program.parent}:/usr/bin:/bin")
    with s3_stand(tmp_path / "objects") as access:
        (tmp_path / "site").mkdir()
        settings = settings_in(tmp_path / "site")
        line = f"{access.endpoint} {access.key} {access.secret}\n"
        (settings.secrets / "s3_keys").write_text(line)
        estate, agency = with_place(BucketCopy(EAST, access.endpoint, "treasury"), access.endpoint)
        places = Places(estate, settings)
        place = places.of(agency, EAST)
        assert (place.url, access.secret in repr(place)) == (f"s3:http://{access.endpoint}/treasury", False)
        there_and_back(settings, places, place)


def test_a_place_that_the_estate_does_not_name_is_told(tmp_path: Path) -> None:
    estate = estate_of()
    places = Places(estate, settings_in(tmp_path))
    with pytest.raises(NciaError, match="the estate names none there"):
        places.of(replace(estate.agencies[TREASURY], repository=None), EAST)
    with pytest.raises(NciaError, match="lies at a host or in a bucket"):
        places.store(str(tmp_path))
