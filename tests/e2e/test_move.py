"""One system moves to the other site and home again, as planned, while citizens act on it."""

from __future__ import annotations

import time

import pytest

from ncia.core.alerts.graph import parts
from ncia.core.base.ids import SiteId
from ncia.lab.exercise import Exercise, wait_until
from tests.e2e.scene import CITIZENS, DAEJEON, SOON, Scene, acked

MOVED = ("hometax", "onnara")  # one whose commits wait for the other site, and one whose documents follow
STOPPED = ("app", "entry", "db", "gate", "canary", "backup")
AWAY = {"home:daejeon", "home:gwangju"}


def followed(scene: Scene, site: SiteId, system: str) -> bool:
    told = next(each for each in scene.status(site)["systems"] if each["id"] == system)
    return (told["verdict"], told["replica_verdict"]) == ("up", "up")


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
    told = {root for root in scene.opened(since) if parts(root)[0] in ("home", *STOPPED)}
    assert {root for root in told if any(name in root for name in (*MOVED, "home:"))} == AWAY
    scene.lab.stop(CITIZENS, "load")
    scene.assert_nothing_acknowledged_is_lost()
