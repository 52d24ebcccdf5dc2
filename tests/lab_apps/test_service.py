from __future__ import annotations

import json
import random
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.base.ids import SiteId
from ncia.lab.apps.definitions import DEFINITIONS
from ncia.lab.apps.documents import Keeping
from ncia.lab.apps.http import Answer, Request
from ncia.lab.apps.seeding import seed_into
from ncia.lab.apps.service import Service
from tests.fakes.documents import FakeDocuments
from tests.lab_apps.postgres import Cluster, start_cluster
from tests.lab_apps.world import HERE, THERE, Running, World, eventually


def sample(system: str) -> dict[str, object]:
    return DEFINITIONS[system].sample(random.Random())


def test_where_the_system_is_not_active_it_stands_by(world: World) -> None:
    world.place({"share": THERE}, epoch=4)
    world.serve("share")
    for answer in (world.get("share", "/acts/latest"), world.act("share", sample("share"))):
        assert (answer.status, answer.headers["x-ncia-standby"], answer.headers["x-ncia-epoch"]) == (503, "1", "4")


def test_without_a_word_from_the_warden_nothing_is_served_and_nobody_claims_to_stand_by(world: World) -> None:
    world.lease.unlink()
    world.serve("share")
    answer = world.get("share", "/acts/latest")
    assert (answer.status, "x-ncia-standby" in answer.headers) == (503, False)


def test_a_lease_that_turns_up_is_seen_without_a_restart(world: World) -> None:
    world.place({"share": THERE})
    world.serve("share")
    assert world.get("share", "/acts/latest").status == 503
    world.place({"share": HERE}, epoch=2)
    world.gate.epoch = 2
    assert eventually(lambda: world.get("share", "/acts/latest").status == 200)
    assert world.act("share", sample("share")).json()["epoch"] == 2


def test_a_promotion_leaves_no_connection_of_the_old_epoch(world: World) -> None:
    world.serve("share")
    assert world.act("share", sample("share")).json()["epoch"] == 1
    world.gate.epoch = 2
    world.place({"share": HERE}, epoch=2)
    assert eventually(lambda: world.act("share", sample("share")).json()["epoch"] == 2)


def test_connections_that_the_gate_closed_cost_no_citizen_an_error(world: World) -> None:
    world.serve("share")
    assert world.act("share", sample("share")).status == 201
    assert world.get("share", "/acts/latest").status == 200
    world.gate.cut()
    assert world.act("share", sample("share")).status == 201
    assert world.get("share", "/acts/latest").status == 200


@pytest.fixture
def deaf_share(world: World) -> Iterator[World]:
    """Hometax and g2b serve; share's address accepts and never answers."""
    address = world.address("share")
    with socket.create_server((address.host, address.port)):
        world.serve("hometax")
        world.serve("g2b")
        yield world


@pytest.mark.parametrize("system", ["hometax", "g2b"])
def test_the_deepest_failed_dependency_is_named_within_two_seconds(deaf_share: World, system: str) -> None:
    for ask in (
        lambda: deaf_share.get(system, "/acts/latest"),
        lambda: deaf_share.act(system, sample(system)),
    ):
        began = time.monotonic()
        answer = ask()
        assert time.monotonic() - began < 2
        assert (answer.status, answer.headers["x-ncia-failed-dependency"]) == (503, "share")
        assert answer.json()["failed_dependency"] == "share"


def test_a_dependency_that_is_gone_is_named_at_once_and_its_return_is_seen(world: World) -> None:
    world.serve("hometax")
    answer = world.get("hometax", "/acts/latest")
    assert (answer.status, answer.json()["failed_dependency"]) == (503, "share")
    world.serve("share")
    assert eventually(lambda: world.get("hometax", "/acts/latest").status == 200)


def test_a_system_that_depends_on_none_never_calls_any(world: World) -> None:
    world.serve("onnara")
    assert world.get("onnara", "/acts/latest").status == 200


def test_an_act_that_waits_for_a_lock_is_given_up_and_not_recorded(world: World) -> None:
    world.serve("onnara")
    act = str(uuid.uuid4())
    with world.cluster.connect("onnara") as holder, holder.transaction():
        holder.execute("lock table app.decisions in access exclusive mode")
        answer = world.act("onnara", sample("onnara"), act)
    assert (answer.status, "outcome" in answer.json()) == (503, False)
    with world.cluster.connect("onnara") as reader:
        assert reader.execute("select 1 from app.acts where id = %s", (act,)).fetchone() is None


def test_several_requests_go_over_one_connection(world: World) -> None:
    import http.client

    world.serve("share")
    address = world.address("share")
    caller = http.client.HTTPConnection(address.host, address.port, timeout=5)
    statuses = []
    for _ in range(3):
        caller.request("GET", "/acts/latest")
        answer = caller.getresponse()
        answer.read()
        statuses.append(answer.status)
    caller.close()
    assert statuses == [200, 200, 200]


# --- the synchronous copy ----------------------------------------------------------------------------------------

CLAIMS_TO_STREAM = """
create or replace function ncia.sync_partner() returns table (state text, age_seconds float8)
language sql security definer as $$ select 'streaming'::text, 0.1::float8 $$
"""


def claim_to_stream(cluster: Cluster) -> None:
    """The moment before the breaker knows: the copy is gone and was seen a tenth of a second ago."""
    with cluster.connect("share") as connection:
        connection.execute("set synchronous_commit = local")
        connection.execute(CLAIMS_TO_STREAM)


@pytest.fixture
def lonely(running: Running, tmp_path: Path) -> Iterator[World]:
    """A primary that names a synchronous copy which is not there."""
    cluster = start_cluster()
    cluster.make_database("share")
    with cluster.connect("share", "app") as connection:
        connection.autocommit = False
        seed_into(connection, "share")
    require(cluster, "absent")
    made = World(cluster, tmp_path, running)
    made.serve("share", synchronous_peer=THERE)
    yield made
    made.close()
    cluster.stop()


def require(cluster: Cluster, names: str) -> None:
    with cluster.connect() as connection:
        connection.execute(f"alter system set synchronous_standby_names = '{names}'".encode())
        connection.execute("select pg_reload_conf()")
    eventually(lambda: told_names(cluster) == names)


def told_names(cluster: Cluster) -> str:
    with cluster.connect() as connection:
        return str(connection.execute("show synchronous_standby_names").fetchone()[0])


def test_without_its_copy_a_write_is_refused_at_once_and_reads_go_on(lonely: World) -> None:
    began = time.monotonic()
    answer = lonely.act("share", sample("share"))
    assert (answer.status, time.monotonic() - began < 1) == (503, True)
    assert answer.json()["error"] == (
        "synchronous copy at gwangju is not answering; writes are refused so that nothing acknowledged can be lost"
    )
    assert lonely.get("share", "/acts/latest").status == 200
    require(lonely.cluster, "")  # as a promotion does
    assert eventually(lambda: lonely.act("share", sample("share")).status == 201)


def waiting_commit(cluster: Cluster) -> int | None:
    with cluster.connect() as connection:
        row = connection.execute("select pid from pg_stat_activity where wait_event = 'SyncRep'").fetchone()
    return int(row[0]) if row else None


def test_a_commit_that_waits_is_told_as_unknown_and_never_cancelled(lonely: World) -> None:
    claim_to_stream(lonely.cluster)
    act, began = str(uuid.uuid4()), time.monotonic()
    answer = lonely.act("share", sample("share"), act)
    assert (answer.status, answer.json()["outcome"]) == (504, "unknown")
    assert 2.4 < time.monotonic() - began < 3
    assert lonely.get("share", f"/acts/{act}").status == 404  # it still waits, and nobody sees it
    assert waiting_commit(lonely.cluster)
    require(lonely.cluster, "")
    assert eventually(lambda: lonely.get("share", f"/acts/{act}").status == 200)


def test_the_warning_of_a_cancelled_wait_is_no_acknowledgement(lonely: World) -> None:
    """Somebody else cancels the wait: PostgreSQL says COMMIT, and a warning beside it."""
    import threading

    claim_to_stream(lonely.cluster)
    answers = []
    act = threading.Thread(target=lambda: answers.append(lonely.act("share", sample("share"))))
    act.start()
    pid = eventually(lambda: waiting_commit(lonely.cluster))
    with lonely.cluster.connect() as connection:
        connection.execute("select pg_cancel_backend(%s)", (pid,))
    act.join(timeout=10)
    assert (answers[0].status, answers[0].json()["outcome"]) == (504, "unknown")
    assert "synchronous replication" in answers[0].json()["error"]


def test_a_gate_that_falls_while_commit_waits_leaves_the_outcome_unknown(lonely: World) -> None:
    import threading

    claim_to_stream(lonely.cluster)
    answers = []
    act = threading.Thread(target=lambda: answers.append(lonely.act("share", sample("share"))))
    act.start()
    eventually(lambda: waiting_commit(lonely.cluster))
    lonely.gate.cut()
    act.join(timeout=10)
    assert (answers[0].status, answers[0].json()["outcome"]) == (504, "unknown")


def test_where_commits_wait_for_the_other_site_documents_do_too_until_a_promotion_ends_that(lonely: World) -> None:
    own, other = FakeDocuments("own"), FakeDocuments("other")
    lonely.keeping["share"] = Keeping(SiteId(HERE), own, SiteId(THERE), other)
    service = lonely.service("share", synchronous_peer=THERE)
    claim_to_stream(lonely.cluster)
    assert act_at(lonely, service).status == 504  # COMMIT waits: by then the document is at both sites
    assert (len(own.documents()), own.documents()) == (1, other.documents())
    require(lonely.cluster, "")
    other.silent = True
    assert eventually(lambda: act_at(lonely, service).status == 201)
    assert len(own.documents()) > len(other.documents())


def act_at(world: World, service: Service) -> Answer:
    values = {"id": str(uuid.uuid4()), **sample("share")}
    return world.running.run(service.answer(Request("POST", "/acts", body=json.dumps(values).encode())))
