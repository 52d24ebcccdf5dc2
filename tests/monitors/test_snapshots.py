"""What is gone from an agency's repository is an incident, until it is back or the journal has it forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ncia.core.alerts.evidence import Lack
from ncia.core.alerts.incidents import diagnose
from ncia.core.base.ids import AgencyId, HostId, SystemId
from ncia.core.estate.model import Agency, TreeCopy
from ncia.core.estate.repository import AgencyRepository, EngineName, Keep
from ncia.core.journal.entries_care import ForgetAllowed, ForgetHeld, SnapshotProofFailed, SnapshotProven
from ncia.core.journal.entries_repositories import (
    RepositoryChecked,
    RepositoryLooked,
    RepositoryMade,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotKept,
)
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import BROKE, NOW, SOUTH, World, active_of, estate_of
from tests.monitors.centres import Centre, centre
from tests.monitors.test_task import see

AGENCY = AgencyId("agency")
PLACES = {SOUTH: TreeCopy(SOUTH, HostId("south-files0"), "backups")}
REPOSITORY = AgencyRepository(EngineName.NCIA, 3600, Keep(1), PLACES, ())
ESTATE = replace(estate_of(CHAIN), agencies={AGENCY: Agency(AGENCY, "Agency", REPOSITORY)})
ROOT = "snapshot:agency@south"
MADE = RepositoryMade(
    job="repository:agency:1", agency=AGENCY, site=SOUTH, repository="ab", engine="ncia", place="", escrowed_for=()
)
KEPT = SnapshotKept(
    job="snapshot:1",
    agency=AGENCY,
    dataset="s0/papers",
    site=SOUTH,
    repository="ab",
    snapshot="8e68",
    tree="ce4e",
    files=1,
    size_bytes=1,
    losses=0,
    lost=(),
    reason="due",
    seconds=1,
)


def looked(*missing: str, why: str = "") -> RepositoryLooked:
    return RepositoryLooked(agency=AGENCY, site=SOUTH, expected=1, missing=missing, strangers=0, why=why)


def read(*named: str) -> RepositoryChecked:
    return RepositoryChecked(
        job="check:1",
        agency=AGENCY,
        site=SOUTH,
        repository="ab",
        part=2,
        of=7,
        bytes_read=1,
        bytes_all=7,
        faults=len(named),
        named=named,
        started_at="",
        ended_at="",
    )


def world(*broken: str) -> World:
    return World(ESTATE, active_of(CHAIN), frozenset(broken))


@pytest.fixture
def south(tmp_path: Path) -> Iterator[Centre]:
    found = centre(tmp_path, SOUTH, ESTATE)
    see(found, world())
    found.journal.append_all((MADE, KEPT), by="x")
    yield found
    found.journal.close()


def test_a_vanished_snapshot_is_an_incident_until_it_is_back(south: Centre) -> None:
    south.journal.append(looked("snapshot 8e68 of s0/papers is not there"), by="x")
    see(south, world(), 1)
    now = south.open()[ROOT].now
    assert (now.cause, now.severity, now.run_next) == (
        "snapshot-gone",
        "major",
        "ncia backup mend s0/papers (at that site)",
    )
    assert "The repository of agency at South is not what was kept there" in now.sentence
    assert "snapshot 8e68 of s0/papers is not there" in now.sentence
    assert now.sentence.endswith("are for the retention officer: ncia backup write-off agency.")
    south.journal.append(looked(), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_repository_of_rows_alone_is_mended_by_their_name() -> None:
    rows = {
        each.id: replace(each, datasets=tuple(d for d in each.datasets if not d.documents))
        for each in ESTATE.systems.values()
    }
    estate = replace(ESTATE, systems=rows)
    lack = Lack("snapshot", "agency@south", BROKE, "snapshot 8e68 of s0/rows is not there")
    (found,) = diagnose(estate, replace(world().evidence(SOUTH), lacks=(lack,)), NOW)
    assert found.run_next == "ncia backup mend s0/rows (at that site)"


def test_it_is_over_when_the_journal_has_the_snapshot_forgotten_and_a_look_agrees(south: Centre) -> None:
    south.journal.append(looked("snapshot 8e68 of s0/papers is not there"), by="x")
    see(south, world(), 1)
    forgotten = SnapshotForgotten(
        agency=AGENCY, dataset="s0/papers", site=SOUTH, snapshot="8e68", reason="han: taken back by the agency"
    )
    south.journal.append_all((forgotten, looked()), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_repository_that_is_another_one_is_the_same_incident(south: Centre) -> None:
    south.journal.append(looked(why="it is repository cdcd, and abab was made there"), by="x")
    see(south, world(), 1)
    assert "it is repository cdcd" in south.open()[ROOT].now.sentence


def test_a_part_that_was_read_and_is_damaged_is_the_same_incident_until_it_is_read_and_well(south: Centre) -> None:
    south.journal.append(read("pack 8e68c22b is not what was written"), by="x")
    see(south, world(), 1)
    now = south.open()[ROOT].now
    assert (now.cause, now.run_next) == ("snapshot-gone", "ncia backup mend s0/papers (at that site)")
    assert "pack 8e68c22b is not what was written" in now.sentence
    south.journal.append(looked(), by="x")
    see(south, world(), 1)
    assert list(south.open()) == [ROOT]  # all snapshots are there, and what they need is not
    south.journal.append(read(), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_documents_that_were_not_kept_are_a_missed_run_until_they_are(south: Centre) -> None:
    failed = SnapshotFailed(job="snapshot:2", agency=AGENCY, dataset="s0/papers", site=SOUTH, error="no room there")
    south.journal.append(failed, by="x")
    see(south, world(), 1)
    now = south.open()["backup:s0/papers"].now
    assert ("no room there" in now.sentence, now.run_next) == (True, "ncia backup run s0/papers")
    south.journal.append(KEPT.model_copy(update={"job": "snapshot:3", "snapshot": "9f79"}), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_point_that_is_in_no_repository_is_an_incident_of_its_own_until_it_is(south: Centre) -> None:
    """Its backup was made and lies in a store: nobody is to take another one."""
    (rows,) = (each for each in ESTATE.systems[SystemId("s0")].datasets if each.kind == "postgresql")
    failed = SnapshotFailed(job="keep:1", agency=AGENCY, dataset=rows.id, site=SOUTH, error="no room there")
    south.journal.append(failed, by="x")
    see(south, world(), 1)
    now = south.open()[f"keep:{rows.id}"].now
    assert (now.cause, now.severity, now.run_next) == ("copy-not-kept", "minor", f"ncia backup keep {rows.id}")
    assert "no room there" in now.sentence
    south.journal.append(KEPT.model_copy(update={"dataset": rows.id, "snapshot": "9f79"}), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_forgetting_that_waits_for_a_person_is_a_minor_incident_until_somebody_let_it_go(south: Centre) -> None:
    why = "31 of 40 of agency (s0/papers) would go at once"
    held = ForgetHeld(agency=AGENCY, site=SOUTH, would_go=31, of=40, named=(), why=why)
    south.journal.append(held, by="x")
    see(south, world(), 1)
    now = south.open()["forget:agency@south"].now
    assert (now.cause, now.severity, now.run_next) == (
        "forget-held",
        "minor",
        "ncia backup forget agency (at that site)",
    )
    assert "forgets nothing since" in now.sentence
    assert "the retention officer is to look" in now.sentence
    assert why in now.sentence
    south.journal.append(ForgetAllowed(agency=AGENCY, site=SOUTH, remove_max=31, going=31, reason="meant so"), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_snapshot_that_is_not_what_the_documents_are_is_a_proof_that_failed_until_one_does_not(south: Centre) -> None:
    about = {"job": "prove:1", "agency": AGENCY, "dataset": "s0/papers", "site": SOUTH, "snapshot": "8e68"}
    south.journal.append(SnapshotProofFailed(**about, error="a came back with other content"), by="x")
    see(south, world(), 1)
    now = south.open()["proof:s0/papers"].now
    assert (now.cause, now.run_next) == ("proof-failed", "ncia backup prove s0/papers (at south)")
    assert "in the place at south: a came back with other content" in now.sentence
    figures = {"documents": 1, "size_bytes": 1, "passed_over": 0, "started_at": "", "ended_at": ""}
    south.journal.append(SnapshotProven(**about, repository="ab", tree="ce4e", **figures), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def test_a_store_that_is_down_explains_it() -> None:
    lack = Lack("snapshot", "agency@south", BROKE, "the host does not answer")
    seen = world("store:south-files0@south").evidence(SOUTH)
    found = {each.root: each.members for each in diagnose(ESTATE, replace(seen, lacks=(lack,)), NOW)}
    assert (ROOT in found, any(ROOT in members for members in found.values())) == (False, True)


def test_a_repository_that_the_estate_has_no_more_is_nobodys_incident(tmp_path: Path) -> None:
    before = centre(tmp_path, SOUTH, ESTATE)
    see(before, world())
    before.journal.append_all((MADE, KEPT, looked("snapshot 8e68 of s0/papers is not there")), by="x")
    see(before, world(), 1)
    assert ROOT in before.open()
    before.journal.close()
    without = replace(ESTATE, agencies={AGENCY: Agency(AGENCY, "Agency", None)})
    after = centre(tmp_path, SOUTH, without, before.clock)
    see(after, World(without, active_of(CHAIN), frozenset()))
    assert ROOT not in after.open()
    after.journal.close()
