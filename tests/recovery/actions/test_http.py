"""Applications and the front door over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, SiteKind
from recovery.actions.applications import HttpApplications
from recovery.actions.front_door import FrontDoor
from recovery.ports import Answer, Position
from tests.recovery.scene import SURVIVOR, estate

SHARE = SystemId("share")


@dataclass
class Web:
    """A server that answers what it is told to and remembers what it was asked."""

    port: int = 0
    answers: dict[str, tuple[int, dict[str, str], str]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    told = Web()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            told.asked.append((self.command, self.path, body, self.headers.get("authorization", "")))
            status, headers, text = told.answers.get(f"{self.command} {self.path}", (404, {}, "nothing here"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def estate_at(port: int) -> Estate:
    """The reference estate with share's application, entry and the front door's switch at ``port``, untranslated."""
    found, here = estate(), Address("127.0.0.1", port)
    share = found.systems[SHARE]
    applications = {**share.applications, SURVIVOR: replace(share.applications[SURVIVOR], address=here)}
    systems = {**found.systems, SHARE: replace(share, applications=applications, entry=here)}
    sites = {
        id: replace(site, seen_from={}, services=replace(site.services, traffic=here))
        if site.kind is SiteKind.PUBLIC
        else site
        for id, site in found.sites.items()
    }
    return replace(found, systems=systems, sites=sites)


def test_a_transaction_is_told_with_the_epoch_and_site_that_answered(web: Web) -> None:
    web.answers["POST /verify"] = (201, {"X-NCIA-Epoch": "2", "X-NCIA-Site": SURVIVOR}, '{"id": "x"}')
    assert HttpApplications(estate_at(web.port), SURVIVOR).verify(SHARE) == Answer(201, 2, SURVIVOR, '{"id": "x"}')


def test_an_answer_that_names_no_epoch_counts_as_none(web: Web) -> None:
    web.answers["GET /acts/latest"] = (200, {"X-NCIA-Epoch": "soon"}, "")
    assert HttpApplications(estate_at(web.port), SURVIVOR).read_from_outside(SHARE) == Answer(200, 0, "", "")


def test_an_application_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        HttpApplications(estate_at(9), SURVIVOR).verify(SHARE)


def test_the_switch_is_turned_with_its_token(web: Web) -> None:
    web.answers["PUT /switch/share"] = (200, {}, "{}")
    FrontDoor(estate_at(web.port), SURVIVOR, "open sesame").switch(SHARE, SURVIVOR, 2)
    method, path, body, bearer = web.asked[0]
    assert (method, path, json.loads(body)) == ("PUT", "/switch/share", {"site": SURVIVOR, "epoch": 2})
    assert bearer == "Bearer open sesame"


def test_the_switch_tells_where_everybody_is_sent(web: Web) -> None:
    web.answers["GET /switch"] = (200, {}, '{"share": {"site": "gwangju", "epoch": 2}}')
    assert FrontDoor(estate_at(web.port), SURVIVOR, "t").positions() == {SHARE: Position(SURVIVOR, 2)}


def test_a_newer_epoch_at_the_front_door_is_a_refusal(web: Web) -> None:
    web.answers["PUT /switch/share"] = (409, {}, '{"error": "epoch 3 is in force"}')
    with pytest.raises(Refusal, match="epoch 3 is in force"):
        FrontDoor(estate_at(web.port), SURVIVOR, "t").switch(SHARE, SURVIVOR, 2)


def test_a_wrong_token_is_an_error_that_does_not_tell_it(web: Web) -> None:
    web.answers["PUT /switch/share"] = (401, {}, "the switch's token is needed")
    with pytest.raises(NciaError, match="HTTP 401") as caught:
        FrontDoor(estate_at(web.port), SURVIVOR, "guessed").switch(SHARE, SURVIVOR, 2)
    assert "guessed" not in str(caught.value)
