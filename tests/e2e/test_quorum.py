"""etcd without a majority: nothing promotes and that is said, while citizens go on writing."""

from __future__ import annotations

import time

from ncia.lab.exercise import linger
from tests.e2e.scene import DAEJEON, GWANGJU, WITNESS, Scene, acked, refusal_of


def test_without_quorum_nothing_is_promoted_and_writes_go_on_as_the_peer_confirms(scene: Scene) -> None:
    standing, ttl_seconds = scene.standing(DAEJEON), scene.lab.estate().settings.lease_ttl_seconds
    before = scene.mark()
    for site in (WITNESS, GWANGJU):
        scene.lab.stop(site, "etcd")
    began = time.monotonic()
    incident = scene.wait_for_incident(DAEJEON, "quorum:etcd", "no-quorum")
    assert "etcd has no quorum" in incident["sentence"].lower() or "no quorum" in incident["sentence"]
    refusal = refusal_of(lambda: scene.api(DAEJEON).post("/v1/recovery/plans", plan_for(GWANGJU)))
    assert "quorum" in str(refusal) or "majority" in str(refusal)

    linger(began + 1.5 * ttl_seconds)  # past every lease that etcd gave
    scene.wait_for_acts("writes go on", time.monotonic(), standing, acked)
    for site in (DAEJEON, GWANGJU):
        assert scene.gate(site)["fenced_at_boottime_ns"] is None
    for site in (WITNESS, GWANGJU):
        scene.lab.start(site, "etcd")
    scene.wait_until_whole()
    assert scene.standing(DAEJEON) == scene.standing(GWANGJU) == standing
    assert scene.entries(DAEJEON, before, "run.started") == []


def plan_for(site: str) -> dict[str, str]:
    return {"runbook": "site_failover", "site": site, "by": "kim"}
