"""The controllers may be away: citizens are served by gates and applications, leases by the wardens."""

from __future__ import annotations

import time

from ncia.lab.exercise import linger
from tests.e2e.scene import CENTRES, DAEJEON, Scene, acked

TTLS = 3


def test_three_lease_times_without_any_controller_cost_no_citizen_an_error(scene: Scene) -> None:
    scene.wait_until_proven()
    ttl_seconds = scene.lab.estate().settings.lease_ttl_seconds
    before = scene.standing(DAEJEON)
    for site in CENTRES:
        scene.lab.stop(site, "serve")
    began = time.monotonic()
    linger(began + TTLS * ttl_seconds)
    ended = time.monotonic()
    for site in CENTRES:
        assert scene.gate(site)["fenced_at_boottime_ns"] is None
        scene.lab.start(site, "serve")
    scene.wait_for_acts("citizens acted all the time", ended - ttl_seconds, before, acked)
    sent = [act for act in scene.acts(began) if act.sent_monotonic < ended]
    assert {act.system for act in sent if acked(act)} == set(before)
    assert [act for act in sent if act.outcome not in ("acked", "refused")] == []
    scene.wait_until_whole()
    assert scene.standing(DAEJEON) == before
