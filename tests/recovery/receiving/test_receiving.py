"""The independent receiver on real PostgreSQL: what only it keeps is in the promoted copy, and what would be lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId, SystemId
from ncia.core.base.lsn import lsn_number
from recovery.perform import Waiting
from recovery.ports import World
from recovery.receiver_steps import drain_receiver, follow_again
from recovery.receiving.term import Held
from recovery.receiving.wal import receiver_name
from recovery.step import Done, Target
from tests.fakes.world import FakeWorld
from tests.recovery.actions.test_postgresql import HOMETAX
from tests.recovery.receiving.cluster import EPOCH, Trio, compose, trio, wait
from tests.recovery.scene import LOST, SURVIVOR, estate

WAITS = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
TARGET = Target(
    RunId("run-1"), LOST, SURVIVOR, 10.0, timeout_seconds=5.0, system=HOMETAX, epoch=2, loss_how="synchronous"
)


@pytest.fixture
def three() -> Iterator[Trio]:
    with trio() as made:
        made.begin()
        wait("the receiver counts", lambda: made.keepers().get(receiver_name(SURVIVOR)) == "quorum")
        yield made


class OneReceiver:
    """:class:`recovery.ports.Receivers` of the one system."""

    def __init__(self, of: Trio) -> None:
        self._of = of

    def received(self, system: SystemId) -> None:
        return None

    def hand_over(self, system: SystemId) -> Held | None:
        return self._of.hand_over()

    def follow_again(self, system: SystemId) -> None:
        self._of.receiver.follow_again()


def world_of(made: Trio) -> World:
    """Real databases and the real receiver; etcd, where nothing was degraded, in memory."""
    return replace(FakeWorld(estate(), SURVIVOR).world(), databases=made.databases, receivers=OneReceiver(made))


def drain(made: Trio, target: Target = TARGET) -> Done:
    return drain_receiver(world_of(made), target, Waiting(SystemClock()))


def promote(made: Trio) -> None:
    made.databases.promote(HOMETAX)
    wait("the copy is promoted", lambda: not made.databases.in_recovery(HOMETAX))


def write_for_ever(made: Trio) -> None:
    with suppress(psycopg.OperationalError), made.pair.connect(made.pair.primary) as connection:
        made.write(connection, 1000)
        raise AssertionError("it was acknowledged")


def acknowledge_alone(made: Trio) -> set[int]:
    """Acts that only the receiver keeps: the copy's walreceiver is stopped, and commits go on."""
    with made.pair.connect(made.pair.primary) as connection:
        acknowledged = {made.write(connection, number) for number in range(10)}
        made.stop_standby_streaming()
        acknowledged |= {made.write(connection, number) for number in range(10, 60)}
        connection.execute("select pg_switch_wal()")  # whole segments and a partial one
        acknowledged |= {made.write(connection, number) for number in range(60, 100)}
    return acknowledged


def test_what_only_the_receiver_acknowledged_is_in_the_promoted_copy(three: Trio) -> None:
    acknowledged = acknowledge_alone(three)
    three.kill_primary()

    done = drain(three)
    promote(three)

    assert done.measured["read_from_receiver"] is True
    assert acknowledged - three.acts(three.pair.copy) == set()


def test_without_the_drain_those_acts_are_missing(three: Trio) -> None:
    acknowledged = acknowledge_alone(three)
    three.kill_primary()
    promote(three)
    assert len(acknowledged - three.acts(three.pair.copy)) == 90


def test_a_copy_that_has_everything_is_drained_at_once_and_may_be_drained_again(three: Trio) -> None:
    with three.pair.connect(three.pair.primary) as connection:
        acknowledged = {three.write(connection, number) for number in range(20)}
    three.kill_primary()
    first, again = drain(three), drain(three)
    promote(three)
    assert first.measured["held_lsn"] == again.measured["held_lsn"]
    assert first.measured["read_from_receiver"] is False
    assert acknowledged - three.acts(three.pair.copy) == set()


def test_a_copy_that_cannot_read_what_was_handed_over_is_refused_with_both_positions(three: Trio) -> None:
    acknowledge_alone(three)
    three.kill_primary()
    with three.pair.connect(three.pair.copy) as connection:
        connection.execute("alter system set restore_command = 'false'")
        connection.execute("select pg_reload_conf()")
    with pytest.raises(Refusal, match="acknowledged acts would be lost") as caught:
        drain(three)
    held = three.hand_over()
    assert held is not None
    assert held.last_record_lsn in caught.value.why
    assert three.databases.replayed_lsn(HOMETAX) in caught.value.why
    assert caught.value.override == "--accept-loss hometax=REASON"
    given_up = drain(three, replace(TARGET, accepted="it cannot be read"))
    assert given_up.evidence.startswith("given up (it cannot be read)")


def test_after_the_drain_a_primary_that_lives_acknowledges_nothing(three: Trio) -> None:
    three.stop_standby_streaming()
    drain(three)
    writing = threading.Thread(target=write_for_ever, args=(three,))
    writing.start()
    with three.pair.connect(three.pair.primary) as connection:
        wait("the commit waits", lambda: connection.execute(WAITS).fetchone() == (1,))
    assert writing.is_alive()
    three.kill_primary()
    writing.join()


def test_a_drain_that_is_taken_back_lets_receiver_and_copy_follow_again(three: Trio) -> None:
    drain(three)
    wait("the receiver is gone", lambda: receiver_name(SURVIVOR) not in three.keepers())
    follow_again(world_of(three), TARGET)
    wait("both follow", lambda: set(three.keepers()) == {SURVIVOR, receiver_name(SURVIVOR)})
    assert not three.place.handed.exists()


def test_a_receiver_that_is_killed_is_begun_again_and_commits_go_on_meanwhile(three: Trio) -> None:
    first = three.receiver.status()
    assert three.receiver._tools.end_strays() == 1  # somebody ends it behind its supervisor's back
    with three.pair.connect(three.pair.primary) as connection:
        three.write(connection, 1)
    wait("it was begun again", lambda: three.receiver.status()["restarts"] == first["restarts"] + 1)
    wait("it counts", lambda: three.keepers().get(receiver_name(SURVIVOR)) == "quorum")


def test_the_next_supervisor_ends_what_a_killed_one_left_and_goes_on(three: Trio) -> None:
    three.kill_supervisor()
    following = compose(three.pair, three.place, three.pair.folder / "pgpass")
    try:
        following.begin()
        wait("the new one counts", lambda: following.phase() == "counted")
        held = following.hand_over()
        assert held is not None
        wait("no stray is left", lambda: receiver_name(SURVIVOR) not in three.keepers())
    finally:
        following.kill_supervisor()
        following.receiver.close()
        following.databases.close()


def test_a_receiver_that_begins_behind_a_copy_that_fell_back_does_not_count(three: Trio) -> None:
    three.epoch = None
    wait("it stopped", lambda: three.phase() == "idle")
    three.stop_standby_streaming()
    with three.pair.connect(three.pair.primary) as connection:
        connection.execute("alter system set synchronous_standby_names = ''")
        connection.execute("select pg_reload_conf()")
        connection.execute("select pg_drop_replication_slot('gwangju_receiver')")
        for number in range(30):
            three.write(connection, number)
            connection.execute("select pg_switch_wal()")
        connection.execute("checkpoint")
    three.epoch = EPOCH + 1
    wait("it joins", lambda: "gwangju-joining" in three.keepers())
    wait("it says so", lambda: three.phase() == "joining")
    wait("it holds something", lambda: three.receiver.status()["first"] is not None)
    replayed = lsn_number(three.databases.replayed_lsn(HOMETAX))
    assert replayed < three.receiver.status()["first"]
    assert three.phase() == "joining"
    three.databases.attach(HOMETAX)


def test_what_the_copy_has_replayed_is_pruned_and_the_rest_kept(three: Trio) -> None:
    with three.pair.connect(three.pair.primary) as connection:
        for number in range(8):
            three.write(connection, number)
            connection.execute("select pg_switch_wal()")
        three.write(connection, 8)
        lsn = lsn_number(connection.execute("select pg_current_wal_lsn()::text").fetchone()[0])
    wait("the copy has it", lambda: lsn_number(three.databases.replayed_lsn(HOMETAX)) >= lsn)
    wait("the receiver has it", lambda: three.place.segments(EPOCH)[-1].end >= lsn)
    before = three.place.segments(EPOCH)
    assert three.place.prune(EPOCH, lsn) > 0
    after = three.place.segments(EPOCH)
    assert after == before[-len(after) :]
    assert len(after) >= 3
