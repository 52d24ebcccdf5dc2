"""People at the real sites: they sign in with their keys, are let in by their role, and hold at the other site too."""

from __future__ import annotations

import httpx
import pytest

from ncia.cli.client import Api
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.requests.pki import FOLDER, SitePki
from ncia.lab.exercise import wait_until
from ncia.lab.people import console_link, signed_in
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, SOON, WITNESS, Scene


def door(scene: Scene, site: str) -> str:
    """Where people reach a site over TCP."""
    return Api(scene.api(site).address).console()


@pytest.mark.lab(first=True)
def test_a_session_of_one_site_holds_at_the_other(scene: Scene) -> None:
    before = scene.mark()
    session = signed_in(scene.lab, DAEJEON, "choi", door(scene, DAEJEON)).session
    assert session is not None
    elsewhere = Api(door(scene, GWANGJU), session=session)

    def known() -> bool:
        return bool(elsewhere.get("/v1/me")["name"] == "choi")

    wait_until("Gwangju knows who signed in at Daejeon", known, SOON)
    assert elsewhere.get("/v1/status")["site"] == GWANGJU
    with pytest.raises(Refusal, match="choi is auditor"):
        elsewhere.post("/v1/backups/prove")
    opened = scene.entries(GWANGJU, before, "session.opened")
    assert [entry["body"]["person"] for entry in opened] == ["choi"]
    assert session.secret not in str(opened)


@pytest.mark.lab(first=True)
def test_a_stranger_is_told_nothing_but_that_the_site_lives(scene: Scene) -> None:
    stranger = Api(door(scene, DAEJEON))
    assert set(stranger.get("/v1/health")) == {"site", "release", "journal_size"}
    with pytest.raises(NciaError, match="nobody is signed in"):
        stranger.get("/v1/status")


@pytest.mark.lab(first=True)
def test_the_address_that_the_lab_prints_opens_the_console_once(scene: Scene) -> None:
    address, _, code = console_link(scene.lab, DAEJEON, "kim").partition("/sign-in#")
    with httpx.Client(base_url=address, follow_redirects=True) as browser:
        shown = browser.get("/", headers={"accept": "text/html"})
        assert shown.url.path == "/sign-in"
        assert browser.post("/v1/sign-in/exchange", json={"code": code}).json()["person"] == "kim"
        assert 'id="first-status"' in browser.get("/").text
    with httpx.Client(base_url=address) as another:
        assert another.post("/v1/sign-in/exchange", json={"code": code}).status_code == 401


@pytest.mark.lab(first=True)
def test_the_journal_says_who_asked_for_what(scene: Scene) -> None:
    before = scene.mark()
    operator = signed_in(scene.lab, DAEJEON, "park", door(scene, DAEJEON))
    with pytest.raises(NciaError, match="no such incident"):
        operator.post("/v1/incidents/none-1/ack", {"comment": "on it", "minutes": 5})
    (made,) = scene.entries(DAEJEON, before, "request.made")
    asked = {key: made["body"][key] for key in ("request", "by", "role", "door", "why")}
    assert asked == {
        "request": "POST /v1/incidents/none-1/ack",
        "by": "park",
        "role": "operator",
        "door": "tcp",
        "why": "on it",
    }


@pytest.mark.lab(first=True)
def test_the_wire_answers_nobody_without_a_certificate_of_the_estate(scene: Scene) -> None:
    wire = scene.lab.estate().sites[DAEJEON].services.api
    for scheme in ("http", "https"):
        with httpx.Client(verify=False) as stranger, pytest.raises(httpx.TransportError):  # noqa: S501 - believes anybody
            stranger.get(f"{scheme}://{wire}/v1/health")


def test_certificates_are_renewed_under_way_and_nothing_is_noticed(scene: Scene) -> None:
    before = scene.mark()
    for site in (*CENTRES, WITNESS):
        SitePki(scene.lab.settings(site).secrets / FOLDER, site).renew(SystemClock().now(), every=True)
    for site in CENTRES:
        scene.lab.stop(site, "serve")
        scene.lab.start(site, "serve")  # dials and is dialled anew, with new certificates on one side or both
    scene.wait_until_whole()
    assert scene.api(DAEJEON).get("/v1/health")["journal_size"] > before.sizes[DAEJEON]
