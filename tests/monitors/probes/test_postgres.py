"""On a real primary and a real standby."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from monitors.ports import Findings, Look, Outcome, Standing
from monitors.probes.postgres import LOCAL_COMMIT, CanaryProbe, DatabaseProbe, Server
from ncia.core.base.ids import SiteId, SystemId
from tests.monitors import clusters
from tests.monitors.clusters import Pair
from tests.monitors.servers import SetClock, SetRoles, free_address

EAST, WEST, TAX = SiteId("east"), SiteId("west"), SystemId("tax")
TIMEOUT = 0.5
CAUGHT_UP_SECONDS = 20.0


def roles(active: SiteId = EAST, *, writable: bool = True, epoch: int = 1) -> SetRoles:
    return SetRoles({TAX: Standing(active, epoch, writable)})


def conninfo(server: clusters.Server) -> str:
    return server.conninfo()


def database(told: str, site: SiteId, known: SetRoles, rpo_seconds: float = 0) -> DatabaseProbe:
    return DatabaseProbe(TAX, site, Server(told, "pg"), rpo_seconds, 1.0, 1.0, TIMEOUT, SetClock(), known)


def watching_slots(told: str, site: SiteId, kept_bytes_max: int) -> DatabaseProbe:
    server = Server(told, "pg")
    return DatabaseProbe(TAX, site, server, 0, 1.0, 1.0, TIMEOUT, SetClock(), roles(), kept_bytes_max)


def canary(told: str, known: SetRoles, site: SiteId = EAST) -> CanaryProbe:
    return CanaryProbe(TAX, site, Server(told, "pg", LOCAL_COMMIT), 1.0, TIMEOUT, SetClock(), known)


def seen(findings: Findings) -> dict[str, Outcome]:
    return {look.subject: look.outcome for look in findings.looks}


async def until(turn: Callable[[], Awaitable[Findings]], subject: str, outcome: Outcome) -> Findings:
    """Turn after turn, as an agent would, until the subject is so."""
    end = time.monotonic() + CAUGHT_UP_SECONDS
    while True:
        findings = await turn()
        if seen(findings).get(subject) is outcome:
            return findings
        assert time.monotonic() < end, findings


@pytest.fixture
def replaying(servers: Pair) -> Iterator[Pair]:
    yield servers
    servers.standby.carry_out("SELECT pg_wal_replay_resume()")
    servers.primary.carry_out("ALTER SYSTEM RESET synchronous_standby_names")
    servers.primary.carry_out("SELECT pg_reload_conf()")


def test_a_canary_written_at_the_active_site_is_read_back_young_at_the_replica(servers: Pair) -> None:
    async def go() -> Findings:
        writer, reader = canary(conninfo(servers.primary), roles()), database(conninfo(servers.standby), WEST, roles())
        try:
            assert seen(await until(writer.turn, "canary:tax@east", Outcome.GOOD))
            return await until(reader.turn, "replica:tax@west", Outcome.GOOD)
        finally:
            await writer.close()
            await reader.close()

    findings = asyncio.run(go())
    measured = {(m.subject, m.name): m.value for m in findings.measures}
    age = measured[("replica:tax@west", "canary_age_seconds")]
    assert 0 <= age < 3
    assert measured[("replica:tax@west", "predicted_loss_seconds")] == pytest.approx(age + 1.0)
    assert seen(findings)["db:tax@west"] is Outcome.GOOD


def test_a_replica_that_does_not_replay_falls_behind_its_promise(replaying: Pair) -> None:
    replaying.standby.carry_out("SELECT pg_wal_replay_pause()")

    async def go() -> Findings:
        writer = canary(conninfo(replaying.primary), roles())
        reader = database(conninfo(replaying.standby), WEST, roles())
        try:
            await until(writer.turn, "canary:tax@east", Outcome.GOOD)
            return await until(reader.turn, "replica:tax@west", Outcome.BAD)
        finally:
            await writer.close()
            await reader.close()

    findings = asyncio.run(go())
    assert "3 s are allowed" in findings.looks[1].evidence
    assert findings.measures[0].value > 3


def test_a_canary_from_a_clock_an_hour_ahead_measures_nothing_and_is_not_called_fresh(replaying: Pair) -> None:
    replaying.primary.carry_out("UPDATE ncia.canary SET written_at = clock_timestamp() + interval '1 hour'")

    async def go() -> Findings:
        reader = database(conninfo(replaying.standby), WEST, roles())
        try:
            return await until(reader.turn, "replica:tax@west", Outcome.BLIND)
        finally:
            await reader.close()

    found = asyncio.run(go())
    assert found.measures == ()
    assert "after its own time of day: the sites' clocks differ, and the lag is not known" in found.looks[1].evidence


def test_a_promise_of_an_hour_allows_what_a_promise_of_nothing_does_not(replaying: Pair) -> None:
    replaying.primary.carry_out("UPDATE ncia.canary SET written_at = clock_timestamp() - interval '1 minute'")

    async def go() -> Findings:
        reader = database(conninfo(replaying.standby), WEST, roles(), rpo_seconds=3600)
        try:
            return await until(reader.turn, "replica:tax@west", Outcome.DEGRADED)
        finally:
            await reader.close()

    assert asyncio.run(go()).measures[0].value > 59


def test_the_canary_does_not_wait_for_a_synchronous_standby_that_is_gone(replaying: Pair) -> None:
    replaying.primary.carry_out("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (nobody)'")
    replaying.primary.carry_out("SELECT pg_reload_conf()")

    async def go() -> None:
        writer = canary(conninfo(replaying.primary), roles())
        try:
            await until(writer.turn, "canary:tax@east", Outcome.GOOD)
        finally:
            await writer.close()

    asyncio.run(go())


def test_a_frozen_server_is_a_bad_look_in_time_and_well_again_when_it_thaws(servers: Pair) -> None:
    async def go() -> float:
        probe = database(conninfo(servers.primary), EAST, roles())
        try:
            await until(probe.turn, "db:tax@east", Outcome.GOOD)
            with servers.primary.frozen():
                begin = time.monotonic()
                assert seen(await probe.turn())["db:tax@east"] is Outcome.BAD
                taken = time.monotonic() - begin
                assert seen(await probe.turn())["db:tax@east"] is Outcome.BAD
            await until(probe.turn, "db:tax@east", Outcome.GOOD)
            return taken
        finally:
            await probe.close()

    assert asyncio.run(go()) < TIMEOUT * 4


def test_a_connection_that_the_server_ended_is_opened_again(servers: Pair) -> None:
    async def go() -> list[Outcome]:
        probe = database(conninfo(servers.primary), EAST, roles())
        try:
            found = [seen(await probe.turn())["db:tax@east"]]
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            await asyncio.to_thread(servers.primary.carry_out, f"{ended} AND backend_type = 'client backend'")
            found.append(seen(await probe.turn())["db:tax@east"])
            await until(probe.turn, "db:tax@east", Outcome.GOOD)
            return found
        finally:
            await probe.close()

    assert asyncio.run(go()) == [Outcome.GOOD, Outcome.BAD]


def test_nobody_listening_is_a_database_that_is_down() -> None:
    nobody = f"host=127.0.0.1 port={free_address().port} user=x dbname=x"

    async def go() -> dict[str, Outcome]:
        probe = database(nobody, WEST, roles())
        found = seen(await probe.turn())
        await probe.close()
        return found

    assert asyncio.run(go()) == {"db:tax@west": Outcome.BAD, "replica:tax@west": Outcome.BLIND}


def test_a_refusal_that_is_the_servers_own_word_shows_that_it_lives(servers: Pair) -> None:
    """The canary's table is missing: the database answers, the replica is not measured."""

    async def go() -> dict[str, Outcome]:
        probe = database(conninfo(servers.standby).replace("dbname=postgres", "dbname=template1"), WEST, roles())
        found = seen(await probe.turn())
        await probe.close()
        return found

    good = {"db:tax@west": Outcome.GOOD, "slots:tax@west": Outcome.GOOD}
    assert asyncio.run(go()) == {**good, "replica:tax@west": Outcome.BAD}


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (SetRoles(), Outcome.RETIRED),
        (roles(WEST), Outcome.RETIRED),
        (roles(EAST, writable=False), Outcome.BLIND),
    ],
)
def test_nothing_is_written_where_the_system_is_not_active_or_the_lease_has_run_out(
    servers: Pair, known: SetRoles, outcome: Outcome
) -> None:
    servers.primary.carry_out("UPDATE ncia.canary SET epoch = 77")

    async def go() -> Outcome:
        writer = canary(conninfo(servers.primary), known)
        found = (await writer.turn()).looks[0].outcome
        await writer.close()
        return found

    assert asyncio.run(go()) is outcome
    assert servers.primary.carry_out("SELECT epoch FROM ncia.canary") == [(77,)]


def test_the_canary_carries_the_epoch(servers: Pair) -> None:
    async def go() -> None:
        writer = canary(conninfo(servers.primary), roles(epoch=5))
        await until(writer.turn, "canary:tax@east", Outcome.GOOD)
        await writer.close()

    asyncio.run(go())
    assert servers.primary.carry_out("SELECT epoch FROM ncia.canary") == [(5,)]


@pytest.mark.parametrize("side", ["primary", "standby"])
def test_a_slot_that_nobody_reads_is_named_with_the_wal_that_it_keeps(servers: Pair, side: str) -> None:
    server: clusters.Server = getattr(servers, side)
    site = EAST if side == "primary" else WEST
    server.carry_out("SELECT pg_create_physical_replication_slot('gone_receiver', true)")
    servers.primary.carry_out("SELECT pg_switch_wal()")  # a whole segment, for nobody
    servers.primary.carry_out("UPDATE ncia.canary SET written_at = clock_timestamp()")

    async def look(kept_bytes_max: int) -> Look:
        probe = watching_slots(conninfo(server), site, kept_bytes_max)
        try:
            findings = await until(probe.turn, f"db:tax@{site}", Outcome.GOOD)
            return next(look for look in findings.looks if look.subject == f"slots:tax@{site}")
        finally:
            await probe.close()

    async def until_named() -> Look:
        end = time.monotonic() + CAUGHT_UP_SECONDS
        while (found := await look(1 << 20)).outcome is not Outcome.BAD:
            assert time.monotonic() < end, found  # a standby replays the segment a moment later
        return found

    try:
        found = asyncio.run(until_named())
        assert "nobody reads gone_receiver, which keeps" in found.evidence
        assert asyncio.run(look(1 << 40)).outcome is Outcome.GOOD
    finally:
        server.carry_out("SELECT pg_drop_replication_slot('gone_receiver')")
    assert asyncio.run(look(1 << 20)).outcome is Outcome.GOOD


def test_slots_are_looked_at_now_and_then_not_at_every_turn(servers: Pair) -> None:
    async def go() -> list[bool]:
        probe = database(conninfo(servers.primary), EAST, roles())
        try:
            await until(probe.turn, "slots:tax@east", Outcome.GOOD)
            return ["slots:tax@east" in seen(await probe.turn()) for _ in range(3)]
        finally:
            await probe.close()

    assert asyncio.run(go()) == [False, False, False]
