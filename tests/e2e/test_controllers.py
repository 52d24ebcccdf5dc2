"""The controllers may be away: citizens are served by gates and applications, leases by the wardens."""

from __future__ import annotations

import json
import time

from ncia.core.base.ids import SiteId
from ncia.lab.exercise import linger
from tests.e2e.scene import CENTRES, DAEJEON, SOON, Act, Scene, acked, wait_until

TTLS = 3
# An act that comes late on a busy machine is none that a gate or a lease has stopped.
LATE_SHARE, LATE_MIN = 0.01, 5
STOPPED_BY = ("ncia gate", "lease expired", "warden", "epoch", "is active at")


def test_three_lease_times_without_any_controller_cost_no_citizen_an_error(scene: Scene) -> None:
    scene.wait_until_proven()
    ttl_seconds = scene.lab.estate().settings.lease_ttl_seconds
    before = scene.standing(DAEJEON)
    turned = {site: turns(scene, site) for site in CENTRES}
    assert all(turned.values())  # they opened once
    for site in CENTRES:
        scene.lab.stop(site, "serve")
    began = time.monotonic()
    linger(began + TTLS * ttl_seconds)
    ended = time.monotonic()
    for site in CENTRES:
        assert scene.gate(site)["fenced_at_boottime_ns"] is None
        scene.lab.start(site, "serve")
    scene.wait_for_acts("citizens act on", ended, before, acked)
    wait_until("every act has its outcome", lambda: all(a.known_monotonic for a in during(scene, began, ended)), SOON)
    sent = during(scene, began, ended)
    for turn in range(TTLS):
        start = began + turn * ttl_seconds
        served = {act.system for act in during(scene, start, start + ttl_seconds) if acked(act)}
        assert (turn, served) == (turn, set(before))
    wrong = [act for act in sent if act.outcome not in ("acked", "refused")]
    assert [act for act in wrong if any(word in act.why for word in STOPPED_BY)] == []
    assert len(wrong) <= max(LATE_MIN, LATE_SHARE * len(sent)), wrong
    assert {site: turns(scene, site) for site in CENTRES} == turned
    scene.wait_until_whole()
    assert scene.standing(DAEJEON) == before


def during(scene: Scene, began: float, ended: float) -> list[Act]:
    return [act for act in scene.acts(began) if act.sent_monotonic < ended]


def turns(scene: Scene, site: SiteId) -> int:
    """How often the site's gate has opened or shut for any system; each turn is a line of its log."""
    lines = (scene.lab.settings(site).log / "gate.log").read_text().splitlines()
    return sum(json.loads(line)["event"] in ("open", "shut") for line in lines)
