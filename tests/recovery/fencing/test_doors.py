"""The warden's doors over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import Address
from recovery.fencing.claims import Claims, WardenControl
from recovery.fencing.doors import PeerDoor, open_control, open_peer
from recovery.fencing.files import Standing
from tests.ports import free_ports
from tests.recovery.fencing.test_warden import EAST, TAX, WEST, Site

TOKEN = "a-token-of-the-test"


class Open:
    """A warden of ``east`` that serves both doors and passes on demand."""

    def __init__(self, run: Path) -> None:
        self.site = Site(run)
        self.address = Address("127.0.0.1", free_ports(1)[0])
        self.doors = [
            open_control(run / "warden.sock", self.site.warden),
            open_peer(self.address, TOKEN, self.site.warden),
        ]
        self.control = WardenControl(run / "warden.sock")
        self.ended = threading.Event()
        self.passes = threading.Thread(target=self.site.warden.serve, args=(self.ended,))
        self.passes.start()

    def close(self) -> None:
        self.ended.set()
        self.site.warden.wake()
        self.passes.join()
        for door in self.doors:
            door.shutdown()
            door.server_close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    made = Open(tmp_path)
    yield made
    made.close()


def test_a_refresh_returns_once_lease_json_says_what_etcd_says(opened: Open) -> None:
    assert opened.control.refresh()["systems"] == {TAX: {"epoch": 1, "site": EAST}}
    opened.site.claims.birth(SystemId("land"), WEST)
    status = opened.control.refresh()
    assert status["systems"]["land"] == {"epoch": 1, "site": WEST}
    assert opened.site.lease().systems[SystemId("land")] == Standing(1, WEST)
    assert status["reason"] == opened.control.status()["reason"] == "lease held"


def test_an_order_to_fence_holds_when_it_returns_and_until_it_is_lifted(opened: Open) -> None:
    opened.control.refresh()
    assert opened.control.fence("drill")["reason"] == "fenced by order: drill"
    assert opened.site.lease().deadline_boottime_ns == 0
    assert opened.control.unfence()["reason"] == "lease held"


def test_the_peer_is_confirmed_until_a_run_stops_it(opened: Open) -> None:
    opened.control.refresh()
    peer = PeerDoor(opened.address, TOKEN)
    answer = peer.confirm(WEST)
    assert (answer.confirmed, dict(answer.systems)) == (True, {TAX: Standing(1, EAST)})
    assert opened.control.stop_confirming() == opened.site.clock.ns
    assert peer.confirm(WEST).why == "a recovery run has stopped confirmations"
    opened.control.resume_confirming()
    Claims(opened.site.etcd).open_run(WEST, RunId("r"), EAST)
    opened.control.refresh()
    assert "recovery run r is open" in peer.confirm(WEST).why


def test_a_wrong_token_is_no_answer(opened: Open) -> None:
    with pytest.raises(Unreachable, match="401"):
        PeerDoor(opened.address, "wrong").confirm(WEST)


def test_the_peer_s_door_answers_nothing_but_confirm(opened: Open) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    for path in ("/fence", "/status", "/"):
        assert httpx.post(f"http://{opened.address}{path}", json={}, headers=headers).status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"x" * 5000])
def test_a_bad_body_is_told_as_such(opened: Open, body: bytes) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"http://{opened.address}/confirm", content=body, headers=headers).status_code == 400


def test_the_control_socket_is_for_its_owner_alone(opened: Open) -> None:
    assert (opened.site.run / "warden.sock").stat().st_mode & 0o777 == 0o600


def test_a_peer_or_warden_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        PeerDoor(Address("127.0.0.1", free_ports(1)[0]), TOKEN).confirm(SiteId("west"))
    with pytest.raises(Unreachable, match="warden"):
        WardenControl(tmp_path / "warden.sock").status()


def test_a_door_without_a_token_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(NciaError, match="peer_token is empty"):
        open_peer(Address("127.0.0.1", 0), "", Site(tmp_path).warden)
