"""The receiver's probe on a real primary: whoever streams under the right name keeps commits, nobody else does."""

from __future__ import annotations

import asyncio
import time

from monitors.ports import Findings, Outcome, Standing
from monitors.probes.postgres import Server
from monitors.probes.receiver import BEHIND_BYTES_MAX, ReceiverProbe
from ncia.core.base.ids import SiteId, SystemId
from tests.monitors.clusters import Pair
from tests.monitors.servers import SetClock, SetRoles, free_address

EAST, WEST, TAX = SiteId("east"), SiteId("west"), SystemId("tax")
SECONDS_MAX = 20.0
COUNTED, JOINING = "west-receiver", "west-joining"


def probe(told: str, names: tuple[str, str] = (COUNTED, JOINING), active: SiteId = EAST) -> ReceiverProbe:
    roles = SetRoles({TAX: Standing(active, 1, True)})
    return ReceiverProbe(TAX, EAST, WEST, names, Server(told, "pg"), (1.0, 1.0, SetClock()), roles)


def look(made: ReceiverProbe) -> Findings:
    async def go() -> Findings:
        try:
            return await made.turn()
        finally:
            await made.close()

    return asyncio.run(go())


def becomes(servers: Pair, names: tuple[str, str], code: str) -> Findings:
    """Look after look until it is so; each after a write, for this standby speaks only when it is sent something."""
    end = time.monotonic() + SECONDS_MAX
    while True:
        servers.primary.carry_out("UPDATE ncia.canary SET written_at = clock_timestamp()")
        found = look(probe(servers.primary.conninfo(), names))
        if said(found)[2] == code:
            return found
        assert time.monotonic() < end, found


def said(findings: Findings) -> tuple[str, Outcome, str]:
    (seen,) = findings.looks
    return seen.subject, seen.outcome, seen.code


def test_one_that_streams_under_the_name_for_which_commits_wait_keeps_them(servers: Pair) -> None:
    found = becomes(servers, ("west", JOINING), "keeps")  # the standby stands in for a receiver
    assert said(found) == ("receiver:tax@west", Outcome.GOOD, "keeps")
    assert {measure.name for measure in found.measures} == {"behind_bytes", "silent_seconds"}


def test_one_that_joins_is_degraded_and_one_that_is_not_there_is_down(servers: Pair) -> None:
    told = servers.primary.conninfo()
    assert said(becomes(servers, (COUNTED, "west"), "joining"))[1:] == (Outcome.DEGRADED, "joining")
    assert said(look(probe(told)))[1:] == (Outcome.BAD, "absent")


def test_where_the_system_is_active_elsewhere_there_is_nothing_to_look_at(servers: Pair) -> None:
    assert said(look(probe(servers.primary.conninfo(), active=WEST)))[1:] == (Outcome.RETIRED, "active-elsewhere")


def test_a_standby_counts_nobody(servers: Pair) -> None:
    assert said(look(probe(servers.standby.conninfo())))[1:] == (Outcome.BAD, "absent")


def test_a_primary_that_does_not_answer_says_nothing_of_the_receiver() -> None:
    address = free_address()
    told = f"host={address.host} port={address.port} user=postgres dbname=postgres"
    assert said(look(probe(told)))[1:] == (Outcome.BLIND, "no-primary")


def test_one_that_is_silent_is_down_and_one_that_is_behind_is_degraded() -> None:
    made = probe("")
    at = SetClock().now()
    assert said(made._judged((True, 0, 3.5), at))[1:] == (Outcome.BAD, "silent")
    behind = made._judged((True, BEHIND_BYTES_MAX + 1, 0.1), at)
    assert said(behind)[1:] == (Outcome.DEGRADED, "behind")
