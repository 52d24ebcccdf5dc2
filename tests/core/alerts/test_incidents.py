"""One fault, one incident, and its root is the fault: on random estates, from either controller."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from ncia.core.alerts.evidence import Evidence, Lack, Sight, Vantage
from ncia.core.alerts.graph import QUORUM
from ncia.core.alerts.incidents import cleared, diagnose
from ncia.core.base.ids import SiteId, SystemId
from tests.core.alerts.world import (
    BROKE,
    CENTRES,
    NORTH,
    NOW,
    SOUTH,
    THIRD,
    Shape,
    World,
    active_of,
    estate_of,
    single_faults,
)

CHAIN = Shape(
    (frozenset(), frozenset({0}), frozenset({1}), frozenset()), (NORTH,) * 3 + (SOUTH,), (NORTH,) * 3 + (SOUTH,),
    (1, 1, 3, 2), (0, 0, 1, 1),
)  # fmt: skip


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Every system at home: being away is an incident of its own, with the old copy's faults as its members."""
    count = draw(st.integers(2, 7))
    homes = tuple(draw(st.lists(st.sampled_from(CENTRES), min_size=count, max_size=count)))
    return Shape(
        tuple(draw(st.frozensets(st.integers(0, n - 1), max_size=3)) if n else frozenset() for n in range(count)),
        homes,
        homes,
        tuple(draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))),
        tuple(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))),
    )


def world(shape: Shape, *broken: str) -> World:
    return World(estate_of(shape), active_of(shape), frozenset(broken))


def roots(world: World, controller: SiteId) -> list[str]:
    return [d.root for d in diagnose(world.estate, world.evidence(controller), NOW)]


def controllers(*broken: str) -> list[SiteId]:
    return [site for site in CENTRES if f"site:{site}" not in broken and f"api:{site}" not in broken]


@given(shapes())
@settings(max_examples=60)
def test_a_world_without_faults_has_no_incident(shape: Shape) -> None:
    for controller in CENTRES:
        assert roots(world(shape), controller) == []


@given(shapes(), st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_one_fault_anywhere_is_one_incident_whose_root_is_that_fault(shape: Shape, data: st.DataObject) -> None:
    broken, root = data.draw(st.sampled_from(sorted(single_faults(estate_of(shape)))))
    controller = data.draw(st.sampled_from(controllers(broken)))
    seen = world(shape, broken)
    if seen.evidence(controller) == world(shape).evidence(controller):
        return  # nobody can see it from here: a cut between the citizens and a site where nothing is active
    found = roots(seen, controller)
    assert found == [root] or set(found) in alike(shape, seen, controller)


def alike(shape: Shape, seen: World, controller: SiteId, *beside: str) -> list[set[str]]:
    """The roots of other faults (beside the given ones) that look exactly the same from here."""
    evidence = seen.evidence(controller)
    faults = single_faults(seen.estate)
    return [{root} for fault, root in faults if world(shape, fault, *beside).evidence(controller) == evidence]


@given(shapes(), st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
def test_two_independent_faults_are_two_incidents(shape: Shape, data: st.DataObject) -> None:
    faults = sorted(single_faults(estate_of(shape)))
    (one, first), (two, second) = data.draw(st.lists(st.sampled_from(faults), min_size=2, max_size=2, unique=True))
    controller = data.draw(st.sampled_from(controllers(one, two) or CENTRES))
    assume(controller in controllers(one, two))
    both = world(shape, one, two)
    apart = [_bad(world(shape, fault), controller) for fault in (one, two)]
    assume(apart[0] and apart[1])
    assume(not apart[0] & apart[1] and apart[0] | apart[1] == _bad(both, controller))  # they do not touch each other
    found = set(roots(both, controller))
    if found != {first, second}:
        note(f"{one} and {two}, seen from {controller}: {found}")
        assume(not _makes_one(both) and not alike(shape, both, controller))
        told_apart = [alike(shape, both, controller, fault) for fault in (one, two)]
        assume(all(len(each) == 1 for each in told_apart))  # nobody could tell this pair from another one
        assume(roots(world(shape, one), controller) == [first] and roots(world(shape, two), controller) == [second])
        raise AssertionError(f"{one} and {two} became {found}")


def _bad(seen: World, controller: SiteId) -> set[tuple[str, str]]:
    evidence = seen.evidence(controller)
    well = world_of(seen).evidence(controller)
    found = {(v, "silent") for v in evidence.silent}
    for viewer, vantage in evidence.vantages.items():
        found |= {(viewer, s) for s, sight in vantage.sights.items() if sight != well.vantages[viewer].sights[s]}
    return found


def world_of(seen: World) -> World:
    return replace(seen, broken=frozenset())


def _makes_one(seen: World) -> bool:
    """Two databases that are all of a host, two sites of three: together they are another, greater fault."""
    held: dict[str, set[bool]] = {}
    for system in seen.estate.systems.values():
        for site, copy in system.postgres.copies.items():
            held.setdefault(copy.host, set()).add(seen.db(system.id, site))
    whole_host = any(works == {False} for host, works in held.items() if seen.works(f"host:{host}"))
    return whole_host or not any(seen.etcd(site) for site in CENTRES)


@pytest.mark.parametrize("lost", CENTRES)
def test_a_lost_site_is_named_with_what_others_see_and_what_to_run(lost: SiteId) -> None:
    controller = SOUTH if lost == NORTH else NORTH
    (found,) = diagnose(estate_of(CHAIN), world(CHAIN, f"site:{lost}").evidence(controller), NOW)
    assert (found.root, found.cause, found.severity) == (f"site:{lost}", "site-lost", "critical")
    assert found.run_next == f"ncia recover plan {lost}"
    assert "both see nothing of it since 13:01:41 KST" in found.sentence
    assert "its lease is gone" in found.sentence


def test_a_lost_site_says_how_many_systems_are_down_for_citizens() -> None:
    (found,) = diagnose(estate_of(CHAIN), world(CHAIN, "site:north").evidence(SOUTH), NOW)
    assert found.sentence == (
        "North is lost: South and the third both see nothing of it since 13:01:41 KST; its lease is gone; "
        "3 systems are down for citizens (s0, s1, s2)."
    )
    assert found.systems == ("s0", "s1", "s2")


def test_a_cut_link_between_the_sites_is_no_lost_site() -> None:
    for controller in CENTRES:
        (found,) = diagnose(estate_of(CHAIN), world(CHAIN, "link:north-south").evidence(controller), NOW)
        assert (found.root, found.cause) == ("link:north-south", "link-lost")
        assert found.run_next == ""


def test_a_site_that_sees_nobody_and_has_no_quorum_knows_that_it_is_the_one_cut_off() -> None:
    cut = world(CHAIN, "link:north-south", "link:north-third")
    (found,) = diagnose(cut.estate, cut.evidence(NORTH), NOW)
    assert (found.root, found.cause) == ("site:north", "isolated")
    assert "etcd has no majority here" in found.sentence


def test_of_a_site_cut_off_from_both_others_the_others_say_that_it_is_lost() -> None:
    cut = world(CHAIN, "link:north-south", "link:north-third")
    (found,) = diagnose(cut.estate, cut.evidence(SOUTH), NOW)
    assert (found.root, found.cause) == ("site:north", "site-lost")


def test_two_dead_members_are_one_incident_etcd_without_quorum() -> None:
    found = diagnose(estate_of(CHAIN), world(CHAIN, "etcd:third", "etcd:south").evidence(NORTH), NOW)
    assert [d.root for d in found if d.cause == "no-quorum"] == ["quorum:etcd"]
    assert not any(d.cause == "etcd-member-down" for d in found)


def test_a_system_that_names_its_dependency_is_a_member_of_that_ones_incident() -> None:
    down = world(CHAIN, "app:s0@north")
    (found,) = diagnose(down.estate, down.evidence(SOUTH), NOW)
    assert found.root == "app:s0@north"
    assert {"app:s1@north", "app:s2@north", "entry:s0", "entry:s1", "entry:s2"} == set(found.members)
    assert found.systems == ("s0", "s1", "s2")


def test_a_system_that_names_a_dependency_which_is_well_is_itself_the_root() -> None:
    seen = world(CHAIN).evidence(NORTH)
    blaming = Sight("down", BROKE, "answered 503, names dependency s0")
    vantages = {v: replace(x, sights={**x.sights, "app:s1@north": blaming}) for v, x in seen.vantages.items()}
    assert [d.root for d in diagnose(estate_of(CHAIN), replace(seen, vantages=vantages), NOW)] == ["app:s1@north"]


def test_a_replica_behind_alone_is_a_replica_incident() -> None:
    assert roots(world(CHAIN, "shipping:s3"), NORTH) == ["replica:s3@north"]


def test_all_replicas_behind_are_one_slow_link() -> None:
    behind = world(CHAIN, *(f"shipping:s{n}" for n in range(4)))
    (found,) = diagnose(behind.estate, behind.evidence(SOUTH), NOW)
    assert (found.root, found.cause) == ("link:north-south", "link-slow")


def test_a_missed_run_says_which_backup_to_run() -> None:
    lack = Lack("backup", "s0/rows", BROKE, "no success within 60 s")
    (found,) = diagnose(estate_of(CHAIN), replace(world(CHAIN).evidence(NORTH), lacks=(lack,)), NOW)
    assert (found.root, found.run_next, found.severity) == ("backup:s0/rows", "ncia backup run s0/rows", "minor")


def test_a_fault_is_not_settled_while_what_may_stand_behind_it_is_in_doubt() -> None:
    seen = world(CHAIN, "db:s0@north").evidence(NORTH)
    (found,) = diagnose(estate_of(CHAIN), seen, NOW)
    assert found.settled
    doubting = {v: replace(x, doubts=frozenset({"site:north"} if v != NORTH else ())) for v, x in seen.vantages.items()}
    (found,) = diagnose(estate_of(CHAIN), replace(seen, vantages=doubting), NOW)
    assert not found.settled


def test_a_lost_link_is_not_settled_while_the_other_vantage_doubts_too() -> None:
    """The witness needs a second more than the peer to lose sight of a burnt site: that is no lost link."""
    seen = world(CHAIN, "site:north").evidence(SOUTH)
    late = world(CHAIN).evidence(SOUTH).vantages[THIRD]
    early = {**seen.vantages, THIRD: replace(late, doubts=frozenset({"site:north"}))}
    found = diagnose(estate_of(CHAIN), replace(seen, vantages=early), NOW)
    assert found
    assert not any(d.settled for d in found)


def test_a_vantage_that_has_just_fallen_silent_does_not_vouch() -> None:
    """Cut off, the last words of the others still lie on the table: they must not make it two lost links."""
    cut = world(CHAIN, "link:north-south", "link:north-third").evidence(NORTH)
    well = world(CHAIN).evidence(NORTH)
    stale = {site: replace(well.vantages[site], heard_at=NOW - timedelta(seconds=4)) for site in (SOUTH, THIRD)}
    found = diagnose(estate_of(CHAIN), replace(cut, vantages={**stale, **cut.vantages}, silent={}), NOW)
    assert [d.root for d in found] == ["site:north"]


def test_silence_clears_nothing() -> None:
    gone = replace(world(CHAIN).evidence(SOUTH), vantages={}, silent=dict.fromkeys((NORTH, SOUTH, THIRD), BROKE))
    for root in ("db:s0@north", "site:north", "link:north-south", "quorum:etcd", "host:north-db0", "gate:north"):
        assert not cleared(estate_of(CHAIN), gone, NOW, root), root


@given(shapes(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_fault_that_was_mended_is_seen_to_be_over(shape: Shape, data: st.DataObject) -> None:
    _, root = data.draw(st.sampled_from(sorted(single_faults(estate_of(shape)))))
    controller = data.draw(st.sampled_from(CENTRES))
    assert cleared(estate_of(shape), world(shape).evidence(controller), NOW, root)


@given(shapes(), st.sets(st.sampled_from(["site:north", "link:north-south", "etcd:third", "gate:north", "front"])))
@settings(max_examples=60, deadline=None)
def test_whatever_breaks_each_diagnosis_is_a_sentence(shape: Shape, broken: set[str]) -> None:
    for diagnosis in diagnose(estate_of(shape), world(shape, *broken).evidence(SOUTH), NOW):
        assert diagnosis.sentence.endswith(".")
        assert diagnosis.sentence[0].isupper()
        assert len(diagnosis.sentence) < 500


def test_only_one_vantage_left_and_the_lease_gone_is_a_lost_site() -> None:
    seen = world(CHAIN, "site:north", "agent:third").evidence(SOUTH)
    found = {d.root: d.cause for d in diagnose(estate_of(CHAIN), seen, NOW)}
    assert found == {"site:north": "site-lost", "agent:third": "agent-silent"}


def test_a_site_served_from_elsewhere_asks_for_no_plan_any_more() -> None:
    moved = replace(CHAIN, active=(SOUTH,) * 4)
    (found,) = diagnose(estate_of(moved), world(moved, "site:north").evidence(SOUTH), NOW)
    assert (found.run_next, found.systems, found.severity) == ("", (), "major")


def test_evidence_without_any_vantage_makes_agents_the_roots() -> None:
    nothing = Evidence(SOUTH, {}, {SOUTH: BROKE}, {SystemId("s0"): NORTH})
    assert [d.root for d in diagnose(estate_of(CHAIN), nothing, NOW)] == ["agent:south"]


def test_an_unknown_subject_is_nobodys_fault() -> None:
    odd = Evidence(SOUTH, {SOUTH: Vantage(NOW, {"weather:north": Sight("down", BROKE)})}, {}, {})
    assert diagnose(estate_of(CHAIN), odd, NOW) == ()


@pytest.mark.parametrize(("heard_ago", "root"), [(0.5, QUORUM), (3.0, f"site:{THIRD}")])
def test_a_site_whose_only_service_ended_is_lost_only_once_its_agent_is_silent_too(heard_ago: float, root: str) -> None:
    """The witness has nothing but etcd to be seen by; with another member down too, it is the quorum that is lost."""
    seen = world(CHAIN, f"etcd:{THIRD}", f"etcd:{SOUTH}").evidence(NORTH)
    heard = replace(seen.vantages[THIRD], heard_at=NOW - timedelta(seconds=heard_ago))
    found = diagnose(estate_of(CHAIN), replace(seen, vantages={**seen.vantages, THIRD: heard}), NOW)
    assert [diagnosis.root for diagnosis in found] == [root]


def test_a_mirror_that_its_controller_cannot_carry_on_is_one_incident_with_the_reason() -> None:
    seen = world(CHAIN, "mirror:s0/papers@south")
    why = "mirror a to s: the store said that it has it, and holds other bytes"
    evidence = replace(seen.evidence(SOUTH), lacks=(Lack("mirror", "s0/papers@south", BROKE, why),))
    (found,) = diagnose(seen.estate, evidence, NOW)
    assert (found.root, found.cause, found.members) == ("mirror:s0/papers@south", "mirror-behind", ())
    assert found.sentence == (f"The mirror of s0/papers at South does not follow since 13:01:41 KST ({why}).")
    assert not cleared(seen.estate, evidence, NOW, found.root)
    assert cleared(seen.estate, world(CHAIN).evidence(SOUTH), NOW, found.root)


def test_a_mirror_that_failed_before_its_system_moved_here_is_no_fault() -> None:
    moved = replace(CHAIN, active=(SOUTH, *CHAIN.active[1:]))
    evidence = replace(world(moved).evidence(SOUTH), lacks=(Lack("mirror", "s0/papers@south", BROKE, "x"),))
    assert [(d.root, d.members) for d in diagnose(estate_of(moved), evidence, NOW)] == [("home:north", ())]


def test_a_store_that_is_down_explains_its_marks_and_its_mirrors() -> None:
    (found,) = diagnose(estate_of(CHAIN), world(CHAIN, "store:north-files0@north").evidence(SOUTH), NOW)
    assert (found.root, found.cause) == ("store:north-files0@north", "store-down")
    assert found.members == (
        "mark:s0/papers@north", "mark:s1/papers@north", "mirror:s0/papers@south", "mirror:s1/papers@south",
    )  # fmt: skip


def test_wal_kept_for_nobody_names_the_database_and_is_the_lost_sites_fault_while_one_is_lost() -> None:
    (found,) = diagnose(estate_of(CHAIN), world(CHAIN, "slots:s0@north").evidence(SOUTH), NOW)
    assert (found.root, found.cause, found.severity) == ("slots:s0@north", "slot-unread", "major")
    assert found.sentence.startswith("The database of System 0 (s0) at North keeps WAL for nobody since 13:01:41 KST")
    (found,) = diagnose(estate_of(CHAIN), world(CHAIN, "slots:s3@south", "site:north").evidence(SOUTH), NOW)
    assert found.root == "site:north"
    assert "slots:s3@south" in found.members
