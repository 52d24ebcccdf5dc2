"""One suite for the real etcd and the fake; then what only the real one can show."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError, NoQuorum
from recovery.fencing.etcd import Absent, Delete, Etcd, EtcdClient, Get, Put, Unchanged
from tests.fakes.etcd import FakeEtcd
from tests.ports import free_ports
from tests.recovery.fencing.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("etcd")).up()
    yield running
    running.close()


@pytest.fixture(params=["real", "fake"])
def etcd(request: pytest.FixtureRequest) -> EtcdClient:
    if request.param == "fake":
        return FakeEtcd(time.monotonic_ns)
    return Etcd(request.getfixturevalue("cluster").urls)


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    return f"/test/{request.node.name}/"


def test_an_absent_key_reads_as_none(etcd: EtcdClient, root: str) -> None:
    assert etcd.get(root + "nothing") is None
    assert etcd.prefix(root) == ()


def test_a_put_is_read_back_with_its_revision(etcd: EtcdClient, root: str) -> None:
    revision = etcd.put(root + "a", '{"word": "홈택스"}')
    found = etcd.get(root + "a")
    assert found is not None
    assert found.json() == {"word": "홈택스"}
    assert found.mod_revision == found.create_revision == revision
    assert found.lease == 0


def test_a_prefix_has_its_keys_in_order_and_no_neighbour(etcd: EtcdClient, root: str) -> None:
    for name in ("p/b", "p/a", "q/a"):
        etcd.put(root + name, "{}")
    assert [pair.key for pair in etcd.prefix(root + "p/")] == [root + "p/a", root + "p/b"]


def test_what_is_read_at_once_is_told_apart_and_is_of_one_revision(etcd: EtcdClient, root: str) -> None:
    for name in ("a/1", "a/2", "a", "b/1", "c", "c/1"):
        revision = etcd.put(root + name, name)
    found = etcd.read(Get(root + "c"), Get(root + "a/", prefix=True), Get(root + "gone"), Get(root + "b/1"))
    told = [[pair.value for pair in pairs] for pairs in found.reads]
    assert told == [["c"], ["a/1", "a/2"], [], ["b/1"]]
    assert found.revision >= revision


def test_a_deleted_key_is_gone(etcd: EtcdClient, root: str) -> None:
    etcd.put(root + "a", "{}")
    etcd.delete(root + "a")
    assert etcd.get(root + "a") is None


def test_a_transaction_with_all_compares_true_writes_and_reads(etcd: EtcdClient, root: str) -> None:
    revision = etcd.put(root + "epoch", "1")
    outcome = etcd.txn(
        (Unchanged(root + "epoch", revision), Absent(root + "site")), (Put(root + "epoch", "2"), Get(root + "epoch"))
    )
    assert outcome.succeeded
    assert [pair.value for pair in outcome.reads[0]] == ["2"]
    assert outcome.reads[0][0].mod_revision == outcome.revision


@pytest.mark.parametrize("broken", ["changed", "present"])
def test_a_transaction_with_one_compare_false_writes_nothing(etcd: EtcdClient, root: str, broken: str) -> None:
    revision = etcd.put(root + "epoch", "1")
    if broken == "changed":
        etcd.put(root + "epoch", "1")
    else:
        etcd.put(root + "site", "{}")
    outcome = etcd.txn(
        (Unchanged(root + "epoch", revision), Absent(root + "site")),
        (Put(root + "epoch", "2"), Delete(root + "site")),
        (Get(root + "epoch"),),
    )
    assert not outcome.succeeded
    assert [pair.value for pair in outcome.reads[0]] == ["1"]


def test_a_revoked_lease_takes_its_keys_along(etcd: EtcdClient, root: str) -> None:
    lease = etcd.grant(5)
    etcd.put(root + "site", "{}", lease.id)
    found = etcd.get(root + "site")
    assert found is not None
    assert found.lease == lease.id
    assert etcd.keepalive(lease.id) >= 5
    etcd.revoke(lease.id)
    etcd.revoke(lease.id)
    assert etcd.get(root + "site") is None
    assert etcd.keepalive(lease.id) == 0


def test_a_key_moved_to_another_lease_survives_the_first(etcd: EtcdClient, root: str) -> None:
    first, second = etcd.grant(5), etcd.grant(5)
    etcd.put(root + "site", "{}", first.id)
    etcd.put(root + "site", "{}", second.id)
    etcd.revoke(first.id)
    assert etcd.get(root + "site") is not None


def test_a_key_cannot_be_put_under_a_lease_that_is_gone(etcd: EtcdClient, root: str) -> None:
    with pytest.raises(NciaError, match="lease not found") as caught:
        etcd.put(root + "site", "{}", 12345)
    assert not isinstance(caught.value, NoQuorum)


def test_a_lease_that_nobody_renews_expires(etcd: EtcdClient, root: str) -> None:
    lease = etcd.grant(2)
    etcd.put(root + "site", "{}", lease.id)
    granted = time.monotonic()
    while etcd.get(root + "site") is not None:
        assert time.monotonic() - granted < 10
    assert time.monotonic() - granted >= 1.9


def test_term_and_leader_are_told(cluster: Cluster) -> None:
    etcd = Etcd(cluster.urls)
    assert etcd.grant(5).term == etcd.read(Get("/x")).term > 0
    assert etcd.leader() in cluster.urls
    assert etcd.health() == dict.fromkeys(cluster.urls, True)


def test_a_dead_first_member_is_passed_over(cluster: Cluster) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    etcd = Etcd((dead, *cluster.urls))
    etcd.put("/failover", "1")
    assert etcd.get("/failover") is not None
    assert etcd.health()[dead] is False


def test_a_frozen_first_member_is_passed_over_for_reads(cluster: Cluster) -> None:
    leader = Etcd(cluster.urls).leader()
    index = next(i for i, url in enumerate(cluster.urls) if url != leader)
    etcd = Etcd((cluster.urls[index], *(url for url in cluster.urls if url != cluster.urls[index])))
    process = cluster.processes[index]
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert etcd.get("/nothing") is None
        assert time.monotonic() - started < 1.5
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_without_quorum_every_call_says_so_within_its_budget(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path).up()
    try:
        cluster.kill(1)
        cluster.kill(2)
        etcd = Etcd(cluster.urls)
        for call in (lambda: etcd.get("/x"), lambda: etcd.put("/x", "1"), lambda: etcd.grant(5)):
            started = time.monotonic()
            with pytest.raises(NoQuorum, match="no quorum"):
                call()
            assert time.monotonic() - started < 2.0
        cluster.start(1)
        cluster.wait()
        etcd.put("/x", "2")
    finally:
        cluster.close()
