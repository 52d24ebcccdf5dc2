"""The doors and routes of the API, over a platform of fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ncia.api.doors import TCP, UNIX, Door
from ncia.api.ports import Json, Platform, Tokens
from ncia.api.routes import RECEIPTS_BYTES_MAX, build, build_receipts
from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import SiteId


class Desk:
    """Backups, recovery and journal in one fake; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def list(self) -> Json:
        return {"points": []}

    def prove(self, dataset: str | None) -> Json:
        self.asked.append(("prove", dataset))
        return {"jobs": []}

    def plan(
        self, runbook: str, site: str, by: str, accept_loss: Mapping[str, str], accept_drift: Mapping[str, str]
    ) -> Json:
        self.asked.append(("plan", runbook, site, by, dict(accept_loss), dict(accept_drift)))
        return {"run": "run-1"}

    def approve(self, run: str, person: str, plan_hash: str, expires_at: str, signature: str) -> Json:
        if signature == "forged":
            raise Refusal("approval.forged", f"approve {run}", "the signature is not that person's", "sign again")
        self.asked.append(("approve", run, person))
        return {"approvals": 1}

    def start(self, run: str, by: str) -> Json:
        raise NoQuorum("etcd.no-quorum", f"start {run}", "etcd cannot commit", "wait for two of three members")

    def stop(self, run: str, by: str, reason: str) -> Json:
        self.asked.append(("stop", run, by, reason))
        return {}

    resume = start

    def swear(self, run: str, by: str, reason: str) -> Json:
        self.asked.append(("swear", run, by, reason))
        return {}

    def runs(self) -> Sequence[Json]:
        return []

    def run(self, run: str | None) -> Json:
        return {"run": run}

    def entries(self, site: SiteId, start: int, limit: int) -> Sequence[Json]:
        return [{"site": site, "number": start}]

    def report(self, *, run: str, site: str, since: str, agency: str, by: str) -> Json:
        self.asked.append(("loss", run, site, since, agency, by))
        return {"lost": 0}

    def take(self, told: Json) -> Json:
        self.asked.append(("take", told["door"]))
        return {"taken": 0}

    def checkpoint(self) -> Json:
        return {"size": 1}

    def held(self, site: SiteId) -> Json:
        return {"held": {"site": site, "entries": 0, "note": ""}}

    def consistency(self, first: int, second: int) -> Json:
        return {"proof": []}

    def size(self) -> int:
        return 1


class Findings:
    def __init__(self, desk: Desk) -> None:
        self._asked = desk.asked

    def take(self, vantage: str, told: Json) -> None:
        self._asked.append(("findings", vantage, told))

    def to_json(self) -> Json:
        return {"findings": []}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def platform(desk: Desk, tmp_path: Path) -> Platform:
    async def events() -> AsyncIterator[str]:
        yield '{"as_of": 1}'

    return Platform(
        site=SiteId("east"),
        release="0",
        tokens=Tokens(peer="peer-secret", agent="agent-secret", receipts="receipts-secret"),
        journal=desk,
        backups=desk,
        recovery=desk,
        loss=desk,
        reports=desk,
        rehash=lambda dataset: {"read": [dataset]},
        report=lambda vantage, report: desk.asked.append(("report", vantage, report)),
        findings=Findings(desk),
        status=lambda: {"systems": []},
        incidents=lambda: [],
        acknowledge=lambda incident, by, comment, minutes: {"incident": incident, "by": by},
        continuity=lambda: {"systems": []},
        metrics=lambda: b"up 1\n",
        page=lambda: "<!doctype html><title>ncia</title>",
        events=events,
        static=str(tmp_path),
    )


@pytest.fixture
def unix(platform: Platform) -> TestClient:
    return TestClient(Door(build(platform), UNIX))


@pytest.fixture
def tcp(platform: Platform) -> TestClient:
    return TestClient(Door(build(platform), TCP))


def test_reading_is_open_at_both_doors(unix: TestClient, tcp: TestClient) -> None:
    for path in (
        "/v1/health",
        "/v1/status",
        "/v1/incidents",
        "/v1/findings",
        "/v1/backups",
        "/v1/recovery/runs",
        "/metrics",
        "/",
    ):
        assert (unix.get(path).status_code, tcp.get(path).status_code) == (200, 200), path


CHANGES = (
    ("/v1/incidents/i-1/ack", {"by": "kim", "comment": "on it", "minutes": 30}),
    ("/v1/backups/prove", {}),
    ("/v1/recovery/plans", {"site": "east", "by": "kim"}),
    ("/v1/recovery/runs/run-1/stop", {"by": "kim", "reason": "wrong site"}),
    ("/v1/reports/loss", {"run": "run-1"}),
)


@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_a_change_is_taken_over_the_unix_socket(unix: TestClient, path: str, body: Json) -> None:
    assert unix.post(path, json=body).status_code == 200


@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_a_change_over_tcp_is_refused_with_what_to_try(tcp: TestClient, desk: Desk, path: str, body: Json) -> None:
    answer = tcp.post(path, json=body)
    assert (answer.status_code, answer.json()["code"], desk.asked) == (403, "api.local-only", [])
    assert "api.sock" in answer.json()["hint"]


def test_an_agent_and_the_peer_each_need_their_own_token_over_tcp(tcp: TestClient, desk: Desk) -> None:
    report = {"tick": 1, "changes": [], "measures": []}
    agent, peer = ({"authorization": f"Bearer {token}"} for token in ("agent-secret", "peer-secret"))
    assert tcp.post("/v1/agents/witness/report", json=report).status_code == 403
    assert tcp.post("/v1/agents/witness/report", json=report, headers=peer).status_code == 403
    assert tcp.post("/v1/agents/witness/report", json=report, headers=agent).status_code == 200
    assert tcp.get("/v1/journal/checkpoint", headers=agent).status_code == 403
    assert tcp.get("/v1/journal/east/entries?start=3", headers=peer).json()["entries"] == [
        {"site": "east", "number": 3}
    ]
    assert tcp.post("/v1/agents/east/findings", json={"signals": []}, headers=peer).status_code == 403
    assert tcp.post("/v1/agents/east/findings", json={"signals": []}, headers=agent).status_code == 200
    assert desk.asked == [("report", "witness", report), ("findings", "east", {"signals": []})]


def test_an_approval_passes_any_door_because_its_signature_is_the_proof(tcp: TestClient, desk: Desk) -> None:
    body = {"person": "kim", "plan_hash": "h", "expires_at": "2026-01-01T00:00:00Z", "signature": "good"}
    assert tcp.post("/v1/recovery/runs/run-1/approvals", json=body).status_code == 200
    refused = tcp.post("/v1/recovery/runs/run-1/approvals", json={**body, "signature": "forged"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "the signature is not that person's")
    assert refused.headers["content-type"] == "application/problem+json"


def test_no_quorum_is_told_as_unavailable_not_as_a_mistake_of_the_caller(unix: TestClient) -> None:
    answer = unix.post("/v1/recovery/runs/run-1/start", json={"by": "kim"})
    assert (answer.status_code, answer.json()["code"]) == (503, "etcd.no-quorum")


def test_a_bad_body_names_every_wrong_field(unix: TestClient) -> None:
    answer = unix.post("/v1/incidents/i-1/ack", json={"by": "", "minutes": -1, "note": "x"})
    assert answer.status_code == 422
    for field in ("body.by", "body.comment", "body.minutes", "body.note"):
        assert field in answer.json()["detail"]


def test_events_are_server_sent_status_frames(unix: TestClient) -> None:
    assert unix.get("/v1/events").text == 'event: status\ndata: {"as_of": 1}\n\n'


def test_receipts_have_a_door_of_their_own_that_leads_nowhere_else(platform: Platform, desk: Desk) -> None:
    door = TestClient(Door(build_receipts(platform), TCP))
    token = {"authorization": "Bearer receipts-secret"}
    assert door.post("/v1/receipts", json={"door": "street"}).status_code == 403
    assert door.post("/v1/receipts", json={"door": "street"}, headers=token).json() == {"taken": 0}
    assert (door.get("/v1/status", headers=token).status_code, desk.asked) == (404, [("take", "street")])


@pytest.mark.parametrize("body", [b"[]", b"{", b" " * (RECEIPTS_BYTES_MAX + 1)])
def test_a_body_that_is_no_batch_is_one_clear_error(platform: Platform, desk: Desk, body: bytes) -> None:
    token = {"authorization": "Bearer receipts-secret"}
    answer = TestClient(Door(build_receipts(platform), TCP)).post("/v1/receipts", content=body, headers=token)
    assert (answer.status_code, desk.asked) == (400, [])
    assert answer.json()["code"] in ("api.bad-request", "api.too-large")
