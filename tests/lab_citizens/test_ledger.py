from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ncia.lab.citizens.ledger import Ledger, read


def intent(act: str) -> dict[str, Any]:
    return {"line": "intent", "id": act, "system": "share", "body": {"person": 1}, "at": "…", "monotonic": 1.0}


def outcome(act: str) -> dict[str, Any]:
    told = {"outcome": "acked", "status": 201, "epoch": 3, "site": "busan", "content_sha256": "ab", "why": ""}
    return {"line": "outcome", "id": act, "system": "share", **told, "seconds": 0.5, "at": "…", "monotonic": 1.5}


def test_an_act_is_read_back_with_its_outcome(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "acts.jsonl")
    ledger.append(intent("a"))
    ledger.append(outcome("a"))
    ledger.close()
    (act,) = read(tmp_path / "acts.jsonl")
    assert (act.outcome, act.epoch, act.site, act.content_sha256, act.known_monotonic) == (
        "acked",
        3,
        "busan",
        "ab",
        1.5,
    )


def test_an_intent_without_an_outcome_is_unknown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "acts.jsonl")
    ledger.append(intent("a"))
    ledger.close()
    assert [(act.outcome, act.known_monotonic) for act in read(tmp_path / "acts.jsonl")] == [("unknown", None)]


def test_half_a_line_left_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "acts.jsonl"
    file.write_text(json.dumps(intent("a")) + '\n{"line": "outc')
    ledger = Ledger(file)
    ledger.append(intent("b"))
    ledger.append(outcome("b"))
    ledger.close()
    assert [(act.id, act.outcome) for act in read(file)] == [("a", "unknown"), ("b", "acked")]
