import asyncio

import pytest

from monitors.ports import Findings, Outcome, Standing
from monitors.probes.http import AppProbe, EntryProbe
from monitors.probes.lease import LeaseProbe
from monitors.probes.site import Doors, SiteProbe
from monitors.probes.tcp import TcpProbe
from ncia.core.alerts.words import named
from ncia.core.base.ids import SiteId, Subject, SystemId
from ncia.core.estate.model import Address
from tests.monitors.servers import SetClock, SetRoles, free_address, http_server, reply

EAST, WEST, TAX = SiteId("east"), SiteId("west"), SystemId("tax")
PACE = (1.0, 0.4, SetClock())


def app(address: Address, roles: SetRoles | None = None) -> AppProbe:
    return AppProbe(TAX, EAST, address, "/acts/latest", *PACE, roles or SetRoles())


async def against(raw: bytes | None, roles: SetRoles | None = None) -> Findings:
    async with http_server(lambda _: raw) as server:
        probe = app(server.address, roles)
        found = await probe.turn()
        await probe.close()
        return found


@pytest.mark.parametrize(
    ("raw", "outcome", "code"),
    [
        (reply(200), Outcome.GOOD, "serving"),
        (reply(503, b"{}", "X-NCIA-Standby: 1"), Outcome.GOOD, "standby"),
        (reply(503, b'{"error": "the database does not answer"}'), Outcome.BAD, "http-503"),
        (reply(404, b"no"), Outcome.BAD, "http-404"),
        (reply(503, b"{}", "X-NCIA-Failed-Dependency: share"), Outcome.BAD, "dependency:share"),
        (reply(503, b'{"error": "no", "failed_dependency": "share"}'), Outcome.BAD, "dependency:share"),
        (None, Outcome.BAD, "timeout"),
    ],
)
def test_what_an_application_answers_is_judged(raw: bytes | None, outcome: Outcome, code: str) -> None:
    (look,) = asyncio.run(against(raw)).looks
    assert (look.outcome, look.code) == (outcome, code)


def test_the_dependency_that_a_503_named_can_be_read_from_the_evidence() -> None:
    (look,) = asyncio.run(against(reply(503, b"{}", "X-NCIA-Failed-Dependency: share"))).looks
    assert named(look.evidence) == "share"


def test_a_standby_where_the_system_should_be_active_is_bad() -> None:
    roles = SetRoles({TAX: Standing(EAST, 2, True)})
    (look,) = asyncio.run(against(reply(503, b"{}", "X-NCIA-Standby: 1"), roles)).looks
    assert (look.outcome, look.code) == (Outcome.BAD, "standby-where-active")


def test_the_epoch_under_which_the_site_says_it_is_active_is_measured_when_it_changes() -> None:
    roles = SetRoles({TAX: Standing(EAST, 2, True)})

    async def go() -> list[list[tuple[str, float]]]:
        async with http_server(lambda _: reply(200)) as server:
            probe = app(server.address, roles)
            found = []
            for epoch in (2, 2, 3):
                roles.standings[TAX] = Standing(EAST, epoch, True)
                turn = await probe.turn()
                found.append([(m.name, m.value) for m in turn.measures if m.name == "active_epoch"])
            await probe.close()
            return found

    assert asyncio.run(go()) == [[("active_epoch", 2.0)], [], [("active_epoch", 3.0)]]


def test_citizens_need_200_and_nothing_else() -> None:
    async def go() -> list[Outcome]:
        found = []
        for raw in (reply(200), reply(503, b"{}", "X-NCIA-Standby: 1")):
            async with http_server(lambda _, raw=raw: raw) as server:
                (look,) = (await EntryProbe(TAX, server.address, "/acts/latest", *PACE).turn()).looks
                found.append(look.outcome)
        return found

    assert asyncio.run(go()) == [Outcome.GOOD, Outcome.BAD]


def site(api: Address | None, etcd: Address | None, warden: Address | None) -> SiteProbe:
    return SiteProbe(EAST, Doors(api, etcd, warden), *PACE, from_outside=True)


def test_a_site_is_up_while_any_of_its_services_says_anything_at_all() -> None:
    async def go() -> dict[str, Outcome]:
        async with http_server(lambda _: reply(404, b"")) as warden:
            found = await site(free_address(), free_address(), warden.address).turn()
            return {look.subject: look.outcome for look in found.looks}

    assert asyncio.run(go()) == {"api:east": Outcome.BAD, "etcd:east": Outcome.BAD, "site:east": Outcome.GOOD}


def test_a_site_of_which_nothing_answers_is_down() -> None:
    async def go() -> dict[str, Outcome]:
        found = await site(free_address(), free_address(), free_address()).turn()
        return {look.subject: look.outcome for look in found.looks}

    assert asyncio.run(go()) == {"api:east": Outcome.BAD, "etcd:east": Outcome.BAD, "site:east": Outcome.BAD}


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (reply(200, b'{"health":"true"}'), Outcome.GOOD),
        (reply(503, b'{"health":"false","reason":"RAFT NO LEADER"}'), Outcome.BAD),
        (reply(200, b"hello"), Outcome.BAD),
    ],
)
def test_a_member_of_etcd_is_up_when_it_says_that_it_is_healthy(raw: bytes, outcome: Outcome) -> None:
    async def go() -> Outcome:
        async with http_server(lambda _: raw) as member:
            found = await site(None, member.address, None).turn()
            return next(look.outcome for look in found.looks if look.subject == "etcd:east")

    assert asyncio.run(go()) is outcome


def test_leases_are_held_gone_or_not_known() -> None:
    held = reply(200, b'{"header":{},"kvs":[{"key":"L25jaWEvc2l0ZXMvZWFzdA=="}]}')
    nothing = reply(503, b'{"error":"etcdserver: request timed out","code":14}')

    async def go(raw: bytes) -> list[Outcome]:
        async with http_server(lambda _: raw) as member:
            probe = LeaseProbe((EAST, WEST), (member.address,), *PACE)
            looks = (await probe.turn()).looks
            await probe.close()
            return [look.outcome for look in looks]

    assert asyncio.run(go(held)) == [Outcome.GOOD, Outcome.BAD]
    assert asyncio.run(go(nothing)) == [Outcome.BLIND, Outcome.BLIND]


def test_after_a_member_failed_the_next_one_is_asked() -> None:
    async def go() -> list[Outcome]:
        async with http_server(lambda _: reply(200, b'{"header":{}}')) as member:
            probe = LeaseProbe((EAST,), (free_address(), member.address), *PACE)
            found = [(await probe.turn()).looks[0].outcome for _ in range(3)]
            await probe.close()
            return found

    assert asyncio.run(go()) == [Outcome.BLIND, Outcome.BAD, Outcome.BAD]


def test_whoever_accepts_is_up_and_whoever_refuses_is_down() -> None:
    async def go() -> list[Outcome]:
        async with http_server(lambda _: None) as server:
            found = []
            for address in (server.address, free_address()):
                turn = await TcpProbe(Subject("gate:tax@east"), address, *PACE).turn()
                found.append(turn.looks[0].outcome)
            return found

    assert asyncio.run(go()) == [Outcome.GOOD, Outcome.BAD]
