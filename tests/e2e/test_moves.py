"""One system moves to the other site, as planned, and home again: nothing is lost on the way, nobody keeps WAL for a
reader that is gone, and what the move stops and starts is no fault."""

from __future__ import annotations

import time
from functools import partial

import psycopg
import pytest

from ncia.core.base.ids import SiteId
from ncia.lab.exercise import Exercise, wait_until
from recovery.receiving.wal import slot_name
from tests.e2e.scene import CITIZENS, DAEJEON, GWANGJU, SOON, Scene, acked

SYSTEM = "customs"  # of grade 1: the other site's receiver reads from its primary too
MOVED = ("hometax", "onnara")  # one whose commits wait for the other site, and one whose documents follow
STOPPED = ("app", "entry", "db", "gate", "canary", "backup")
AWAY = {"home:daejeon", "home:gwangju"}


def slots(scene: Scene, site: SiteId, system: str = SYSTEM) -> set[str]:
    socket = scene.lab.settings(site).run / "pg" / system
    with psycopg.connect(host=str(socket), user="postgres", dbname="postgres") as connection:
        return {row[0] for row in connection.execute("select slot_name::text from pg_replication_slots").fetchall()}


def readers(site: SiteId) -> set[str]:
    return {site, slot_name(site)}


def reads(scene: Scene, primary: SiteId, reader: SiteId) -> bool:
    return readers(reader) <= slots(scene, primary)


def is_named(scene: Scene, site: SiteId) -> bool:
    """Of each system that is active at the other site, and of no other, ``site`` can say whether a loss has names."""
    told = scene.api(site).get("/v1/reports/continuity")["systems"]
    return all(each["loss_named"] is (True if each["active_site"] != site else None) for each in told)


def followed(scene: Scene, site: SiteId, system: str) -> bool:
    told = next(each for each in scene.status(site)["systems"] if each["id"] == system)
    return (told["verdict"], told["replica_verdict"]) == ("up", "up")


@pytest.mark.long  # a backup that is caught under a move fails its proof: what comes after would wait for the next one
def test_a_system_that_moves_and_comes_home_leaves_no_slot_that_nobody_reads(scene: Scene) -> None:
    scene.wait_until_proven()
    before, exercise = scene.mark(), Exercise(scene.lab.home, DAEJEON, print)
    for old, new in ((DAEJEON, GWANGJU), (GWANGJU, DAEJEON)):
        moved_at = time.monotonic()
        run = exercise.move(SYSTEM, new)
        assert run["outcome"] == "succeeded", run["sentence"]
        assert not slots(scene, old) & readers(new)  # a backup job may have one of its own there
        wait_until("copy and receiver read from the new one", partial(reads, scene, new, old), SOON)
        scene.wait_for_acts("citizens are served", moved_at, [SYSTEM], acked)
    scene.wait_until_whole()
    scene.assert_nothing_acknowledged_is_lost()
    # of what a controller tells of itself there is nothing to tell here; vouching and clocks are a busy machine's
    assert scene.opened(before, of=["slots", "certificate"]) == []
    for site in (DAEJEON, GWANGJU):
        wait_until(f"{site} says that a loss would have names", partial(is_named, scene, site), SOON)


@pytest.mark.long
def test_a_system_moves_and_comes_home_and_neither_a_row_nor_a_document_is_lost_on_the_way(scene: Scene) -> None:
    scene.wait_until_proven()
    since = scene.mark()
    exercise, estate = Exercise(scene.lab.home, DAEJEON, print), scene.lab.estate()
    for name in MOVED:
        system = estate.system(name)
        for to in (estate.peer_of(system.home), system.home):
            began = time.monotonic()
            run = exercise.move(name, to)
            assert (run["outcome"], run["sentence"]) == ("succeeded", run["sentence"])
            assert scene.standing(to)[system.id][0] == to
            scene.wait_for_acts(f"{name} serves at {to}", began, [name], lambda a, to=to: acked(a) and a.site == to)
            wait_until(f"{name} has its copy again", lambda name=name, to=to: followed(scene, to, name), SOON)
        scene.wait_until_whole()
    # being away is told, once for each site, and nothing of what a move stops and starts; lags are a busy machine's
    told = scene.opened(since, of=["home", *STOPPED])
    assert {root for root in told if any(name in root for name in (*MOVED, "home:"))} == AWAY
    scene.lab.stop(CITIZENS, "load")
    scene.assert_nothing_acknowledged_is_lost()
