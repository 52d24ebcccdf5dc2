from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitors.moves import SILENT_SECONDS_MAX
from monitors.task import AFTERMATH_SECONDS, HOLD_SECONDS_MAX
from ncia.core.alerts.acks import acknowledge, holds
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import PersonId
from ncia.core.estate.model import Person, Role
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    PointRehashed,
    ProofFailed,
    ProofStarted,
    RunMissed,
)
from ncia.core.journal.entries_recovery import PlanMade, RunStarted, StepEnded, StepIntended
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, SOUTH, THIRD, World, active_of, estate_of
from tests.monitors.centres import Centre, centre, report

ESTATE = estate_of(CHAIN)


def world(*broken: str) -> World:
    return World(ESTATE, active_of(CHAIN), frozenset(broken))


@pytest.fixture
def south(tmp_path: Path) -> Iterator[Centre]:
    found = centre(tmp_path, SOUTH, ESTATE)
    yield found
    found.journal.close()


def see(site: Centre, seen: World, seconds: float = 12.0) -> None:
    """Let the agents report what they see of that world, and the task do its work, for so long."""
    for _ in range(int(seconds * 2)):
        for vantage in (NORTH, SOUTH, THIRD):
            if seen.works(f"agent:{vantage}") and seen.reaches(vantage, site.site):
                sights = {s: (sight.verdict, sight.evidence) for s, sight in seen.sights(vantage).items()}
                told = report(site.clock, {s: verdict for s, (verdict, _) in sights.items()})
                for change in told["changes"]:  # type: ignore[attr-defined]
                    change["evidence"] = sights[change["subject"]][1]
                site.intake.report(vantage, told)
        site.task.tick()
        site.clock.go(0.5)


def say(site: Centre, verdicts: dict[str, str], seconds: float) -> None:
    """Let the agent at the south report these verdicts, the others nothing new, and the task do its work."""
    known: dict[str, str] = {}
    for _ in range(int(seconds * 2)):
        for vantage in (NORTH, SOUTH, THIRD):
            news = {s: v for s, v in verdicts.items() if known.get(s) != v} if vantage == SOUTH else {}
            site.intake.report(vantage, report(site.clock, news))
        known |= verdicts
        site.task.tick()
        site.clock.go(0.5)


def opened(site: Centre) -> list[str]:
    return [body.root for body in site.bodies(IncidentOpened) if isinstance(body, IncidentOpened)]


def closed(site: Centre) -> list[tuple[str, str]]:
    return [(body.incident, body.reason) for body in site.bodies(IncidentClosed) if isinstance(body, IncidentClosed)]


def write_run(site: Centre, system: str) -> None:
    """A run that has begun to move that system."""
    steps = [{"id": f"{system}/{kind}", "system": system} for kind in ("hold", "promote")]
    plan = {"steps": [*steps, {"id": "after", "system": ""}]}
    site.journal.append(PlanMade(run="run-1", runbook="system_failover", plan_hash="h", plan=plan, by="kim"), by="kim")
    site.journal.append(RunStarted(run="run-1", plan_hash="h", site=SOUTH), by="engine")
    site.journal.append(intended(steps[0]["id"]), by="engine")


def intended(step: str) -> StepIntended:
    return StepIntended(run="run-1", step=step, attempt=1)


def ended(step: str) -> StepEnded:
    return StepEnded(run="run-1", step=step, attempt=1, outcome="done", evidence="", measured={})


def test_what_a_run_moves_opens_nothing_while_it_goes_on_and_a_moment_after(south: Centre) -> None:
    see(south, world())
    write_run(south, "s3")
    see(south, world("db:s3@south"))
    assert opened(south) == []
    south.journal.append_all([ended("s3/hold"), intended("s3/promote"), ended("s3/promote")], by="engine")
    see(south, world("db:s3@south"), AFTERMATH_SECONDS - 2)
    assert opened(south) == []
    see(south, world("db:s3@south"))
    assert opened(south) == ["db:s3@south"]


def test_a_backup_that_ended_with_the_server_that_a_run_stopped_opens_nothing(south: Centre) -> None:
    see(south, world())
    write_run(south, "s0")
    fail_a_backup(south, "s0", "the stream ended")
    see(south, world(), 5)
    assert opened(south) == []


def test_a_system_that_no_run_moves_is_told_while_another_is_moved(south: Centre) -> None:
    see(south, world())
    write_run(south, "s3")
    see(south, world("db:s2@south"))
    assert opened(south) == ["db:s2@south"]


def test_a_run_that_stopped_or_fell_silent_explains_nothing(south: Centre) -> None:
    see(south, world())
    write_run(south, "s3")
    see(south, world("db:s3@south"), SILENT_SECONDS_MAX - 5)
    assert opened(south) == []
    see(south, world("db:s3@south"), 5 + AFTERMATH_SECONDS + HOLD_SECONDS_MAX)
    assert opened(south) == ["db:s3@south"]


def test_a_fault_is_one_incident_that_stands_while_it_lasts_and_is_closed_when_it_is_over(south: Centre) -> None:
    see(south, world())
    see(south, world("db:s3@south"))
    assert opened(south) == ["db:s3@south"]
    assert set(south.open()) == {"db:s3@south"}
    see(south, world())
    assert closed(south) == [("db-s3@south-1", "seen well again")]
    see(south, world("db:s3@south"))
    assert south.open()["db:s3@south"].id == "db-s3@south-2"


def test_ticking_again_without_news_writes_nothing(south: Centre) -> None:
    see(south, world())
    see(south, world("site:north"))
    size = south.journal.size(SOUTH)
    see(south, world("site:north"))
    assert south.journal.size(SOUTH) == size


def test_an_incident_does_not_end_because_nobody_looks_any_more(south: Centre) -> None:
    see(south, world("db:s3@south"))
    see(south, world("db:s3@south", "agent:south"))
    assert set(south.open()) == {"db:s3@south", "agent:south"}


def test_what_turns_out_to_be_part_of_something_greater_is_closed_with_its_name(south: Centre) -> None:
    see(south, world("app:s0@north"))
    assert opened(south) == ["app:s0@north"]
    see(south, world("site:north"))
    assert opened(south) == ["app:s0@north", "site:north"]
    assert closed(south) == [("app-s0@north-1", "part of site-north-1")]


def test_what_recovers_a_little_after_its_cause_is_no_flood_of_new_incidents(south: Centre) -> None:
    see(south, world())
    see(south, world("link:north-south"))
    see(south, world("shipping:s0", "shipping:s3"), 6)  # the link is whole again, the replicas are catching up
    see(south, world())
    assert opened(south) == ["link:north-south"]
    assert closed(south) == [("link-north-south-1", "seen well again")]


def test_what_recovers_before_its_cause_leaves_no_orphan_that_is_told_as_new(south: Centre) -> None:
    down = {"db:s3@south": "down", "app:s3@south": "down", "entry:s3": "down"}
    say(south, dict.fromkeys(down, "up"), 12)
    say(south, down, 12)
    assert opened(south) == ["db:s3@south"]
    say(south, {**down, "app:s3@south": "up"}, 3)  # served again, while the entry and the database are looked at later
    say(south, dict.fromkeys(down, "up"), 12)
    assert opened(south) == ["db:s3@south"]
    assert closed(south) == [("db-s3@south-1", "seen well again")]


def test_an_orphan_that_stays_down_is_told_in_the_end(south: Centre) -> None:
    down = {"db:s3@south": "down", "app:s3@south": "down", "entry:s3": "down"}
    say(south, dict.fromkeys(down, "up"), 12)
    say(south, down, 12)
    say(south, {**down, "app:s3@south": "up"}, AFTERMATH_SECONDS + 2)
    assert opened(south) == ["db:s3@south", "entry:s3"]


def test_what_does_not_recover_after_its_cause_is_told_in_the_end(south: Centre) -> None:
    see(south, world())
    see(south, world("link:north-south"))
    see(south, world("shipping:s3"), AFTERMATH_SECONDS + 2)
    assert opened(south) == ["link:north-south", "replica:s3@north"]


def test_an_unsettled_fault_is_told_all_the_same_after_a_while(south: Centre) -> None:
    see(south, world())
    south.intake.report(THIRD, report(south.clock, {}, **{"doubted__site:south": 1.0}))
    begin = south.clock.now()
    see(south, world("db:s3@south"), HOLD_SECONDS_MAX - 0.5)
    assert opened(south) == []
    see(south, world("db:s3@south"), 2)
    assert opened(south) == ["db:s3@south"]
    assert south.open()["db:s3@south"].opened_at - begin >= timedelta(seconds=HOLD_SECONDS_MAX)


def test_receivers_that_end_one_after_the_other_are_one_incident(south: Centre) -> None:
    receivers = {f"receiver:{system}@south": "up" for system in ("s0", "s1", "s2")}
    say(south, receivers, 12)
    say(south, {**receivers, "receiver:s1@south": "down"}, 3)
    assert opened(south) == []
    say(south, dict.fromkeys(receivers, "down"), 12)
    assert opened(south) == ["receiver:south"]


def test_after_a_restart_of_the_controller_no_incident_is_opened_twice(tmp_path: Path) -> None:
    south = centre(tmp_path, SOUTH, ESTATE)
    see(south, world("site:north"))
    south.journal.close()
    anew = centre(tmp_path, SOUTH, ESTATE, south.clock)
    see(anew, world("site:north"))
    assert opened(anew) == ["site:north"]
    anew.journal.close()


def test_both_controllers_that_see_one_fault_end_up_with_one_incident(tmp_path: Path) -> None:
    both = [centre(tmp_path, site, ESTATE) for site in (NORTH, SOUTH)]
    for broken in ((), ("app:s3@south",), ()):
        for _ in range(12):
            for site in both:
                see(site, world(*broken), 1)
            both[0].pull(both[1])
            both[1].pull(both[0])
    incidents = {i.id: i.open for site in both for i in site.state.snapshot().incidents.values()}
    assert incidents == {"app-s3@south-1": False}
    for site in both:
        site.journal.close()


def test_after_a_cut_both_sides_mean_the_same_incident(tmp_path: Path) -> None:
    both = [centre(tmp_path, site, ESTATE) for site in (NORTH, SOUTH)]
    for site in both:
        see(site, world("link:north-south"))
    for site, other in (both, both[::-1]):
        site.pull(other)
    for site in both:
        assert {i.id: i.now.cause for i in site.state.snapshot().open_incidents()} == {
            "link-north-south-1": "link-lost"
        }
        see(site, world())
    for site, other in (both, both[::-1]):
        site.pull(other)
        assert site.open() == {}
    for site in both:
        site.journal.close()


def test_the_survivor_takes_over_the_incidents_of_a_lost_site(tmp_path: Path) -> None:
    north, south = centre(tmp_path, NORTH, ESTATE), centre(tmp_path, SOUTH, ESTATE)
    see(north, world("app:s3@south"))
    south.pull(north)
    assert set(south.open()) == {"app:s3@south"}
    see(south, world("site:north"))
    assert set(south.open()) == {"site:north"}
    assert ("app-s3@south-1", "seen well again") in closed(south)
    for site in (north, south):
        site.journal.close()


# --- acknowledgements ---------------------------------------------------------------------------------------------

PEOPLE = {PersonId("kim"): Person(PersonId("kim"), "Kim", Role.ON_CALL, "")}


def ack(site: Centre, incident: str, by: str = "kim", minutes: float = 30) -> None:
    estate = estate_of(CHAIN)
    object.__setattr__(estate, "people", PEOPLE)
    now = site.clock.now()
    site.journal.append(acknowledge(estate, site.state.snapshot(), incident, by, "on it", minutes, now), by=by)


def test_an_acknowledgement_has_an_owner_a_comment_and_an_end(south: Centre) -> None:
    see(south, world("db:s3@south"))
    ack(south, "db-s3@south-1")
    incident = south.open()["db:s3@south"]
    assert incident.ack is not None
    assert (incident.ack.by, incident.ack.comment) == ("kim", "on it")
    assert holds(incident, south.clock.now())
    assert not holds(incident, south.clock.go(30 * 60 + 1))


def test_an_acknowledgement_falls_when_things_get_worse(south: Centre) -> None:
    see(south, world("app:s2@north"))  # a grade 3 system: major
    ack(south, "app-s2@north-1")
    evidence = south.open()["app:s2@north"]
    assert evidence.now.severity == "major"
    south.journal.append(
        IncidentChanged(**{**evidence.now.model_dump(), "severity": "minor", "sentence": "It was said to be minor."}),
        by="test",
    )
    see(south, world("app:s2@north"))
    incident = south.open()["app:s2@north"]
    assert incident.now.severity == "major"
    assert not holds(incident, south.clock.now())
    assert incident.ack is not None
    assert "became major" in incident.ack.comment


@pytest.mark.parametrize(
    ("incident", "by", "code"),
    [("db-s9@south-1", "kim", "alerts.no-such-incident"), ("db-s3@south-1", "stranger", "alerts.no-such-person")],
)
def test_nobody_acknowledges_what_is_not_open_or_without_being_somebody(
    south: Centre, incident: str, by: str, code: str
) -> None:
    see(south, world("db:s3@south"))
    with pytest.raises(NciaError) as caught:
        ack(south, incident, by)
    assert caught.value.code == code


# --- runs and proofs ----------------------------------------------------------------------------------------------


def test_a_missed_run_is_an_incident_until_the_backup_succeeds(south: Centre) -> None:
    see(south, world())
    due = to_text(south.clock.now())
    south.journal.append(
        RunMissed(job="backup:s0/rows", dataset="s0/rows", due_at=due, reason="no success within 60 s"), by="calendar"
    )
    see(south, world(), 1)
    assert south.open()["backup:s0/rows"].now.run_next == "ncia backup run s0/rows"
    south.journal.append(
        BackupStarted(job="backup-1", dataset="s0/rows", source_site="north", store_site="south", due_at=due), by="x"
    )
    south.journal.append(
        BackupFinished(
            job="backup-1", point="p1", dataset="s0/rows", store_site="south", path="p", size_bytes=1, files=1,
            start_lsn="0/1", stop_lsn="0/2", manifest_sha256="00", seconds=1.0,
        ),
        by="x",
    )  # fmt: skip
    see(south, world(), 1)
    assert "backup:s0/rows" not in south.open()


def fail_a_backup(site: Centre, system: str, error: str) -> None:
    """A backup of that system, whose home is the north, into the south's store."""
    job, dataset, due = "backup-1", f"{system}/rows", to_text(site.clock.now())
    begun = BackupStarted(job=job, dataset=dataset, source_site="north", store_site="south", due_at=due)
    site.journal.append_all([begun, BackupFailed(job=job, dataset=dataset, error=error)], by="x")


def test_a_backup_that_failed_is_an_incident_with_its_error(south: Centre) -> None:
    see(south, world())
    fail_a_backup(south, "s0", "the store is full")
    see(south, world(), 1)
    assert "the store is full" in south.open()["backup:s0/rows"].now.sentence


def test_a_backup_that_failed_because_its_system_moved_to_the_store_is_the_other_sites_to_take(south: Centre) -> None:
    see(south, world())
    due = to_text(south.clock.now())
    south.journal.append(
        BackupStarted(job="backup-1", dataset="s0/rows", source_site="south", store_site="north", due_at=due), by="x"
    )
    south.journal.append(BackupFailed(job="backup-1", dataset="s0/rows", error="the stream ended"), by="x")
    see(south, world(), 1)
    assert south.open() == {}  # s0 is active in the north, so the south takes its backups


@pytest.mark.parametrize(("store", "told"), [("north", set()), ("south", {"proof:s0/rows"})])
def test_a_proof_that_could_not_be_carried_out_because_its_system_moved_to_the_store_is_no_incident(
    south: Centre, store: str, told: set[str]
) -> None:
    """s0 is active in the north: a point there was taken while the south had it, and lacks its source's sums."""
    see(south, world())
    taken = point("point-1").model_copy(update={"store_site": store})
    failed = ProofFailed(job="proof-1", point="point-1", dataset="s0/rows", error="its source was not summed up")
    begun = ProofStarted(job="proof-1", point="point-1", dataset="s0/rows")
    south.journal.append_all((taken, begun, failed), by="x")
    see(south, world(), 1)
    assert set(south.open()) == told


def test_a_copy_whose_bytes_changed_is_an_incident_until_a_newer_one_is_there(south: Centre) -> None:
    see(south, world())
    south.journal.append_all((point("point-1"), rehashed("point-1", "checksum mismatch")), by="x")
    see(south, world(), 1)
    assert "point-1 was read again and is damaged: checksum mismatch" in south.open()["proof:s0/rows"].now.sentence
    south.journal.append_all((point("point-2"), rehashed("point-2", "")), by="x")
    see(south, world(), 1)
    assert south.open() == {}


def point(name: str) -> BackupFinished:
    return BackupFinished(
        job=f"backup-{name}",
        point=name,
        dataset="s0/rows",
        store_site="south",
        path=f"s0/rows/{name}",
        size_bytes=1,
        files=1,
        start_lsn="0/1",
        stop_lsn="0/2",
        manifest_sha256="00",
        seconds=1,
    )


def rehashed(name: str, why: str) -> PointRehashed:
    return PointRehashed(
        job="rehash-1",
        point=name,
        dataset="s0/rows",
        store_site="south",
        matched=not why,
        manifest_sha256="00",
        size_bytes=1,
        files=1,
        seconds=1,
        why=why,
    )
