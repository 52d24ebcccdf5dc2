"""One system moves to the other site, as planned, and home again: nobody keeps WAL for a reader that is gone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg

from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.ids import SiteId
from ncia.core.requests.approval import sign
from ncia.lab.exercise import approvers, wait_until
from recovery.receiving.wal import slot_name
from tests.e2e.scene import DAEJEON, GWANGJU, SOON, Scene, acked

SYSTEM = "customs"  # of grade 1: the other site's receiver reads from its primary too


def move(scene: Scene, to: SiteId) -> Mapping[str, Any]:
    """Planned at the site that takes, approved by two people; the run as it ended."""
    api, people = scene.api(to), approvers(scene.lab.estate())[:2]
    plan = api.post("/v1/recovery/plans", {"runbook": "system_failover", "site": SYSTEM, "by": people[0]})
    expires_at = to_text(SystemClock().now() + timedelta(minutes=10))
    for person in people:
        named = {"plan_hash": plan["plan_hash"], "person": person, "expires_at": expires_at}
        signature = sign(scene.lab.person_key(person).read_bytes(), run=plan["run"], **named)
        api.post(f"/v1/recovery/runs/{plan['run']}/approvals", {**named, "signature": signature})

    def look() -> Mapping[str, Any] | None:
        run: Mapping[str, Any] = api.get(f"/v1/recovery/runs/{plan['run']}")
        return run if run["outcome"] or run["state"] == "stopped" else None

    return wait_until(f"{SYSTEM} is at {to}", look, SOON)


def slots(scene: Scene, site: SiteId, system: str = SYSTEM) -> set[str]:
    socket = scene.lab.settings(site).run / "pg" / system
    with psycopg.connect(host=str(socket), user="postgres", dbname="postgres") as connection:
        return {row[0] for row in connection.execute("select slot_name::text from pg_replication_slots").fetchall()}


def readers(site: SiteId) -> set[str]:
    return {site, slot_name(site)}


def reads(scene: Scene, primary: SiteId, reader: SiteId) -> bool:
    return readers(reader) <= slots(scene, primary)


def test_a_system_that_moves_and_comes_home_leaves_no_slot_that_nobody_reads(scene: Scene) -> None:
    scene.wait_until_proven()
    before = scene.mark()
    for old, new in ((DAEJEON, GWANGJU), (GWANGJU, DAEJEON)):
        moved_at = time.monotonic()
        run = move(scene, new)
        assert run["outcome"] == "succeeded", run["sentence"]
        assert not slots(scene, old) & readers(new)  # a backup job may have one of its own there
        wait_until("copy and receiver read from the new one", partial(reads, scene, new, old), SOON)
        scene.wait_for_acts("citizens are served", moved_at, [SYSTEM], acked)
    scene.wait_until_whole()
    scene.assert_nothing_acknowledged_is_lost()
    # of what a controller tells of itself and of clocks there is nothing to tell here
    assert not [r for r in scene.opened(before) if r.split(":")[0] in ("slots", "vouch", "certificate", "clock")]
    for site in (DAEJEON, GWANGJU):
        told = scene.api(site).get("/v1/reports/continuity")["systems"]
        assert {s["loss_named"] for s in told if s["active_site"] != site} == {True}
        assert {s["loss_named"] for s in told if s["active_site"] == site} == {None}
