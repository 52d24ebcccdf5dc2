from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
import uuid
from datetime import UTC, datetime

import pytest

from ncia.core.base.ids import SiteId
from ncia.lab.apps.definitions import DEFINITIONS
from ncia.lab.apps.document_desk import DocumentDesk
from ncia.lab.apps.documents import Document, Keeping, content_of, document_of
from ncia.lab.apps.store import NotRecorded
from tests.fakes.documents import FakeDocuments
from tests.lab_apps.world import HERE, THERE, World

ACT = "6f2d0f2e-0000-4000-8000-000000000001"
VALUES = {"id": ACT, "drafter": 1, "title": "t"}


def test_a_document_follows_from_the_act_alone_and_has_2_to_20_kb() -> None:
    rng, sizes = random.Random(1), []
    for _ in range(300):
        act, fields = str(uuid.UUID(int=rng.getrandbits(128))), {"a": rng.random(), "b": "가"}
        content = content_of("egov", act, fields)
        assert content == content_of("egov", act, dict(reversed(fields.items())))
        sizes.append(len(content))
    assert (min(sizes) >= 2000, max(sizes) <= 20_500, len(set(sizes)) > 100) == (True, True, True)
    assert content_of("egov", ACT, {"a": 1}) != content_of("egov", ACT, {"a": 2})


def test_a_document_lies_in_the_folder_of_its_ten_seconds() -> None:
    document = document_of(b"abc", ACT, datetime(2026, 11, 26, 4, 22, 59, tzinfo=UTC))
    assert document == Document(f"2026/11/26/0422/50/{ACT}.txt", 3, hashlib.sha256(b"abc").hexdigest())


# --- keeping -----------------------------------------------------------------------------------------------------


class Pair:
    def __init__(self) -> None:
        self.own, self.other = FakeDocuments("own"), FakeDocuments("other")
        self.keeping = Keeping(SiteId(HERE), self.own, SiteId(THERE), self.other)
        self.desk = DocumentDesk("onnara", self.keeping)

    def keep(self, both: bool, seconds: float = 5.0) -> Document:
        return asyncio.run(self.desk.keep(VALUES, both, time.monotonic() + seconds))


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_where_acts_wait_for_both_sites_the_document_is_at_both_when_it_is_kept(pair: Pair) -> None:
    document = pair.keep(both=True)
    content = content_of("onnara", ACT, {"drafter": 1, "title": "t"})
    assert (pair.own.documents(), pair.other.documents()) == ({document.name: content}, {document.name: content})


def test_where_they_do_not_it_is_at_the_own_site_alone(pair: Pair) -> None:
    pair.keep(both=False)
    assert (len(pair.own.held), pair.other.calls) == (1, [])


@pytest.mark.parametrize("which", ["own", "other"])
def test_a_store_that_does_not_answer_refuses_the_act_and_is_named(pair: Pair, which: str) -> None:
    store: FakeDocuments = getattr(pair, which)
    store.silent = True
    with pytest.raises(NotRecorded) as refused:
        pair.keep(both=True)
    at = HERE if which == "own" else THERE
    assert f"could not be kept at {at}: {which} does not answer; the act is refused" in refused.value.why


def test_a_full_store_refuses_the_act(pair: Pair) -> None:
    pair.other.bytes_max = 100
    with pytest.raises(NotRecorded, match="could not be kept at gwangju: the disk there is full"):
        pair.keep(both=True)


def test_a_store_that_is_too_slow_refuses_the_act_in_time(pair: Pair) -> None:
    go_on = threading.Event()
    pair.other.keeps = lambda content: content if go_on.wait(30) else None
    began = time.monotonic()
    try:
        with pytest.raises(NotRecorded, match="did not answer in time"):
            asyncio.run(_early(pair, go_on))
    finally:
        go_on.set()
    assert time.monotonic() - began < 20


async def _early(pair: Pair, go_on: threading.Event) -> Document:
    try:
        return await pair.desk.keep(VALUES, True, time.monotonic() + 0.2)
    finally:
        go_on.set()  # the loop's end waits for its threads


# --- served ------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnara(world: World) -> tuple[World, FakeDocuments]:
    store = FakeDocuments("own")
    world.keeping["onnara"] = Keeping(SiteId(HERE), store, SiteId(THERE), None)
    world.serve("onnara")
    return world, store


def sample() -> dict[str, object]:
    return DEFINITIONS["onnara"].sample(random.Random())


def test_an_act_is_its_rows_and_its_document(onnara: tuple[World, FakeDocuments]) -> None:
    world, store = onnara
    act, body = str(uuid.uuid4()), sample()
    assert world.act("onnara", body, act).status == 201
    told = world.get("onnara", f"/acts/{act}").json()
    kept = told["content"]["kept_document"]
    expected = content_of("onnara", act, body)
    assert (told["document_state"], store.held[kept["name"]][0]) == ("verified", expected)
    assert (kept["size_bytes"], kept["sha256"]) == (len(expected), hashlib.sha256(expected).hexdigest())
    answer = world.get("onnara", f"/acts/{act}/document")
    assert (answer.status, answer.body) == (200, expected)


@pytest.mark.parametrize(("held", "state"), [(b"other bytes", "altered"), (None, "missing")])
def test_a_document_that_is_not_what_was_acknowledged_is_told_and_not_served(
    onnara: tuple[World, FakeDocuments], held: bytes | None, state: str
) -> None:
    world, store = onnara
    act = str(uuid.uuid4())
    world.act("onnara", sample(), act)
    (name,) = [name for name in store.held if act in name]
    del store.held[name]
    if held is not None:
        store.held[name] = (held, 0.0)
    assert world.get("onnara", f"/acts/{act}").json()["document_state"] == state
    answer = world.get("onnara", f"/acts/{act}/document")
    assert (answer.status, answer.json()["error"]) == (503, f"the document of act {act} is {state} at daejeon")


def test_an_act_whose_document_cannot_be_kept_is_not_done(onnara: tuple[World, FakeDocuments]) -> None:
    world, store = onnara
    store.silent = True
    act = str(uuid.uuid4())
    answer = world.act("onnara", sample(), act)
    assert (answer.status, "could not be kept at daejeon" in answer.json()["error"]) == (503, True)
    store.silent = False
    assert world.get("onnara", f"/acts/{act}").status == 404


def test_an_act_that_a_rule_refuses_leaves_at_most_a_document_that_nobody_speaks_of(
    onnara: tuple[World, FakeDocuments],
) -> None:
    world, _ = onnara
    act = str(uuid.uuid4())
    refused = DEFINITIONS["onnara"].refused_sample(random.Random())
    assert world.act("onnara", refused, act).status in (409, 422)
    assert world.get("onnara", f"/acts/{act}").status == 404


def test_a_trial_has_its_document_too(onnara: tuple[World, FakeDocuments]) -> None:
    world, store = onnara
    answer = world.running.ask(world.address("onnara"), "POST", "/verify")
    assert (answer.status, len(store.documents())) == (201, 1)
