"""Named loss: exact lists from receipts, and never a time that nobody vouches for told as sound."""

import hashlib
import json

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.reports.loss import (
    Compared,
    Dropped,
    LossReport,
    Question,
    Receipt,
    Stream,
    list_hash,
    loss_report,
    unnamed_of,
    vouched_since,
)
from tests.core.story import NORTH, SOUTH, at, sample_estate, text

ESTATE = sample_estate()
TAX, FINES = SystemId("tax"), SystemId("fines")
DOOR = SiteId("public")
WHOLE = Compared(SOUTH, {"a": "aa", "b": "bb"})


def receipt(act: str, sha: str, seconds: float = 1, system: SystemId = TAX) -> Receipt:
    return Receipt(act, sha, system, ESTATE.systems[system].agency, NORTH, 1, at(seconds))


def report(*receipts: Receipt, rows: Compared = WHOLE, unnamed: tuple = ()) -> LossReport:
    question = Question(NORTH, (TAX, FINES), at(0), at(60))
    compared = {TAX: rows, FINES: WHOLE}
    return loss_report(SOUTH, ESTATE, question, receipts, compared, unnamed, at(70))


def stream(began: float, until: float, id: str = "s1", **more: object) -> Stream:
    return Stream(id, DOOR, NORTH, at(began), at(until), **more)  # type: ignore[arg-type]


def spans(streams: list[Stream], since: float = 0, until: float = 60) -> list[tuple[str, str, int | None]]:
    return [(gap.since, gap.until, gap.dropped) for gap in unnamed_of(streams, at(since), at(until))]


def test_an_act_whose_content_is_there_is_not_lost() -> None:
    told = report(receipt("a", "aa"), receipt("b", "bb"))
    assert (told.receipts, told.lost, told.altered, told.proven) == (2, 0, 0, True)


def test_an_act_that_the_rows_do_not_hold_is_named_with_its_hash_and_time() -> None:
    told = report(receipt("a", "aa"), receipt("gone", "cc", 7))
    (agency,) = told.agencies
    assert agency.agency == ESTATE.systems[TAX].agency
    assert [(act.id, act.system, act.acked_at, act.content_sha256) for act in agency.lost] == [
        ("gone", "tax", text(7), "cc")
    ]


def test_another_content_is_altered_and_not_lost() -> None:
    told = report(receipt("a", "other"))
    assert (told.lost, told.altered) == (0, 1)
    assert told.agencies[0].altered[0].found_sha256 == "aa"


def test_rows_that_could_not_be_asked_lose_nothing_and_prove_nothing() -> None:
    told = report(receipt("a", "aa"), receipt("x", "xx"), rows=Compared(SOUTH, why="no server"))
    assert (told.lost, told.receipts, told.proven) == (0, 2, False)
    assert [(each.system, each.receipts, each.why) for each in told.uncompared] == [("tax", 2, "no server")]


def test_the_agency_with_the_greatest_loss_comes_first() -> None:
    told = report(receipt("a", "aa"), receipt("x", "xx", 2, FINES))
    assert [len(agency.lost) for agency in told.agencies] == ([1, 0] if len(told.agencies) == 2 else [1])


def test_the_lists_hash_can_be_made_anew_from_the_report_with_sort_and_sha256sum() -> None:
    told = report(receipt("gone", "cc", 7), receipt("a", "other", 8))
    acts = told.to_json()["agencies"][0]
    lines = [
        f"{kind} {act['system']} {act['id']} {act['acked_at']} {act['content_sha256']}\n"
        for kind in ("lost", "altered")
        for act in acts[kind]
    ]
    assert told.list_sha256 == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert list_hash(()) == hashlib.sha256(b"").hexdigest()


def test_the_report_is_plain_json() -> None:
    assert json.loads(json.dumps(report(receipt("gone", "cc")).to_json()))["agencies"][0]["lost"][0]["id"] == "gone"


def test_where_a_door_vouches_for_all_of_the_time_nothing_is_unnamed() -> None:
    assert spans([stream(0, 60)]) == []


def test_where_no_door_ever_spoke_all_of_the_time_is_unnamed() -> None:
    assert spans([]) == [(text(0), text(60), None)]


def test_a_door_that_fell_silent_leaves_the_rest_unnamed() -> None:
    assert spans([stream(0, 42)]) == [(text(42), text(60), None)]


def test_between_two_streams_nobody_vouches() -> None:
    assert spans([stream(0, 20), stream(30, 60, "s2")]) == [(text(20), text(30), None)]


def test_a_door_that_closed_vouches_until_it_opens_again() -> None:
    assert spans([stream(0, 20, closed=True), stream(30, 60, "s2")]) == []
    assert spans([stream(0, 20, closed=True)]) == []


def test_what_was_before_the_first_stream_is_unnamed() -> None:
    assert spans([stream(10, 60)]) == [(text(0), text(10), None)]


def test_what_a_full_spool_let_go_of_is_counted() -> None:
    assert spans([stream(0, 60, drops=(Dropped(at(5), at(6), 1000),))]) == [(text(5), text(6), 1000)]
    assert spans([stream(0, 60, drops=(Dropped(at(5), at(6), 1000),))], since=10) == []


def test_each_door_has_to_vouch() -> None:
    other = Stream("o", SiteId("second"), NORTH, at(0), at(50))
    assert spans([stream(0, 60), other]) == [(text(50), text(60), None)]
    assert vouched_since([stream(3, 60), other]) == at(3)


def test_an_empty_time_holds_nothing_unnamed() -> None:
    assert spans([], since=60, until=60) == []
