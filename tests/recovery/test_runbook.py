"""Runbooks: read with every fault at once, refused where they would not be safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncia.core.base.errors import InputFaults, NciaError
from recovery.runbook import load_runbook, read_runbook
from recovery.step import Scope
from recovery.steps import KINDS
from tests.recovery.scene import RUNBOOKS

SAMPLES = Path(__file__).parent / "samples" / "runbooks"


def test_the_runbook_of_a_lost_site_has_every_step_in_its_order() -> None:
    found = load_runbook(RUNBOOKS, "site_failover")
    assert [s.kind for s in found.before] == ["fence", "hold_confirmations", "open_run"]
    assert [s.kind for s in found.each_system] == [
        "drain_receiver",
        "claim_epoch",
        "refresh_gate",
        "promote",
        "clear_synchronous",
        "verify_application",
        "switch_traffic",
        "verify_outside",
    ]
    assert [s.kind for s in found.after] == ["close_run"]
    assert [s.kind for s in found.each_system if s.after_dependencies] == ["verify_application"]
    assert found.approvals == 2


def test_every_runbook_that_we_ship_can_be_read() -> None:
    for path in RUNBOOKS.glob("*.yaml"):
        assert read_runbook(path).id == path.stem


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_bad_runbooks_are_refused_with_all_their_faults(sample: Path) -> None:
    with pytest.raises(InputFaults) as caught:
        read_runbook(sample)
    told = "".join(f"{fault.line}: {fault.what}\n" for fault in caught.value.faults)
    assert told == sample.with_suffix(".expected.txt").read_text()


def test_an_unknown_runbook_is_told_with_the_nearest_one() -> None:
    with pytest.raises(NciaError) as caught:
        load_runbook(RUNBOOKS, "site_failove")
    assert caught.value.hint == "site_failover"


def test_a_name_cannot_leave_the_folder() -> None:
    with pytest.raises(NciaError, match="not in"):
        load_runbook(RUNBOOKS, "../configs/sites")


def test_every_kind_of_step_has_an_undo_or_says_why_not() -> None:
    assert [k.name for k in KINDS.values() if bool(k.undo) == bool(k.no_undo)] == []


def test_what_a_kind_must_follow_is_a_kind_that_can_stand_before_it() -> None:
    wrong = [
        (kind.name, earlier)
        for kind in KINDS.values()
        for earlier in (name for names in kind.follows for name in names.split("|"))
        if earlier not in KINDS or (kind.scope is Scope.RUN and KINDS[earlier].scope is Scope.SYSTEM)
    ]
    assert wrong == []
