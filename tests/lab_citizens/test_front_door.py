from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.estate import Address
from ncia.core.estate.model import System
from ncia.lab.apps.http import Answer, Request
from ncia.lab.citizens.front_door import FrontDoor
from ncia.lab.citizens.switch import Switch
from tests.lab_apps.world import Running, own_estate
from tests.ports import free_port

TOKEN = "let me turn it"
SYSTEM = "share"


class Backend:
    """An application as the front door sees it; ``hold`` keeps answers back until ``release``."""

    def __init__(self, site: str, epoch: int) -> None:
        self.site, self.epoch = site, epoch
        self.seen: list[Request] = []
        self.hold = False
        self.arrived = threading.Event()

    async def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        self.arrived.set()
        if self.hold:
            await asyncio.Event().wait()
        headers = {"X-NCIA-Epoch": str(self.epoch), "X-NCIA-Site": self.site, "X-NCIA-Failed-Dependency": "x"}
        return Answer.of(201 if request.method == "POST" else 200, {"site": self.site}, headers)


class Receipts:
    """Remembers what was kept; ``meanwhile`` happens while the citizen waits for it."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, int]] = []
        self.meanwhile: Callable[[], Any] | None = None

    async def keep(self, system: System, site: str, answer: Answer) -> None:
        self.kept.append((system.id, site, answer.status))
        if self.meanwhile is not None:
            await asyncio.to_thread(self.meanwhile)


class Ground:
    """A front door before two sites, of which each may be there or not."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.estate = own_estate()
        self.file = folder / "switch.json"
        self.system = self.estate.system(SYSTEM)
        self.control = Address("127.0.0.1", free_port())
        self.receipts = Receipts()
        self.backends = {"daejeon": Backend("daejeon", 1), "gwangju": Backend("gwangju", 2)}
        self._open = ExitStack()
        self.open_door()

    def open_door(self) -> None:
        door = FrontDoor(self.estate, "citizens", Switch(self.file, self.estate), TOKEN, self.receipts)
        self._open.enter_context(self.running.serving(door.entry(self.system), self.system.entry))
        self._open.enter_context(self.running.serving(door.control, self.control))

    def reopen_door(self) -> None:
        self._open.close()
        self.system = self.estate.system(SYSTEM)
        self.control = Address("127.0.0.1", free_port())
        door = FrontDoor(self.estate, "citizens", Switch(self.file, self.estate), TOKEN)
        self._open.enter_context(self.running.serving(door.control, self.control))

    def come_up(self, site: str) -> None:
        address = self.system.applications[site].address
        self._open.enter_context(self.running.serving(self.backends[site].answer, address))

    def ask(self, method: str = "GET", path: str = "/acts/latest", body: Any = None) -> Answer:
        return self.running.ask(self.system.entry, method, path, body)

    def turn(self, site: str, epoch: Any, *, system: str = SYSTEM, token: str = TOKEN) -> Answer:
        told = {"site": site, "epoch": epoch}
        bearer = {"authorization": f"Bearer {token}"}
        return self.running.ask(self.control, "PUT", f"/switch/{system}", told, **bearer)

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def ground(running: Running, tmp_path: Path) -> Iterator[Ground]:
    made = Ground(running, tmp_path)
    yield made
    made.close()


def test_it_leads_to_the_home_at_first_and_passes_the_answer_on(ground: Ground) -> None:
    ground.come_up("daejeon")
    answer = ground.ask("POST", "/acts?x=1", {"id": "…"})
    assert (answer.status, answer.json()) == (201, {"site": "daejeon"})
    passed = {name: answer.headers[name] for name in ("x-ncia-epoch", "x-ncia-site", "x-ncia-failed-dependency")}
    assert passed == {"x-ncia-epoch": "1", "x-ncia-site": "daejeon", "x-ncia-failed-dependency": "x"}
    assert ground.backends["daejeon"].seen[0].query == {"x": "1"}


def test_after_the_switch_it_leads_to_the_other_site(ground: Ground) -> None:
    ground.come_up("gwangju")
    assert ground.turn("gwangju", 2).status == 200
    assert ground.ask().json() == {"site": "gwangju"}


def test_an_answer_of_a_lower_epoch_is_dropped(ground: Ground) -> None:
    ground.come_up("gwangju")
    ground.turn("gwangju", 3)
    read, act = ground.ask(), ground.ask("POST", "/acts", {})
    assert (read.status, act.status, act.json()["outcome"]) == (503, 503, "unknown")
    assert read.json()["error"] == "an answer of gwangju under epoch 2 was dropped: epoch 3 is in force"


@pytest.mark.parametrize(("site", "epoch"), [("daejeon", 4), ("gwangju", 4), ("daejeon", 5)])
def test_an_epoch_that_is_not_newer_turns_nothing(ground: Ground, site: str, epoch: int) -> None:
    ground.turn("gwangju", 5)
    answer = ground.turn(site, epoch)
    assert answer.status == 409
    assert answer.json()["error"].endswith("epoch 5 is in force at gwangju")
    assert ground.running.ask(ground.control, "GET", "/switch").json()[SYSTEM] == {"site": "gwangju", "epoch": 5}


def test_the_same_turn_twice_is_one_turn(ground: Ground) -> None:
    assert [ground.turn("gwangju", 2).status for _ in range(2)] == [200, 200]


def test_who_does_not_know_the_token_turns_nothing(ground: Ground) -> None:
    assert ground.turn("gwangju", 2, token="guess").status == 401
    assert ground.running.ask(ground.control, "GET", "/switch").json()[SYSTEM] == {"site": "daejeon", "epoch": 1}


def test_a_turn_to_nowhere_is_refused(ground: Ground) -> None:
    told = (ground.turn("busan", 2), ground.turn("gwangju", "2"), ground.turn("gwangju", 2, system="none"))
    assert tuple(answer.status for answer in told) == (422, 422, 404)


def test_a_restart_remembers_every_turn(ground: Ground) -> None:
    ground.turn("gwangju", 2)
    ground.reopen_door()
    assert ground.running.ask(ground.control, "GET", "/switch").json()[SYSTEM] == {"site": "gwangju", "epoch": 2}


def test_a_turn_cuts_what_is_under_way_and_the_act_is_told_as_unknown_and_never_sent_again(ground: Ground) -> None:
    ground.come_up("daejeon")
    ground.come_up("gwangju")
    ground.backends["daejeon"].hold = True
    answers: list[Answer] = []
    act = threading.Thread(target=lambda: answers.append(ground.ask("POST", "/acts", {})))
    act.start()
    assert ground.backends["daejeon"].arrived.wait(10)
    ground.turn("gwangju", 2)
    act.join(timeout=10)
    assert (answers[0].status, answers[0].json()["outcome"]) == (504, "unknown")
    assert (len(ground.backends["daejeon"].seen), ground.backends["gwangju"].seen) == (1, [])


def test_a_site_that_is_not_there_cannot_have_acted(ground: Ground) -> None:
    answer = ground.ask("POST", "/acts", {})
    assert (answer.status, "outcome" in answer.json()) == (503, False)


def test_only_an_act_that_is_told_as_done_leaves_a_receipt(ground: Ground) -> None:
    ground.come_up("daejeon")
    ground.ask()
    ground.ask("POST", "/verify", {})
    assert ground.receipts.kept == []
    ground.ask("POST", "/acts", {})
    assert ground.receipts.kept == [(SYSTEM, "daejeon", 201)]


def test_an_answer_of_an_epoch_that_is_over_leaves_no_receipt(ground: Ground) -> None:
    ground.come_up("gwangju")
    ground.turn("gwangju", 3)
    ground.ask("POST", "/acts", {})
    assert ground.receipts.kept == []


def test_a_switch_that_turns_while_the_receipt_is_handed_in_makes_the_outcome_unknown(ground: Ground) -> None:
    ground.come_up("daejeon")
    ground.receipts.meanwhile = lambda: ground.turn("gwangju", 2)
    answer = ground.ask("POST", "/acts", {})
    assert (answer.status, answer.json()["outcome"]) == (503, "unknown")


def test_it_does_not_open_without_a_token(tmp_path: Path) -> None:
    estate = own_estate()
    with pytest.raises(NciaError, match="traffic_token is empty"):
        FrontDoor(estate, "citizens", Switch(tmp_path / "switch.json", estate), "")
