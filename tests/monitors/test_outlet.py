import asyncio
import json
from typing import Any

from monitors.judge import Change
from monitors.outlet import Outlet
from monitors.ports import Measure
from monitors.probes.wire import Wire, tcp
from monitors.reporters import HttpReporter
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId, Subject
from ncia.core.estate.model import Address
from ncia.core.journal.entries import Verdict
from tests.monitors.servers import SetClock, http_server, reply

CLOCK = SetClock()


class FakeReporter:
    name = "controller"

    def __init__(self) -> None:
        self.connected = False
        self.away = False
        self.taken: list[dict[str, Any]] = []

    async def send(self, body: bytes) -> None:
        if self.away:
            self.connected = False
            raise Unreachable("x", "report", "away")
        self.connected = True
        self.taken.append(json.loads(body))

    async def close(self) -> None: ...


def change(subject: str, verdict: Verdict) -> Change:
    return Change(Subject(subject), verdict, "unknown", CLOCK.now(), "why")


def told(report: dict[str, Any]) -> dict[str, str]:
    return {change["subject"]: change["verdict"] for change in report["changes"]}


def run(*steps: Any) -> list[dict[str, str]]:
    """Each step is a change to note, or a call; after each call the outlet tells."""
    reporter = FakeReporter()
    outlet = Outlet(reporter)

    async def go() -> None:
        for step in steps:
            if isinstance(step, Change):
                outlet.note(step)
            else:
                step(reporter)
                await outlet.tell(1)

    asyncio.run(go())
    return [told(report) for report in reporter.taken]


def stay(reporter: FakeReporter) -> None: ...


def leave(reporter: FakeReporter) -> None:
    reporter.away = True


def come_back(reporter: FakeReporter) -> None:
    reporter.away = False


def restart(reporter: FakeReporter) -> None:
    reporter.connected = False


def test_the_first_report_is_the_full_picture_and_the_next_only_what_changed() -> None:
    reports = run(change("a", "up"), change("b", "up"), stay, change("b", "down"), stay, stay)
    assert reports == [{"a": "up", "b": "up"}, {"b": "down"}, {}]


def test_a_controller_that_was_away_is_told_the_latest_of_everything_and_no_history() -> None:
    reports = run(
        change("a", "up"), change("b", "up"), stay, leave, change("a", "down"), stay, change("a", "up"), come_back
    )
    assert reports == [{"a": "up", "b": "up"}, {"a": "up", "b": "up"}]


def test_a_new_connection_may_be_a_new_controller_and_gets_the_full_picture() -> None:
    assert run(change("a", "up"), stay, restart) == [{"a": "up"}, {"a": "up"}]


def test_a_measure_is_told_once_by_its_newest_value_and_again_after_a_break() -> None:
    reporter = FakeReporter()
    outlet = Outlet(reporter)

    async def go() -> None:
        for value in (1.0, 2.0):
            outlet.measure(Measure(Subject("replica:x@y"), "canary_age_seconds", value, CLOCK.now()))
        for _ in range(2):
            await outlet.tell(1)
        restart(reporter)
        await outlet.tell(1)

    asyncio.run(go())
    assert [[m["value"] for m in report["measures"]] for report in reporter.taken] == [[2.0], [], [2.0]]


def reporter_to(address: Address) -> HttpReporter:
    """In the clear; that a reporter shows its certificate is tested where there is one (tests/app/test_tls.py)."""
    return HttpReporter(str(address), Wire(tcp(address), str(address), 5.0), SiteId("third"))


def test_a_report_goes_to_the_vantages_route_over_one_connection() -> None:
    async def go() -> tuple[int, list[bytes]]:
        async with http_server(lambda _: reply(200)) as server:
            reporter = reporter_to(server.address)
            for _ in range(2):
                await reporter.send(b"{}")
            await reporter.close()
            return server.connections, server.requests

    connections, requests = asyncio.run(go())
    assert connections == 1
    assert requests[0].startswith(b"POST /v1/agents/third/report HTTP/1.1\r\n")


def test_a_report_that_was_refused_is_an_error_with_the_reason() -> None:
    async def go() -> Unreachable:
        async with http_server(lambda _: reply(403, b'{"detail": "no agent"}')) as server:
            reporter = reporter_to(server.address)
            try:
                await reporter.send(b"{}")
            except Unreachable as error:
                return error
            raise AssertionError("it was taken")

    error = asyncio.run(go())
    assert "403" in error.why
    assert "no agent" in error.why
