"""The second keeper of every grade-1 commit: gone, it is one incident; alone, it keeps citizens served."""

from __future__ import annotations

import time

from ncia.core.base.ids import SystemId
from ncia.lab.postgres import Cluster
from tests.e2e.scene import DAEJEON, GWANGJU, SOON, Scene, acked, wait_until

RECEIVERS = "receiver:gwangju"
NOWHERE = " hostaddr=127.0.0.1 port=1 connect_timeout=2"


def test_receivers_that_stop_are_one_incident_and_commits_go_on_through_the_standbys(scene: Scene) -> None:
    wait_until("every receiver counts", lambda: all(kept_by_receiver(scene, s) for s in scene.systems(1)), SOON)
    before = scene.mark()
    scene.lab.stop(GWANGJU, "receiver")
    stopped = time.monotonic()
    for site in (DAEJEON, GWANGJU):
        incident = scene.wait_for_incident(site, RECEIVERS, "receiver-gone")
        assert incident["run_next"] == "ncia receiver (at that site)"
        assert incident["systems"] == []
    scene.wait_for_acts("grade 1 goes on", stopped, scene.systems(1), acked)
    scene.lab.start(GWANGJU, "receiver")
    for site in (DAEJEON, GWANGJU):
        scene.wait_until_over(site, RECEIVERS)
        assert scene.opened(before, site, of=["receiver"]) == [RECEIVERS]
    wait_until("every receiver counts again", lambda: all(kept_by_receiver(scene, s) for s in scene.systems(1)), SOON)


def test_with_the_standby_away_commits_go_on_through_the_receiver(scene: Scene) -> None:
    wait_until("the receiver counts", lambda: kept_by_receiver(scene, "hometax"), SOON)
    detach(scene, "hometax")
    try:
        wait_until("its standby streams no more", lambda: GWANGJU not in keepers(scene, "hometax"), SOON)
        alone = time.monotonic()
        scene.wait_for_acts("hometax goes on", alone, ["hometax"], acked)
    finally:
        attach(scene, "hometax")
    wait_until("its standby streams again", lambda: keepers(scene, "hometax").get(GWANGJU) == "quorum", SOON)


def test_a_stopped_supervisor_leaves_no_receiver_behind(scene: Scene) -> None:
    wait_until("the receiver counts", lambda: kept_by_receiver(scene, "share"), SOON)
    scene.lab.stop(GWANGJU, "receiver")
    wait_until("no receiver is left", lambda: not kept_by_receiver(scene, "share"), SOON)
    scene.lab.start(GWANGJU, "receiver")
    wait_until("it counts again", lambda: kept_by_receiver(scene, "share"), SOON)


def cluster(scene: Scene, system: str, site: str) -> Cluster:
    estate = scene.lab.estate()
    found = estate.systems[SystemId(system)]
    copy = next(c for at, c in found.postgres.copies.items() if at == site)
    return Cluster(scene.lab.layout, estate, found, copy)


def keepers(scene: Scene, system: str) -> dict[str, str]:
    with cluster(scene, system, DAEJEON).connect("postgres") as connection:
        return dict(connection.execute("select application_name, sync_state from pg_stat_replication").fetchall())


def kept_by_receiver(scene: Scene, system: str) -> bool:
    return keepers(scene, system).get(f"{GWANGJU}-receiver") == "quorum"


def detach(scene: Scene, system: str) -> None:
    """The standby's walreceiver is sent to nowhere."""
    with cluster(scene, system, GWANGJU).connect("postgres") as connection:
        before = connection.execute("show primary_conninfo").fetchone()[0]
        connection.execute(f"alter system set primary_conninfo = '{quoted(before + NOWHERE)}'")
        connection.execute("select pg_reload_conf()")


def attach(scene: Scene, system: str) -> None:
    with cluster(scene, system, GWANGJU).connect("postgres") as connection:
        before = connection.execute("show primary_conninfo").fetchone()[0]
        connection.execute(f"alter system set primary_conninfo = '{quoted(before.removesuffix(NOWHERE))}'")
        connection.execute("select pg_reload_conf()")


def quoted(text: str) -> str:
    return text.replace("'", "''")
