"""Every system's transaction, refusal and read-back, over HTTP, calls between systems included."""

from __future__ import annotations

import random
import uuid

import pytest

from ncia.lab.apps.definition import Delegate, RuleRefused
from ncia.lab.apps.definitions import DEFINITIONS, definition_of
from ncia.lab.apps.store import ONE_ACT
from tests.lab_apps.world import World


def rows_of(site: World, system: str, act: str) -> list[tuple[object, ...]]:
    with site.cluster.connect(system, "app") as connection:
        return connection.execute(ONE_ACT, {"id": act}).fetchall()


def test_an_act_is_acknowledged_with_the_hash_of_what_the_rows_hold(site: World, system: str) -> None:
    act, sent = str(uuid.uuid4()), definition_of(system).sample(random.Random(f"a{system}"))
    answer = site.act(system, sent, act)
    assert answer.status == 201, answer.body
    read = site.get(system, f"/acts/{act}").json()
    ((_, _, from_rows),) = rows_of(site, system, act)
    assert {answer.json()["content_sha256"], read["content_sha256"]} == {from_rows}
    kept = {field.name for field in definition_of(system).fields if field.kept}
    assert {name: read["content"][name] for name in kept} == {name: sent[name] for name in kept}


def test_a_rule_refuses_and_leaves_no_row(site: World, system: str) -> None:
    act, sent = str(uuid.uuid4()), definition_of(system).refused_sample(random.Random(f"r{system}"))
    answer = site.act(system, sent, act)
    assert (answer.status in (409, 422), rows_of(site, system, act)) == (True, []), answer.body
    assert answer.json()["error"]


def test_the_hash_follows_the_rows_when_one_is_altered(site: World, system: str) -> None:
    """Nothing stored is trusted: any own table's change of an act's row changes or removes the content."""
    act, sent = str(uuid.uuid4()), definition_of(system).sample(random.Random(f"h{system}"))
    acknowledged = site.act(system, sent, act).json()["content_sha256"]
    table, column = ALTERED[system]
    with site.cluster.connect(system, "app") as connection:
        connection.execute(f"update {table} set {column} where act = '{act}'")  # noqa: S608
    assert rows_of(site, system, act)[0][2] != acknowledged


ALTERED = {
    "share": ("inquiries", "purpose = 'other'"),
    "egov": ("issues", "body = 'other'"),
    "hometax": ("payments", "amount = amount + 1"),
    "g2b": ("bids", "sealed = 'other'"),
    "customs": ("movements", "yard = yard + 1"),
    "onnara": ("decisions", "decision = 'other'"),
    "epeople": ("routes", "agency = 1 + mod(agency, 300)"),
    "patent": ("drawings", "svg = 'other'"),
    "g4b": ("passed_on", "organisation = 1 + mod(organisation, 205)"),
    "gangnam-civil": ("tracking", "state = 'other'"),
    "gangnam-tax": ("payments", "amount = amount + 1"),
}


def test_a_verification_is_a_real_marked_act(site: World, system: str) -> None:
    answer = site.running.ask(site.address(system), "POST", "/verify", {})
    assert answer.status == 201, answer.body
    told = answer.json()
    with site.cluster.connect(system, "app") as connection:
        assert connection.execute("select marked from acts where id = %s", (told["id"],)).fetchone() == (True,)
    assert told["epoch"] == 1


def test_the_characteristic_read_shows_the_latest_act(site: World, system: str) -> None:
    act = str(uuid.uuid4())
    assert site.act(system, definition_of(system).sample(random.Random(f"l{system}")), act).status == 201
    answer = site.get(system, "/acts/latest")
    assert (answer.status, answer.json()["seen"] is not None) == (200, True)
    assert answer.headers["x-ncia-site"] == "daejeon"
    assert answer.headers["x-ncia-epoch"] == "1"


def test_a_second_act_of_the_same_id_is_refused(site: World) -> None:
    act, rng = str(uuid.uuid4()), random.Random(7)
    statuses = [site.act("onnara", DEFINITIONS["onnara"].sample(rng), act).status for _ in range(2)]
    assert statuses == [201, 409]


def test_the_act_of_another_system_is_really_recorded_there(site: World) -> None:
    sent = DEFINITIONS["epeople"].sample(random.Random(8))
    act = str(uuid.uuid4())
    assert site.act("epeople", sent, act).status == 201
    document = site.get("epeople", f"/acts/{act}").json()["content"]["document"]
    assert site.get("onnara", f"/acts/{document}").json()["content"]["title"] == sent["title"]


def test_a_bid_after_the_deadline_is_called_late(site: World) -> None:
    answer = site.act("g2b", DEFINITIONS["g2b"].refused_sample(random.Random(9)))
    assert answer.json()["error"].startswith("the bid is late")


def test_a_payment_is_taken_once(site: World) -> None:
    bill = DEFINITIONS["gangnam-tax"].sample(random.Random(10))
    first, second = (site.act("gangnam-tax", bill) for _ in range(2))
    assert (first.status, second.status) == (201, 409)
    assert second.json()["error"] == f"instalment {bill['instalment']} of bill {bill['bill']} is already paid"


def test_every_fault_of_a_body_is_told_at_once() -> None:
    with pytest.raises(RuleRefused) as refused:
        DEFINITIONS["share"].accept({"person": "1", "document": True, "purpose": ""})
    assert refused.value.why == (
        "person must be int; document must be int; purpose must have 1 to 4000 characters; consent must be bool"
    )


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": "x"}', b"\xff"])
def test_what_is_no_act_is_refused_with_422(site: World, body: bytes) -> None:
    from ncia.lab.apps.http import Request, send

    request = Request("POST", "/acts", body=body)
    answer = site.running.run(send(site.address("share"), request, connect_seconds=5, seconds=5))
    assert answer.status == 422


def test_no_system_below_grade_1_needs_a_grade_1_system_to_write(site: World) -> None:
    """So that the other grades keep writing while grade 1 refuses to."""
    grades = {str(system.id): system.grade for system in site.estate.systems.values()}
    delegated = {
        (name, call.system)
        for name, definition in DEFINITIONS.items()
        for call in definition.calls
        if isinstance(call, Delegate)
    }
    assert {(name, to) for name, to in delegated if grades[name] > 1 and grades[to] == 1} == set()


def test_a_system_calls_exactly_those_that_the_estate_says_it_depends_on(site: World, system: str) -> None:
    called = {call.system for call in definition_of(system).calls}
    assert called == set(site.estate.system(system).depends_on)
