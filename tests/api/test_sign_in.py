"""Signing in and out as a person and a browser do, over the routes; and that no secret stays anywhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ncia.api.guard import COOKIE
from ncia.core.requests.challenges import CHALLENGE_VALID, FAILURES_MAX, FAILURES_WITHIN
from tests.api.world import DAEJEON, GWANGJU, World, estate
from tests.core.journal.sites import JournalSource


def sign_in(world: World, person: str):
    client = world.client()
    asked = client.post("/v1/sign-in/challenges").json()
    body = {"challenge": asked["challenge"], "signature": world.signature(person, asked["challenge"])}
    return client.post("/v1/sign-in/sessions", json=body)


def test_a_person_signs_in_with_their_key_asks_and_signs_out(world: World) -> None:
    told = sign_in(world, "kim").json()
    client = world.client()
    client.headers["authorization"] = f"Bearer {told['secret']}"
    me = client.get("/v1/me").json()
    assert (me["name"], me["role"], me["kind"], me["expires_at"]) == ("kim", "on-call", "session", told["expires_at"])
    assert client.post("/v1/sign-out").status_code == 200
    assert client.get("/v1/me").json()["code"] == "api.signed-out"
    assert [entry.kind for entry in world.journal.entries(DAEJEON)] == ["session.opened", "session.closed"]


def test_a_session_ends_by_itself(world: World) -> None:
    client = world.as_person("kim")
    world.clock.moment += timedelta(seconds=estate().settings.session_valid_seconds)
    answer = client.get("/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (401, "api.signed-out")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda w, c: {"challenge": c, "signature": w.signature("stranger", c)}, "is not known"),
        (lambda w, c: {"challenge": c, "signature": w.signature("kim", c + "x")}, "not this key's signature"),
        (lambda w, c: {"challenge": c[:-1], "signature": w.signature("kim", c[:-1])}, "not one of this controller"),
        (lambda w, c: {"challenge": c, "signature": "AAAA"}, "does not begin with"),
    ],
    ids=["a stranger's key", "another challenge signed", "a forged challenge", "no signature at all"],
)
def test_what_does_not_prove_who_it_is_is_refused_and_written(world: World, spoil, why: str) -> None:
    client = world.client()
    challenge = client.post("/v1/sign-in/challenges").json()["challenge"]
    answer = client.post("/v1/sign-in/sessions", json=spoil(world, challenge))
    assert answer.status_code == 401
    assert why in answer.json()["detail"]
    (written,) = world.written("sign-in.refused")
    assert why in written.body.reason


def test_a_challenge_is_good_once_and_not_for_long(world: World) -> None:
    client = world.client()
    challenge = client.post("/v1/sign-in/challenges").json()["challenge"]
    body = {"challenge": challenge, "signature": world.signature("kim", challenge)}
    assert client.post("/v1/sign-in/sessions", json=body).status_code == 200
    assert "used before" in client.post("/v1/sign-in/sessions", json=body).json()["detail"]
    challenge = client.post("/v1/sign-in/challenges").json()["challenge"]
    world.clock.moment += CHALLENGE_VALID
    body = {"challenge": challenge, "signature": world.signature("kim", challenge)}
    assert "expired" in client.post("/v1/sign-in/sessions", json=body).json()["detail"]


def test_who_fails_too_often_waits_and_locks_out_nobody_else(world: World) -> None:
    client = world.client()
    body = {"challenge": "c", "signature": "s"}
    statuses = [client.post("/v1/sign-in/sessions", json=body).status_code for _ in range(FAILURES_MAX + 1)]
    assert statuses == [401] * FAILURES_MAX + [429]
    answer = client.post("/v1/sign-in/sessions", json=body)
    assert (answer.json()["code"], answer.headers["retry-after"]) == ("sign-in.too-many", "60")
    assert world.sign_in("kim", source="10.9.9.9").person == "kim"  # from elsewhere, as the same person
    world.clock.moment += FAILURES_WITHIN
    assert sign_in(world, "kim").status_code == 200


def test_strangers_cannot_fill_the_journal(world: World) -> None:
    for n in range(100):
        with pytest.raises(Exception, match="sign in"):
            world.accounts.sign_in("c", "s", f"10.0.{n}.1")
    assert len(world.written("sign-in.refused")) == 30


def test_a_session_opened_at_one_site_holds_at_the_other_when_the_first_is_gone(world: World, tmp_path: Path) -> None:
    opened = world.sign_in("kim")
    (tmp_path / "w").mkdir()
    other = World(tmp_path / "w", GWANGJU)
    source = JournalSource(world.journal)
    other.journal.accept_peer(source.entries(0, 100), source.checkpoint())
    client = other.client()
    client.headers["authorization"] = f"Bearer {opened.secret}"
    assert client.get("/v1/me").json()["name"] == "kim"
    other.journal.close()


# --- the browser -----------------------------------------------------------------------------------------------------


def test_a_link_opens_one_browser_session_once(world: World) -> None:
    told = world.as_person("kim").post("/v1/sign-in/links").json()
    browser = world.client()
    answer = browser.post("/v1/sign-in/exchange", json={"code": told["code"]})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.json()["person"] == "kim"
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert browser.get("/v1/me").json()["name"] == "kim"
    again = world.client().post("/v1/sign-in/exchange", json={"code": told["code"]})
    assert (again.status_code, again.json()["code"]) == (401, "sign-in.link")


def test_a_link_is_too_old_after_a_while(world: World) -> None:
    code = world.as_person("kim").post("/v1/sign-in/links").json()["code"]
    world.clock.moment += timedelta(minutes=10)
    assert world.client().post("/v1/sign-in/exchange", json={"code": code}).status_code == 401


def test_only_a_person_who_is_signed_in_gets_a_link(world: World) -> None:
    assert world.client("local").post("/v1/sign-in/links").json()["code"] == "sign-in.no-session"


def browser_of(world: World, person: str):
    browser = world.client()
    code = world.as_person(person).post("/v1/sign-in/links").json()["code"]
    browser.post("/v1/sign-in/exchange", json={"code": code})
    assert browser.cookies[COOKIE]
    return browser


def test_a_browsers_session_changes_something_from_our_own_page_only(world: World) -> None:
    browser = browser_of(world, "jung")
    body = {"reason": "on leave"}
    for headers in ({}, {"origin": "https://elsewhere.example"}, {"origin": "null"}):
        answer = browser.post("/v1/people/seo/suspend", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "api.cross-site")
    assert browser.post("/v1/people/seo/suspend", json=body, headers={"origin": "http://console"}).status_code == 200


def test_nobody_becomes_somebody_else_in_a_browser_by_following_a_link(world: World) -> None:
    browser = browser_of(world, "kim")
    code = world.as_person("choi").post("/v1/sign-in/links").json()["code"]
    answer = browser.post("/v1/sign-in/exchange", json={"code": code}, headers={"origin": "http://console"})
    assert (answer.status_code, answer.json()["code"]) == (409, "sign-in.somebody-else")


def test_a_cookie_that_ran_out_is_no_error_but_the_way_to_sign_in(world: World) -> None:
    browser = browser_of(world, "kim")
    world.clock.moment += timedelta(days=1)
    assert browser.get("/", headers={"accept": "text/html"}).headers["location"] == "/sign-in"
    assert browser.get("/v1/health").status_code == 200


def test_the_stream_ends_with_the_session(world: World) -> None:
    client = world.as_person("kim")
    world.between_frames = lambda: world.accounts.suspend("kim", "jung", "on leave")
    assert client.get("/v1/events").text.count("event: status") == 1
    assert world.as_person("lee").get("/v1/events").text.count("event: status") == 2


# --- accounts and tokens ---------------------------------------------------------------------------------------------


def test_a_suspended_account_is_signed_out_at_once_and_cannot_sign_in_until_restored(world: World) -> None:
    admin, client = world.as_person("jung"), world.as_person("park")
    assert admin.post("/v1/people/park/suspend", json={"reason": "on leave"}).json()["state"] == "suspended"
    assert client.get("/v1/status").status_code == 401
    assert (sign_in(world, "park").status_code, sign_in(world, "park").json()["code"]) == (403, "account.suspended")
    park = next(p for p in admin.get("/v1/people").json()["people"] if p["id"] == "park")
    assert (park["suspended"], park["sessions"]) == ("on leave", 0)
    admin.post("/v1/people/park/restore", json={"reason": "back"})
    assert client.get("/v1/status").status_code == 401  # the old session does not come back
    assert sign_in(world, "park").status_code == 200


def test_the_last_two_who_can_approve_cannot_be_suspended(world: World) -> None:
    world.accounts.suspend("kim", "jung", "on leave")
    answer = world.as_person("jung").post("/v1/people/lee/suspend", json={"reason": "too"})
    assert (answer.status_code, answer.json()["code"]) == (409, "account.last-approvers")


def test_a_token_asks_with_its_role_and_agencies_until_it_is_revoked(world: World) -> None:
    admin = world.as_person("jung")
    body = {"name": "graphs", "role": "auditor", "agencies": ["national-tax-service"], "days": 1}
    told = admin.post("/v1/tokens", json=body).json()
    machine = world.client()
    machine.headers["authorization"] = f"Bearer {told['secret']}"
    assert machine.get("/v1/me").json()["name"] == "token:graphs"
    assert [s["id"] for s in machine.get("/v1/status").json()["systems"]] == ["hometax"]
    assert machine.post("/v1/backups/prove", json={}).json()["code"] == "api.role"
    listed = admin.get("/v1/tokens").json()["tokens"]
    assert (listed[0]["state"], "sha256" in listed[0], "secret" in listed[0]) == ("good", False, False)
    admin.post(f"/v1/tokens/{told['token']}/revoke", json={"reason": "no more graphs"})
    assert machine.get("/v1/status").status_code == 401
    assert admin.get("/v1/tokens").json()["tokens"][0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"role": "admin"}, 409, "token.role"),
        ({"role": "on-call"}, 409, "token.role"),
        ({"agencies": ["nowhere"]}, 404, "token.no-such-agency"),
        ({"days": 4000}, 422, "api.bad-request"),
        ({"name": "Not A Name"}, 422, "api.bad-request"),
    ],
)
def test_a_token_that_cannot_be_is_refused(world: World, body: dict, status: int, code: str) -> None:
    answer = world.as_person("jung").post("/v1/tokens", json={"name": "x", "role": "auditor", "days": 1, **body})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_token_expires(world: World) -> None:
    told = world.accounts.issue("graphs", "operator", (), 1, "jung")
    world.clock.moment += timedelta(days=1)
    client = world.client()
    client.headers["authorization"] = f"Bearer {told['secret']}"
    assert client.get("/v1/status").status_code == 401
    assert world.accounts.tokens()[0]["state"] == "expired"


def test_no_secret_is_found_in_the_journal_its_file_the_log_or_an_error(world: World, tmp_path: Path) -> None:
    with capture_logs() as logs:
        opened = sign_in(world, "kim").json()
        client = world.client()
        client.headers["authorization"] = f"Bearer {opened['secret']}"
        code = client.post("/v1/sign-in/links").json()["code"]
        browser = world.client()
        browser.post("/v1/sign-in/exchange", json={"code": code})
        token = world.as_person("jung").post("/v1/tokens", json={"name": "x", "role": "auditor", "days": 1}).json()
        errors = [
            world.client().get("/v1/me", headers={"authorization": f"Bearer {secret}"}).text
            for secret in (opened["secret"] + "x", token["secret"] + "x")
        ]
        errors.append(world.client().post("/v1/sign-in/exchange", json={"code": code}).text)
        client.post("/v1/sign-out")
    secrets = [opened["secret"], code, browser.cookies[COOKIE], token["secret"]]
    told = repr(logs) + "".join(errors) + repr(world.journal.entries(DAEJEON))
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert kept
    for secret in secrets:
        assert secret not in told
        assert secret.encode() not in kept


# --- machines at the wire --------------------------------------------------------------------------------------------


def test_a_certificate_says_which_machine_asks(world: World) -> None:
    me = {name: world.at_the_wire(name).get("/v1/me").json() for name in ("serve.gwangju.ncia", "agent.witness.ncia")}
    assert [(m["name"], m["role"], m["kind"]) for m in me.values()] == [
        ("serve.gwangju.ncia", "peer", "certificate"),
        ("agent.witness.ncia", "agent", "certificate"),
    ]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("serve.daejeon.ncia", "api.stranger"),  # ourselves
        ("serve.witness.ncia", "api.stranger"),  # no centre
        ("agent.nowhere.ncia", "api.stranger"),
        ("serve.gwangju.example", "api.no-credential"),
        ("", "api.no-credential"),
    ],
)
def test_other_certificates_are_nobodys(world: World, name: str, code: str) -> None:
    assert world.at_the_wire(name).get("/v1/journal/checkpoint").json()["code"] == code


def test_nobody_signs_in_or_shows_a_session_at_the_wire(world: World) -> None:
    client = world.at_the_wire("agent.witness.ncia")
    client.headers["authorization"] = f"Bearer {world.sign_in('jung').secret}"
    assert client.get("/v1/me").json()["name"] == "agent.witness.ncia"
    assert client.get("/v1/tokens").json()["code"] == "api.role"


def test_a_revoked_certificate_counts_at_neither_site(world: World) -> None:
    agent = world.at_the_wire("agent.witness.ncia", "0ABC")
    assert agent.get("/v1/me").status_code == 200
    answer = world.as_person("jung").post("/v1/certificates/abc/revoke", json={"reason": "the host was lost"})
    assert answer.json() == {"serial": "abc", "state": "revoked"}
    refused = agent.get("/v1/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "api.revoked")
    assert world.at_the_wire("agent.witness.ncia", "0ABD").get("/v1/me").status_code == 200
    told = world.as_person("choi").get("/v1/certificates/revoked").json()["revoked"]
    assert [(each["serial"], each["by"]) for each in told] == [("abc", "jung")]
