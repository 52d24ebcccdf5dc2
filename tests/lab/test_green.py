from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.lab import green

HERE, THERE = SiteId("daejeon"), SiteId("gwangju")


def status(verdict: str = "up", replica: str = "up", *incidents: str) -> Mapping[str, Any]:
    system = {"id": "share", "verdict": verdict, "replica_verdict": replica}
    return {"systems": [system], "incidents": [{"sentence": sentence} for sentence in incidents]}


class World:
    """Controllers that tell one status after the other, the last for ever; a clock that only pauses move."""

    def __init__(self, *told: Mapping[str, Any] | NciaError) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self._told = iter(told)
        self._last: Mapping[str, Any] | NciaError = status()

    def ask(self) -> Mapping[str, Any]:
        self._last = next(self._told, self._last)
        if isinstance(self._last, NciaError):
            raise self._last
        return self._last

    def wait(self, seconds_max: float = 60.0) -> str:
        def pause(seconds: float) -> None:
            self.now += seconds

        controllers = {HERE: self.ask, THERE: status}
        return green.wait(controllers, self.said.append, seconds_max, lambda: self.now, pause)


def down_for(looks: int) -> Iterator[Mapping[str, Any]]:
    yield from [status("down")] * looks
    yield status()


def test_a_lab_that_every_controller_sees_well_is_not_waited_for():
    world = World(status())
    assert (world.wait(), world.now, world.said) == ("", 100.0, [])


def test_it_waits_until_the_last_controller_sees_the_last_system_up():
    world = World(*down_for(3))
    assert (world.wait(), world.now) == ("", 100.0 + 3 * green.POLL_SECONDS)


def test_what_is_missing_still_is_told_every_few_seconds():
    world = World(*down_for(round(2.5 * green.TELL_SECONDS / green.POLL_SECONDS)))
    assert world.wait() == ""
    assert world.said == ["not well yet: daejeon sees: share is down, its replica up"] * 2


def test_an_open_incident_and_a_replica_that_is_not_known_are_not_well():
    world = World(status("up", "unknown", "nothing of gwangju answers"))
    told = "daejeon sees: share is up, its replica unknown; daejeon sees: nothing of gwangju answers"
    assert world.wait(seconds_max=1.0) == told


def test_a_controller_that_tells_nothing_yet_is_waited_for_and_named():
    starting = NciaError("serve.starting", "ask", "it starts", "ask again")
    world = World(starting, status())
    assert (world.wait(), world.now) == ("", 100.0 + green.POLL_SECONDS)
    assert World(starting).wait(seconds_max=1.0) == "the controller of daejeon tells nothing: it starts"


def test_of_many_things_a_few_are_told_and_the_rest_counted():
    many = tuple(f"s{number}" for number in range(5))
    assert green.brief(many) == "s0; s1; s2; and 2 more"
