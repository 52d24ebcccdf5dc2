from importlib.resources import files
from pathlib import Path

from monitors.targets import (
    AppTarget,
    DatabaseTarget,
    EntryTarget,
    GateTarget,
    LeaseTarget,
    ReceiverTarget,
    SiteTarget,
    Target,
    targets,
    vantages,
)
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate

ESTATE = load_estate(Path(str(files("configs"))))
CENTRE, PEER, WITNESS = SiteId("daejeon"), SiteId("gwangju"), SiteId("witness")


def of(kind: type[Target], viewer: SiteId) -> list[Target]:
    return [target for target in targets(ESTATE, viewer) if isinstance(target, kind)]


def test_every_site_but_the_citizens_side_is_a_vantage() -> None:
    assert vantages(ESTATE) == (CENTRE, PEER, WITNESS)


def test_every_vantage_looks_at_every_application_at_both_sites() -> None:
    for viewer in vantages(ESTATE):
        assert len(of(AppTarget, viewer)) == 2 * len(ESTATE.systems)


def test_a_centre_looks_at_its_own_databases_and_gates_and_a_witness_at_none() -> None:
    assert {target.copy.site for target in of(DatabaseTarget, CENTRE)} == {CENTRE}
    assert len(of(GateTarget, CENTRE)) == len(of(EntryTarget, CENTRE)) == len(ESTATE.systems)
    assert of(DatabaseTarget, WITNESS) == of(GateTarget, WITNESS) == of(EntryTarget, WITNESS) == []


def test_a_centre_looks_at_the_other_ones_receiver_of_each_synchronous_system() -> None:
    looked_at = {(target.system.id, target.copy.site, target.peer) for target in of(ReceiverTarget, CENTRE)}
    waiting = {s.id for s in ESTATE.systems.values() if s.grade == 1}
    assert looked_at == {(system, CENTRE, PEER) for system in waiting}
    assert of(ReceiverTarget, WITNESS) == []


def test_addresses_are_those_that_the_vantage_must_dial() -> None:
    app = next(t for t in of(AppTarget, PEER) if t.system.id == "hometax" and t.site == CENTRE)
    assert str(app.address) == "127.20.11.3:8000"
    entry = next(t for t in of(EntryTarget, PEER) if t.system.id == "hometax")
    assert str(entry.address) == "127.20.35.3:8000"


def test_a_site_is_judged_as_a_whole_by_the_others_only() -> None:
    assert {t.site: t.from_outside for t in of(SiteTarget, CENTRE)} == {CENTRE: False, PEER: True, WITNESS: True}


def test_leases_are_asked_of_the_vantages_own_member_first() -> None:
    (lease,) = of(LeaseTarget, WITNESS)
    assert lease.sites == (CENTRE, PEER)
    assert [str(member) for member in lease.members] == ["127.30.0.2:2379", "127.30.8.2:2379", "127.30.16.2:2379"]
