"""What the routes answer, over a platform of fakes with real accounts."""

from __future__ import annotations

import pytest

from ncia.api.guard import BODY_BYTES_MAX
from ncia.api.machines import HEALTH, RECEIPTS, RECEIPTS_BYTES_MAX, REPORT
from ncia.api.routes import build_receipts
from ncia.core.requests.caller import AGENT, LOCAL, PEER
from tests.api.world import AGENCY, OF_AGENCY, RECEIPTS_TOKEN, World, estate

PROBLEM = "application/problem+json"


def test_an_agent_and_the_peer_each_need_their_own_certificate(world: World) -> None:
    report = {"tick": 1, "changes": [], "measures": []}
    agent, peer = world.client(AGENT), world.client(PEER)
    assert world.client().post("/v1/agents/witness/report", json=report).status_code == 401
    assert peer.post("/v1/agents/witness/report", json=report).status_code == 403
    assert agent.post("/v1/agents/witness/report", json=report).status_code == 200
    other = agent.post("/v1/agents/gwangju/report", json=report)
    assert (other.status_code, other.json()["code"]) == (403, "api.other-vantage")
    assert agent.get("/v1/journal/checkpoint").status_code == 403
    assert peer.get("/v1/journal/east/entries?start=3").json()["entries"] == [{"site": "east", "number": 3}]
    assert world.desk.asked == [("report", "witness", report)]


def test_a_report_that_is_no_json_object_is_told_as_that(world: World) -> None:
    for body in (b"{", b"[]"):
        answer = world.client(AGENT).post("/v1/agents/witness/report", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "api.bad-report")


def test_receipts_have_a_door_of_their_own_that_leads_nowhere_else(world: World) -> None:
    application = build_receipts(world.platform())
    stranger, street = (world.at_the_street(token, application) for token in ("wrong", RECEIPTS_TOKEN))
    assert stranger.post("/v1/receipts", json={"door": "street"}).status_code == 401
    assert street.post("/v1/receipts", json={"door": "street"}).json() == {"taken": 0}
    assert (street.get("/v1/status").status_code, world.desk.asked) == (403, [("take", "street")])
    assert world.as_person("jung").post("/v1/receipts", json={"door": "street"}).json()["code"] == "api.role"


@pytest.mark.parametrize(
    ("body", "status"), [(b"[]", 400), (b"{", 400), (b" " * (RECEIPTS_BYTES_MAX + 1), 413)], ids=["list", "cut", "long"]
)
def test_a_body_that_is_no_batch_is_one_clear_error(world: World, body: bytes, status: int) -> None:
    answer = world.at_the_street(RECEIPTS_TOKEN).post("/v1/receipts", content=body)
    assert (answer.status_code, world.desk.asked) == (status, [])


def test_a_worker_writes_under_its_certificate(world: World) -> None:
    worker = world.at_the_wire("worker.daejeon.ncia")
    told = {"job": "backup-1", "fence": 1, "by": "kim", "kind": "backup.started", "version": 1, "body": {}}
    assert worker.post("/v1/jobs/entries", json=told).json() == {"written": True}
    assert world.at_the_wire("worker.gwangju.ncia").post("/v1/jobs/entries", json=told).status_code == 403
    assert world.desk.asked == [("append", "backup-1", 1, "kim")]


def test_an_approval_is_taken_from_whoever_is_signed_in_and_its_signature_is_the_proof(world: World) -> None:
    body = {"person": "kim", "plan_hash": "h", "expires_at": "2026-01-01T00:00:00Z", "signature": "good"}
    client = world.as_person("kim")
    assert client.post("/v1/recovery/runs/run-1/approvals", json=body).status_code == 200
    refused = client.post("/v1/recovery/runs/run-1/approvals", json={**body, "signature": "forged"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "the signature is not that person's")
    assert refused.headers["content-type"] == PROBLEM


def test_the_approval_of_a_suspended_person_does_not_count_at_any_door(world: World) -> None:
    world.accounts.suspend("kim", "jung", "on leave")
    body = {"person": "kim", "plan_hash": "h", "expires_at": "2026-01-01T00:00:00Z", "signature": "good"}
    answer = world.client(LOCAL).post("/v1/recovery/runs/run-1/approvals", json=body)
    assert (answer.status_code, answer.json()["code"], world.desk.asked) == (403, "account.suspended", [])


def test_no_quorum_is_told_as_unavailable_not_as_a_mistake_of_the_caller(world: World) -> None:
    answer = world.client(LOCAL).post("/v1/recovery/runs/run-1/start", json={"by": "kim"})
    assert (answer.status_code, answer.json()["code"]) == (503, "etcd.no-quorum")


def test_a_bad_body_names_every_wrong_field(world: World) -> None:
    answer = world.client(LOCAL).post("/v1/incidents/i-1/ack", json={"by": 1, "minutes": -1, "note": "x"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    for field in ("body.by", "body.comment", "body.minutes", "body.note"):
        assert field in answer.json()["detail"]


def test_at_the_unix_socket_a_person_is_named_and_over_tcp_it_is_who_signed_in(world: World) -> None:
    world.client(LOCAL).post("/v1/recovery/runs/run-1/stop", json={"by": "lee", "reason": "look first"})
    world.as_person("kim").post("/v1/recovery/runs/run-1/stop", json={"reason": "wrong site"})
    nobody = world.client(LOCAL).post("/v1/recovery/runs/run-1/stop", json={"reason": "?"})
    assert world.desk.asked == [("stop", "run-1", "lee", "look first"), ("stop", "run-1", "kim", "wrong site")]
    assert (nobody.status_code, nobody.json()["code"]) == (409, "api.no-name")
    assert [(e.by, e.body.why) for e in world.written("request.made")][:2] == [
        ("lee", "look first"),
        ("kim", "wrong site"),
    ]


def test_a_session_at_the_unix_socket_is_that_person_with_their_rights_only(world: World) -> None:
    client = world.client(LOCAL)
    client.headers["authorization"] = f"Bearer {world.sign_in('choi').secret}"
    assert client.get("/v1/me").json()["name"] == "choi"
    assert client.post("/v1/backups/prove", json={}).json()["code"] == "api.role"


def test_every_answer_of_the_router_itself_is_a_problem_too(world: World) -> None:
    client = world.client(LOCAL)
    for answer, status in (
        (client.get("/v1/nowhere"), 404),
        (client.delete("/v1/health"), 405),
        (client.get("/v1/journal/consistency"), 422),
        (client.get("/v1/tokens?limit=0"), 422),
        (client.get("/v1/tokens?start=-1"), 422),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        assert {"type", "title", "status", "detail", "code", "hint"} <= set(answer.json())


def test_a_body_without_end_is_refused(world: World) -> None:
    answer = world.as_person("jung").post("/v1/tokens", content=b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "api.too-long")


def test_lists_come_in_pages_of_the_same_form(world: World) -> None:
    client = world.client(LOCAL)
    told = client.get("/v1/recovery/runs?start=1&limit=1").json()
    assert told == {"runs": [{"run": "run-1"}], "start": 1, "limit": 1, "total": 3}
    for path, name in (("/v1/incidents", "incidents"), ("/v1/people", "people"), ("/v1/tokens", "tokens")):
        assert set(client.get(path).json()) == {name, "start", "limit", "total"}


def test_the_document_is_openapi_3_1_and_says_of_each_route_who_may_and_how_it_fails(world: World) -> None:
    told = world.as_person("choi").get("/v1/openapi.json").json()
    assert told["openapi"].startswith("3.1.")
    operations = [operation for methods in told["paths"].values() for operation in methods.values()]
    assert all("application/problem+json" in each["responses"]["default"]["content"] for each in operations)
    assert all(each["x-ncia-may"] for each in operations)
    assert told["paths"]["/v1/health"]["get"]["security"] == []
    assert told["paths"]["/v1/tokens"]["post"]["x-ncia-may"] == ["admin", "local"]


# --- somebody of one agency ------------------------------------------------------------------------------------------


def test_somebody_of_an_agency_sees_its_systems_and_nothing_else(world: World) -> None:
    client = world.as_person(OF_AGENCY)
    assert estate().systems_of([AGENCY]) == {"hometax"}
    status = client.get("/v1/status").json()
    assert [system["id"] for system in status["systems"]] == ["hometax"]
    assert status["incidents"] == [{"id": "i-1", "systems": ["hometax"]}]
    assert [step["id"] for step in status["runs"][0]["steps"]] == ["fence", "hometax/promote"]
    assert (status["proofs"], status["secret_of_tomorrow"]) == ([], [])
    assert client.get("/v1/incidents").json()["total"] == 1
    assert client.get("/v1/backups").json()["datasets"] == [{"dataset": "hometax/rows"}]
    assert client.get("/v1/reports/continuity").json()["systems"] == [{"id": "hometax"}]
    assert "g2b" not in client.get("/").text
    assert "g2b" not in client.get("/v1/events").text


def test_somebody_of_the_whole_estate_sees_all_of_it(world: World) -> None:
    client = world.as_person("choi")
    assert [system["id"] for system in client.get("/v1/status").json()["systems"]] == ["hometax", "g2b"]
    assert "secret_of_tomorrow" in client.get("/v1/events").text


def test_somebody_of_an_agency_gets_its_reports_without_naming_it_and_no_others(world: World) -> None:
    client = world.as_person(OF_AGENCY)
    assert client.get("/v1/reports/backup").json()["agency"] == AGENCY
    assert client.post("/v1/reports/loss", json={"run": "run-1"}).status_code == 200
    assert world.desk.asked == [("loss", "run-1", "", "", AGENCY, OF_AGENCY)]
    for answer in (
        client.get("/v1/reports/backup?agency=patent-office"),
        client.get("/v1/reports/backup.html?agency=patent-office"),
        client.post("/v1/reports/loss", json={"run": "run-1", "agency": "patent-office"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "api.agency")


def test_an_operator_of_an_agency_asks_for_its_datasets_and_incidents_only(world: World) -> None:
    client = world.as_person("seo")  # of Gangnam District
    for dataset in (None, "hometax/rows"):
        refused = client.post("/v1/backups/prove", json={"dataset": dataset})
        assert (refused.status_code, refused.json()["code"]) == (403, "api.agency")
    assert client.post("/v1/backups/prove", json={"dataset": "gangnam-tax/rows"}).status_code == 200
    refused = client.post("/v1/incidents/i-2/ack", json={"comment": "on it", "minutes": 5})
    assert (refused.status_code, refused.json()["code"]) == (403, "api.agency")
    assert world.desk.asked == [("prove", "gangnam-tax/rows", "seo")]


def test_the_retention_officer_alone_lets_snapshots_go_and_says_why(world: World) -> None:
    ask = {"agency": AGENCY, "remove_max": 3, "reason": "the rule is meant so"}
    assert world.as_person("kim").post("/v1/backups/forget", json=ask).json()["code"] == "api.role"
    officer = world.as_person("han")
    assert officer.post("/v1/backups/forget", json={**ask, "reason": " "}).json()["code"] == "api.no-reason"
    assert officer.post("/v1/backups/forget", json={"agency": AGENCY}).json() == {"would_go": 3}
    assert officer.post("/v1/backups/forget", json=ask).status_code == 200
    assert world.client(LOCAL).post("/v1/backups/forget", json=ask).json()["code"] == "api.no-name"
    assert world.desk.asked == [
        ("forget", AGENCY, None, "", "han"),
        ("forget", AGENCY, 3, "the rule is meant so", "han"),
    ]


def test_anybody_reads_what_waits_for_the_retention_officer_and_lets_nothing_go(world: World) -> None:
    for name in ("kim", "park", "han"):
        told = world.as_person(name).get("/v1/backups/forget", params={"agency": AGENCY, "remove_max": 3})
        assert (told.status_code, told.json()) == (200, {"would_go": 3})
    assert [each[1:4] for each in world.desk.asked] == [(AGENCY, None, "")] * 3
    refused = world.as_person("seo").get("/v1/backups/forget", params={"agency": AGENCY})  # of another agency
    assert (refused.status_code, refused.json()["code"]) == (403, "api.agency")


# --- what a browser is told ------------------------------------------------------------------------------------------


def test_events_are_server_sent_status_frames(world: World) -> None:
    assert world.client(LOCAL).get("/v1/events").text.startswith('event: status\ndata: {"site": "east"')


@pytest.mark.parametrize("path", ["/", "/sign-in", "/v1/health", "/v1/status"])
def test_every_answer_tells_browsers_to_guess_frame_and_keep_nothing(world: World, path: str) -> None:
    headers = world.client().get(path).headers
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")


def test_a_browser_without_a_session_is_shown_how_to_sign_in(world: World) -> None:
    client = world.client()
    answer = client.get("/", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert client.get("/sign-in").status_code == 200
    assert client.get("/static/sign-in.js").status_code == 200
    assert client.get("/v1/status", headers={"accept": "application/json"}).status_code == 401


@pytest.mark.parametrize("key", [HEALTH, REPORT, RECEIPTS])
def test_what_machines_ask_every_second_is_a_route_as_well_and_told_in_the_document(world: World, key: str) -> None:
    method, path = key.split(" ")
    paths = world.client(LOCAL).get("/v1/openapi.json").json()["paths"]
    assert method.lower() in paths[path]
