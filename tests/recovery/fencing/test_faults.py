"""The faults that fencing is for, on real processes, a real etcd and a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ncia.app.single import only_one
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId
from recovery.fencing.holds import Holds
from recovery.fencing.watch import find_postmaster
from tests.recovery.fencing import postgres
from tests.recovery.fencing.served import TTL, Served
from tests.recovery.fencing.world import EAST, LAND, TAX, WEST, now_ns, until

SLACK_NS = 250_000_000  # between the gate's check and the moment at which a busy test client has read the answer
GATE_LOOKS_NS = 200_000_000  # after a deadline was written, for a gate to see it


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For tests that leave it as they found it."""
    made = Served(tmp_path_factory.mktemp("lasting"))
    yield made
    made.close()


@pytest.fixture
def served(lasting: Served) -> Served:
    until(lasting.east.passing, "the gate is open")
    with lasting.database.connect() as direct:
        direct.execute("truncate acts")
    return lasting


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Served]:
    """For tests that break it."""
    made = Served(tmp_path)
    yield made
    made.close()


def through(served: Served) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.111.2.1", port=served.world.ports["gate"], user="postgres", dbname="postgres", autocommit=True,
        connect_timeout=5,
    )  # fmt: skip


def write(connection: psycopg.Connection[tuple[object, ...]], act: int) -> None:
    connection.execute("insert into acts values (%s)", (act,))


class Citizen:
    """Writes act after act through the gate, reconnecting as needed; keeps the moment of each acknowledgement."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.acked: dict[int, int] = {}
        self.errors: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        act = 0
        while not self._ended.is_set():
            try:
                with through(self.served) as connection:
                    while not self._ended.wait(0.01):
                        act += 1
                        write(connection, act)
                        self.acked[act] = now_ns()
            except psycopg.Error as error:
                self.errors.append(str(error))
                self._ended.wait(0.05)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def none_between(self, start_ns: int, end_ns: int) -> bool:
        return not [moment for moment in self.acked.values() if start_ns < moment < end_ns]


def stored(database: postgres.Cluster) -> set[int]:
    with database.connect() as direct:
        return {row[0] for row in direct.execute("select id from acts").fetchall()}  # type: ignore[misc]


class Locked:
    """Somebody holds the table, so that a write through the gate stays in flight until :meth:`release`."""

    def __init__(self, database: postgres.Cluster) -> None:
        self._direct = database.connect()
        self._direct.execute("begin")
        self._direct.execute("lock table acts")
        self.database = database

    def waits(self) -> bool:
        with self.database.connect() as direct:
            found = direct.execute("select count(*) from pg_locks where not granted").fetchone()
        return bool(found and found[0])

    def release(self) -> None:
        self._direct.execute("commit")
        self._direct.close()


class InFlight:
    """One write through the gate in a thread; ``outcome`` is ``acked`` or the error's text."""

    def __init__(self, served: Served, act: int) -> None:
        self.connection = through(served)
        self.outcome = ""
        self._thread = threading.Thread(target=self._write, args=(act,))
        self._thread.start()

    def _write(self, act: int) -> None:
        try:
            write(self.connection, act)
            self.outcome = "acked"
        except psycopg.Error as error:
            self.outcome = f"error: {error}"

    def result(self) -> str:
        self._thread.join(20)
        return self.outcome


def test_the_gate_tells_the_epoch_to_every_connection(served: Served) -> None:
    with through(served) as connection:
        assert connection.info.parameter_status("ncia_epoch") == "1"


def test_three_ttls_without_any_controller_cost_no_citizen_an_error(served: Served) -> None:
    citizen = Citizen(served)
    begun = now_ns()
    until(lambda: now_ns() > begun + 3 * TTL * 1e9, "three TTLs", 3 * TTL + 5)
    citizen.end()
    assert citizen.errors == []
    assert len(citizen.acked) > 100


def test_a_frozen_warden_shuts_its_gate_within_the_ttl_and_no_act_is_acknowledged_late(served: Served) -> None:
    citizen = Citizen(served)
    until(lambda: citizen.acked, "a first act")
    warden, gate = served.east.processes["warden"], served.east.processes["gate"]
    warden.freeze()
    frozen = now_ns()
    lease = served.east.lease()
    assert lease is not None
    assert lease.deadline_boottime_ns <= frozen + TTL * 1e9
    until(lambda: not served.east.passing(), "the gate shuts")
    until(lambda: any("lease expired" in error for error in citizen.errors), "the refusal names the lease")
    until(lambda: not served.claims.lease_state(EAST).held, "the majority sees the lease expire")
    warden.thaw()
    woke = now_ns()
    until(served.east.passing, "the gate opens again")
    until(lambda: max(citizen.acked.values()) > woke, "acts go on")
    citizen.end()
    assert citizen.none_between(lease.deadline_boottime_ns + SLACK_NS, woke)
    assert set(citizen.acked) <= stored(served.database)
    assert gate.said("the lease's deadline has passed: shut")
    assert warden.said("s before this warden could renew it")


def test_a_commit_in_flight_through_a_frozen_gate_is_stored_and_never_acknowledged(served: Served) -> None:
    locked = Locked(served.database)
    flight = InFlight(served, 7)
    until(locked.waits, "the write is in flight")
    gate = served.east.processes["gate"]
    gate.freeze()
    frozen = now_ns()
    locked.release()
    until(lambda: 7 in stored(served.database), "the database committed it")
    until(lambda: now_ns() > frozen + TTL * 1e9, "the TTL passes")
    assert flight.outcome == ""
    gate.thaw()
    assert flight.result().startswith("error:")
    until(served.east.passing, "the gate opens again, for its warden held the lease all along")
    assert gate.said("the lease's deadline has passed: shut")


def test_a_frozen_machine_acknowledges_nothing_on_waking_and_its_database_is_stopped_meanwhile(mortal: Served) -> None:
    """Warden and gate frozen together; fence-watch stands for the part of the machine that still runs."""
    watch = mortal.east.start("fence-watch")
    locked = Locked(mortal.database)
    flight = InFlight(mortal, 7)
    until(locked.waits, "the write is in flight")
    warden, gate = mortal.east.processes["warden"], mortal.east.processes["gate"]
    gate.freeze()
    warden.freeze()
    locked.release()
    until(lambda: 7 in stored(mortal.database), "the database committed it")
    until(lambda: find_postmaster(mortal.database.directory) is None, "fence-watch stops the postmaster")
    gate.thaw()
    warden.thaw()
    assert flight.result().startswith("error:")
    assert watch.said("the lease has run out and the gate has not spoken")
    until(lambda: watch.said("stopped a postmaster"), "fence-watch says so, which it does after the act")
    stopped = [event for event in watch.events() if event["event"] == "stopped a postmaster"]
    assert [(event["system"], event["how"]) for event in stopped] == [(TAX, "quit")]


def test_an_old_site_that_returns_by_itself_with_its_old_lease_lets_nobody_write(mortal: Served) -> None:
    """East sleeps; west takes the system over; east wakes, its lease file as it was, and nobody tells it anything."""
    citizen, run = Citizen(mortal), RunId("run-1")
    until(lambda: citizen.acked, "a first act")
    warden, gate = mortal.east.processes["warden"], mortal.east.processes["gate"]
    gate.freeze()
    warden.freeze()
    asleep, old = now_ns(), mortal.east.lease()
    assert old is not None
    until(lambda: not mortal.claims.lease_state(EAST).held, "etcd lets the lease of east expire", 6 * TTL)
    mortal.west.control().stop_confirming()
    mortal.claims.open_run(EAST, run, WEST)
    revision = mortal.claims.epochs()[TAX].mod_revision
    assert mortal.claims.claim_epoch(TAX, EAST, WEST, revision, run).epoch == 2
    mortal.claims.close_run(EAST, run)

    gate.thaw()  # first the gate alone, with nothing but the old lease to go by
    assert mortal.east.lease() == old
    with pytest.raises(psycopg.OperationalError, match="ncia gate: tax"):
        through(mortal)
    warden.thaw()
    until(mortal.east.held, "east takes its lease again, by itself")
    until(lambda: mortal.east.lease().systems[TAX].site == WEST, "and learns where the system is")  # type: ignore[union-attr]
    until(lambda: mortal.east.gate().version_seen >= mortal.east.lease().version, "the gate sees it")  # type: ignore[union-attr]
    with pytest.raises(psycopg.OperationalError, match="ncia gate: tax is active at west, not here"):
        through(mortal)
    awake = now_ns()
    citizen.end()
    assert citizen.none_between(asleep + SLACK_NS, awake)
    assert set(citizen.acked) <= stored(mortal.database)  # nothing acknowledged is missing where it was acknowledged


def test_fence_watch_lets_a_database_be_whose_gate_says_that_it_is_shut(served: Served) -> None:
    watch = served.east.start("fence-watch")
    served.east.processes["warden"].freeze()
    until(lambda: not served.east.passing(), "the gate shuts")
    shut = now_ns()
    until(lambda: now_ns() > shut + 4e9, "time enough to act wrongly")
    with served.database.connect() as direct:
        direct.execute("select 1")
    assert not watch.said("stopped a postmaster")
    served.east.processes["warden"].thaw()
    watch.end()


def test_without_quorum_the_peer_s_word_carries_the_site_and_without_either_it_is_fenced(mortal: Served) -> None:
    citizen = Citizen(mortal)
    until(lambda: citizen.acked, "a first act")
    mortal.etcd.kill(1)
    mortal.etcd.kill(2)
    begun = now_ns()
    until(lambda: now_ns() > begun + 3 * TTL * 1e9, "three TTLs", 3 * TTL + 5)
    assert citizen.errors == []
    warden = mortal.east.processes["warden"]
    assert warden.said("etcd has no quorum; the warden of west confirms")
    mortal.west.processes["warden"].freeze()
    alone = now_ns()
    until(lambda: not mortal.east.passing(), "east is fenced")
    assert now_ns() - alone < (TTL + 1) * 1e9
    until(lambda: warden.said("fenced: the lease has run out; cut off"), "the warden says so")
    reason = mortal.east.lease().reason  # type: ignore[union-attr]
    assert reason.startswith("fenced: the lease has run out; cut off: neither etcd nor the peer's warden answers")
    mortal.west.processes["warden"].thaw()
    until(mortal.east.passing, "the peer's word opens the gate again")
    mortal.etcd.start(1)
    mortal.etcd.start(2)
    until(lambda: mortal.east.lease().reason == "lease held", "the quorum is back")  # type: ignore[union-attr]
    citizen.end()


def test_an_open_run_moves_a_system_and_the_old_gate_says_where_it_is(mortal: Served) -> None:
    connection = through(mortal)
    run = RunId("run-1")
    mortal.west.control().stop_confirming()
    mortal.claims.open_run(EAST, run, WEST)
    until(lambda: not mortal.claims.lease_state(EAST).held, "east gives its lease back")
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    revision = mortal.claims.epochs()[TAX].mod_revision
    assert mortal.claims.claim_epoch(TAX, EAST, WEST, revision, run).epoch == 2
    mortal.west.start("gate")
    assert mortal.west.control().refresh()["systems"][TAX] == {"epoch": 2, "site": WEST}
    until(mortal.west.passing, "the gate of west opens")
    mortal.claims.close_run(EAST, run)
    until(mortal.east.held, "east takes its lease again")
    until(lambda: mortal.east.gate().version_seen >= mortal.east.lease().version, "the gate sees it")  # type: ignore[union-attr]
    with pytest.raises(psycopg.OperationalError, match="ncia gate: tax is active at west, not here"):
        through(mortal)


def test_a_person_fences_a_site_and_lifts_it_again(served: Served) -> None:
    def order(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ncia", *words, "--settings", str(served.east.settings)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    assert order("fence", "a drill") == "east: fenced by order: a drill\n"
    until(lambda: not served.claims.lease_state(EAST).held, "the lease is given back", 2)
    with pytest.raises(psycopg.OperationalError, match="fenced by order: a drill"):
        through(served)
    assert order("unfence") == "east: lease held\n"
    until(served.east.passing, "the gate opens again")


def test_a_killed_warden_that_is_restarted_in_time_costs_nothing(served: Served) -> None:
    """In time: the next one has written before the last deadline of the one before. A machine that is short of
    processors does not always start one so soon."""
    identity = served.east.lease().warden  # type: ignore[union-attr]
    for _ in range(5):
        until(served.east.passing, "the gate passes")
        citizen = Citizen(served)
        until(lambda c=citizen: c.acked, "a first act")  # type: ignore[misc]
        in_time = all(restarted_in_time(served) for _ in range(3))
        citizen.end()
        if in_time:
            break
    assert in_time
    assert citizen.errors == []
    assert served.east.lease().warden == identity  # type: ignore[union-attr]


def restarted_in_time(served: Served) -> bool:
    served.east.processes["warden"].kill()
    last = served.east.lease()
    assert last is not None
    served.east.start("warden")
    until(lambda: served.east.lease().version > last.version, "the next warden writes")  # type: ignore[union-attr]
    return now_ns() < last.deadline_boottime_ns - GATE_LOOKS_NS


@pytest.mark.parametrize("name", ["warden", "gate", "fence-watch"])
def test_a_second_one_of_a_kind_does_not_start_beside_a_frozen_one(tmp_path: Path, name: str) -> None:
    with only_one(tmp_path, name):
        with pytest.raises(NciaError, match=f"another {name} holds"):
            with only_one(tmp_path, name):
                pass


def test_a_held_system_is_shut_on_its_wardens_word_and_claimed_while_its_site_keeps_its_lease(mortal: Served) -> None:
    holds = Holds(mortal.world.client)
    citizen = Citizen(mortal)
    until(lambda: citizen.acked, "a first act")
    epoch = mortal.claims.epochs()[TAX]
    with pytest.raises(Refusal, match="it is not held"):
        holds.claim(TAX, WEST, epoch.mod_revision, RunId("run-1"))
    holds.lay(TAX, RunId("run-1"), WEST, epoch.mod_revision)
    word = until(lambda: holds.word_of(TAX), "east gives its word")
    shut = now_ns()
    assert word.site == EAST
    gate = mortal.east.gate()
    assert gate is not None
    assert LAND in gate.open
    claimed = holds.claim(TAX, WEST, epoch.mod_revision, RunId("run-1"))
    assert (claimed.epoch, claimed.site) == (2, WEST)
    assert mortal.claims.lease_state(EAST).held
    until(lambda: any("active at west" in error for error in citizen.errors), "the refusal names where it is")
    citizen.end()
    assert citizen.none_between(shut + SLACK_NS, now_ns())
    assert set(citizen.acked) <= stored(mortal.database)
    assert holds.word_of(TAX) is None


def test_a_hold_that_is_released_gives_the_system_back(mortal: Served) -> None:
    holds = Holds(mortal.world.client)
    epoch = mortal.claims.epochs()[TAX]
    holds.lay(TAX, RunId("run-1"), WEST, epoch.mod_revision)
    until(lambda: holds.word_of(TAX), "east gives its word")
    holds.release(TAX, RunId("run-1"))
    citizen = Citizen(mortal)
    until(lambda: citizen.acked, "an act passes again")
    citizen.end()
