"""The desk: receipts in, a journalled list out; one clear error for each question that nothing answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.journal.entries_recovery import (
    LossListed,
    PlanMade,
    RunStarted,
    StepEnded,
    StepIntended,
)
from ncia.core.journal.entry import Entry, make_entry
from ncia.core.reports.naming import Naming
from ncia.core.state import State
from recovery.loss.desk import LossDesk, Parts
from recovery.loss.store import ReceiptStore
from tests.core.journal.sites import SetClock
from tests.core.story import NORTH, SOUTH, Story, at, text
from tests.recovery.loss.world import ESTATE, FINES, SHA, TAX, act_id, batch, receipt, stream


class Rows:
    """Databases that hold the given acts; ``down`` cannot be asked."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.down = False
        self.asked: list[tuple[SystemId, SiteId, int]] = []

    def hashes(self, system: SystemId, site: SiteId, acts: Sequence[str]) -> Mapping[str, str]:
        self.asked.append((system, site, len(acts)))
        if self.down:
            raise Unreachable("loss.no-server", f"look for acts of {system}", "connection refused")
        return {act: self.held[act] for act in acts if act in self.held}


class Scene:
    """South's desk, after north was lost and tax was moved here."""

    def __init__(self, folder: Path) -> None:
        self.rows = Rows()
        self.receipts = ReceiptStore(folder / "receipts.db")
        self.story = failed_over()
        self.written: list[Any] = []
        self.clock = SetClock(at(60))
        self.desk = LossDesk(
            Parts(
                site=SOUTH,
                estate=ESTATE,
                receipts=self.receipts,
                contents=self.rows,
                journal=self,
                state=self.state,
                active=lambda: {TAX: SOUTH, FINES: SOUTH},
                clock=self.clock,
            )
        )

    def append(self, body: Any, *, by: str) -> Entry:
        self.written.append((body, by))
        return make_entry(SOUTH, 40 + len(self.written), at(60), by, 0, body)

    def state(self) -> State:
        return self.story.state()

    def list(self, run: str = "", site: str = "", since: str = "", agency: str = "") -> dict[str, Any]:
        return self.desk.report(run=run, site=site, since=since, agency=agency, by="kim")


def failed_over() -> Story:
    plan = {"lost_site": "north", "site": "south", "moves": [{"system": "tax"}], "steps": []}
    story = Story().say(20, SOUTH, PlanMade(run="r1", runbook="site_failover", plan_hash="h", plan=plan, by="ann"))
    story.say(21, SOUTH, RunStarted(run="r1", plan_hash="h", site="south"))
    claimed = {"run": "r1", "step": "tax/claim_epoch", "attempt": 1}
    story.say(30, SOUTH, StepIntended(**claimed), StepEnded(**claimed, outcome="done", evidence="", measured={}))
    return story


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.receipts.close()


def test_a_runs_loss_is_what_its_lost_site_acknowledged_and_the_active_rows_do_not_hold(scene: Scene) -> None:
    scene.desk.take(batch(receipts=[[act_id(n), SHA, "tax", 1, text(n)] for n in (1, 2, 3)]))
    scene.rows.held = {act_id(1): SHA, act_id(3): "cd" * 32}
    told = scene.list(run="r1")
    (agency,) = told["agencies"]
    assert [act["id"] for act in agency["lost"]] == [act_id(2)]
    assert [act["id"] for act in agency["altered"]] == [act_id(3)]
    assert (told["since"], told["until"], told["unnamed"]) == (text(0), text(30), ())
    assert scene.rows.asked == [(TAX, SOUTH, 3)]


def test_the_result_is_journalled_with_its_hash_and_without_the_acts(scene: Scene) -> None:
    scene.desk.take(batch())
    told = scene.list(run="r1")
    ((body, by),) = scene.written
    assert isinstance(body, LossListed)
    assert (body.lost, body.lost_by_system, body.list_sha256, by) == (1, {"tax": 1}, told["list_sha256"], "kim")
    assert told["entry"] == "south#41"
    assert act_id(1) not in body.model_dump_json()


def test_a_door_that_was_silent_before_the_move_leaves_loss_unnamed(scene: Scene) -> None:
    scene.desk.take(batch(complete_until=text(12)))
    (gap,) = scene.list(run="r1")["unnamed"]
    assert (gap["since"], gap["until"]) == (text(12), text(30))
    assert scene.written[0][0].unnamed == (f"{text(12)}/{text(30)}",)


def test_without_any_receipt_everything_is_unnamed(scene: Scene) -> None:
    (gap,) = scene.list(run="r1")["unnamed"]
    assert gap["why"] == "no front door ever told of its receipts"


def test_rows_that_cannot_be_asked_are_not_taken_for_sound(scene: Scene) -> None:
    scene.desk.take(batch())
    scene.rows.down = True
    told = scene.list(run="r1")
    assert (told["lost"], told["uncompared"][0]["receipts"]) == (0, 1)
    assert "connection refused" in told["uncompared"][0]["why"]


def test_a_site_is_asked_for_up_to_the_doors_last_word(scene: Scene) -> None:
    scene.receipts.keep(stream(until=58), [receipt(1, 5), receipt(2, 40)])
    told = scene.list(site="north", since=text(10))
    assert (told["receipts"], told["until"], told["unnamed"]) == (1, text(58), ())


def test_a_site_whose_door_was_not_heard_lately_is_asked_for_up_to_now(scene: Scene) -> None:
    scene.receipts.keep(stream(until=50), [])
    (gap,) = scene.list(site="north", since=text(10))["unnamed"]
    assert gap["since"] == text(50)


def test_receipts_are_let_go_of_by_age_and_what_was_before_is_unnamed(scene: Scene) -> None:
    day = 86400.0
    later = ESTATE.settings.receipts_kept_days * day + 40
    scene.receipts.keep(stream(until=later + 60), [receipt(1, 5), receipt(2, 50)])
    scene.desk.tick(at(later))
    assert scene.receipts.count() == 1
    scene.clock.moment = at(later)
    (gap,) = scene.list(site="north", since=text(10))["unnamed"]
    assert (gap["since"], gap["why"]) == (text(10), "receipts are kept for 14 days")


def test_one_agencys_list_holds_its_own_systems_only(scene: Scene) -> None:
    agency = ESTATE.systems[TAX].agency
    told = scene.list(site="north", agency=agency)
    assert told["systems"] == tuple(sorted(s for s in ESTATE.systems if ESTATE.systems[s].agency == agency))
    assert scene.written[0][0].agency == agency


BAD: tuple[tuple[dict[str, str], str, str], ...] = (
    ({}, "loss.ask-one", "name either a run or a site"),
    ({"run": "r1", "site": "north"}, "loss.ask-one", "name either a run or a site"),
    ({"run": "r9"}, "loss.no-such-run", "no run 'r9'"),
    ({"site": "mars"}, "loss.no-such-site", "no centre 'mars' in the estate"),
    ({"site": "south"}, "loss.other-site", "are kept at north"),
    ({"run": "r1", "agency": "nobody"}, "loss.no-such-agency", "no agency 'nobody' in the estate"),
    ({"site": "north", "since": "noon"}, "loss.bad-moment", "Invalid isoformat string: 'noon'"),
    ({"site": "north", "since": "2026-01-01T00:00:00"}, "loss.bad-moment", "a moment needs its offset"),
)


@pytest.mark.parametrize(("asked", "code", "why"), BAD)
def test_a_question_that_nothing_answers_is_one_clear_error_and_no_entry(
    scene: Scene, asked: dict[str, str], code: str, why: str
) -> None:
    with pytest.raises(NciaError) as refused:
        scene.list(**asked)
    assert (refused.value.code, scene.written) == (code, [])
    assert why in refused.value.why


def test_the_desk_says_whether_a_loss_of_the_other_site_would_have_names(scene: Scene) -> None:
    assert not scene.desk.naming()[NORTH].named
    scene.receipts.keep(stream(until=58), [])
    assert scene.desk.naming() == {NORTH: Naming("")}
    scene.clock.moment = at(90)
    assert "was not heard since 2026-06-01 12:00:58 UTC" in scene.desk.naming()[NORTH].why
