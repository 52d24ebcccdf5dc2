"""Each route of the API, called as each standing, answers what the policy's table says. Generated from the routes."""

from __future__ import annotations

from typing import Any

import pytest

from ncia.api.policy import POLICY, methods_of, rule_of
from ncia.api.routes import build
from ncia.core.requests.caller import ANONYMOUS, LOCAL, STANDINGS
from tests.api.world import OF_AGENCY, PERSON_OF, World, application_of_all

PARTS = {
    "incident": "i-1",
    "vantage": "witness",
    "site": "east",
    "run": "run-1",
    "person": "seo",
    "token": "token-1",
    "serial": "2e00",
}
QUERIES = {
    "/v1/backups/forget": {"agency": "national-tax-service"},  # whose operator may look at that one alone
    "/v1/journal/consistency": {"first": 0, "second": 1},
    "/v1/jobs/retired": {"dataset": "hometax/rows", "store_site": "daejeon"},
}
APPROVAL = {"plan_hash": "h", "expires_at": "2026-01-01T00:00:00Z", "signature": "good"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/incidents/{incident}/ack": {"comment": "on it", "minutes": 30},
    "/v1/backups/write-off": {"agency": "national-tax-service", "reason": "lost"},
    "/v1/backups/forget": {"agency": "national-tax-service"},
    "/v1/agents/{vantage}/report": {"tick": 1, "changes": [], "measures": []},
    "/v1/recovery/plans": {"site": "east"},
    "/v1/recovery/runs/{run}/approvals": APPROVAL,
    "/v1/agents/{vantage}/findings": {"signals": []},
    "/v1/recovery/runs/{run}/stop": {"reason": "wrong site"},
    "/v1/recovery/runs/{run}/alone": {"reason": "nobody else will be asked"},
    "/v1/people/{person}/suspend": {"reason": "on leave"},
    "/v1/people/{person}/restore": {"reason": "back"},
    "/v1/certificates/{serial}/revoke": {"reason": "the host was lost"},
    "/v1/jobs/cancel": {"job": "backup-1"},
    "/v1/jobs/entries": {"job": "backup-1", "fence": 1, "by": "x", "kind": "backup.started", "version": 1, "body": {}},
    "/v1/receipts": {"door": "street"},
    "/v1/tokens": {"name": "graphs", "role": "auditor", "days": 1},
    "/v1/tokens/{token}/revoke": {"reason": "no more graphs"},
    "/v1/sign-in/sessions": {"challenge": "c", "signature": "s"},
    "/v1/sign-in/exchange": {"code": "c"},
}
DOCUMENT = "GET /v1/openapi.json"  # which does not list itself
WAITING = "POST /v1/journal/swear"  # answered while the controller waits for its own tail (ncia.app.waiting)
NOT_LET_IN = {"api.no-credential", "api.role", "api.agency", "api.signed-out"}


def routes_of() -> list[tuple[str, str]]:
    """Every method and path that the application has, by its own document."""
    paths = application_of_all().openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def ask(world: World, client: Any, method: str, path: str, standing: str) -> Any:
    url = path
    for name, value in PARTS.items():
        url = url.replace(f"{{{name}}}", value)
    body = dict(BODIES.get(path, {}))
    if path.endswith("/approvals"):
        body["person"] = client.get("/v1/me").json().get("name", "kim") if standing != LOCAL else "kim"
    elif standing == LOCAL and POLICY[f"{method} {path}"].written:
        body["by"] = "jung"
    if method == "GET":
        return client.get(url, params=QUERIES.get(path, {}))
    return client.request(method, url, json=body)


def test_every_route_has_a_policy_and_every_policy_a_route() -> None:
    assert {f"{method} {path}" for method, path in routes_of()} | {DOCUMENT, WAITING} == set(POLICY)


@pytest.mark.parametrize("route", POLICY)
def test_each_route_answers_each_standing_as_the_table_says(world: World, route: str) -> None:
    for standing in STANDINGS:
        if route != WAITING or standing != LOCAL:
            judge(world, route, standing)


def judge(world: World, route: str, standing: str) -> None:
    method, path = route.split(" ", 1)
    answer = ask(world, world.client(standing), method, path, standing)
    may = standing in POLICY[route].may
    problem = answer.json() if answer.headers["content-type"] == "application/problem+json" else {}
    if may:
        assert problem.get("code", "") not in NOT_LET_IN, standing
        assert answer.status_code < 300 or problem["code"], answer.text
        assert (answer.status_code, problem.get("code")) != (422, "api.bad-request"), answer.text
    elif standing == ANONYMOUS:
        assert (answer.status_code, problem["code"]) == (401, "api.no-credential"), standing
        assert answer.headers["www-authenticate"].startswith("Bearer")
    else:
        assert (answer.status_code, problem["code"]) == (403, "api.role"), standing


@pytest.mark.parametrize("route", POLICY)
def test_what_cannot_be_cut_to_an_agency_is_refused_to_whoever_sees_one_agency_only(world: World, route: str) -> None:
    method, path = route.split(" ", 1)
    rule = POLICY[route]
    if world.role_of(OF_AGENCY) not in rule.may:
        return
    answer = ask(world, world.as_person(OF_AGENCY), method, path, "")
    refused = answer.status_code == 403 and answer.json()["code"] == "api.agency"
    assert refused == (rule.scope == "whole"), answer.text


def who_may(route: str) -> str:
    """An admin, but for what even they may not."""
    return next(role for role in ("admin", *PERSON_OF) if role in POLICY[route].may)


@pytest.mark.parametrize("route", [route for route, rule in POLICY.items() if rule.written])
def test_what_changes_something_is_an_entry_before_it_is_done(world: World, route: str) -> None:
    method, path = route.split(" ", 1)
    role = who_may(route)
    client = world.client(role)
    ask(world, client, method, path, role)
    made = [entry for entry in world.written("request.made") if entry.body.role == role]
    assert [(entry.by, entry.body.door) for entry in made] == [(PERSON_OF[role], "tcp")]
    assert made[0].body.request.startswith("POST /v1/")


@pytest.mark.parametrize("route", [route for route, rule in POLICY.items() if rule.written])
def test_whoever_is_signed_in_asks_in_no_other_name(world: World, route: str) -> None:
    method, path = route.split(" ", 1)
    client = world.client(who_may(route))
    url = path
    for name, value in PARTS.items():
        url = url.replace(f"{{{name}}}", value)
    named = {"person": "kim"} if path.endswith("/approvals") else {"by": "kim"}
    answer = client.request(method, url, json={**BODIES.get(path, {}), **named})
    assert (answer.status_code, answer.json()["code"], world.desk.asked) == (403, "api.other-person", [])


def test_a_route_that_the_table_does_not_know_is_there_for_the_unix_socket_only(world: World) -> None:
    world.application = build(world.given)
    world.application.add_api_route("/v1/forgotten", lambda: {"told": "everything"})
    for standing in STANDINGS:
        answer = world.client(standing).get("/v1/forgotten")
        assert answer.status_code == (200 if standing == LOCAL else 404), standing


def test_a_path_with_another_method_is_405_and_names_those_it_has(world: World) -> None:
    for standing in (LOCAL, "admin"):
        answer = world.client(standing).delete("/v1/tokens")
        assert (answer.status_code, answer.json()["code"]) == (405, "api.method")
        assert "GET" in answer.headers["allow"]


def test_the_table_finds_a_path_by_its_parts() -> None:
    assert rule_of("GET", "/v1/recovery/runs/run-1") is POLICY["GET /v1/recovery/runs/{run}"]
    assert rule_of("HEAD", "/v1/health") is POLICY["GET /v1/health"]
    assert rule_of("GET", "/v1/recovery/runs/run-1/x") is None
    assert methods_of("/v1/tokens") == ("GET", "POST")
