from __future__ import annotations

import hashlib
import json
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncia.lab.apps.definition import DOCUMENT
from ncia.lab.apps.definitions import definition_of
from ncia.lab.apps.documents import content_of, document_of
from ncia.lab.apps.seeding import seed_into
from ncia.lab.apps.store import Attempt, Store, gate_connect
from ncia.lab.citizens.ledger import Act
from ncia.lab.citizens.referee import Survivor, judge, referee
from tests.lab_apps.postgres import Cluster

BODY = {"drafter": 1, "approver": 2, "title": "t", "body": "b"}


def act(number: int, *, site: str = "old", outcome: str = "acked", known: float | None = None) -> Act:
    moment = float(number) if known is None else known
    return Act(
        str(number), "onnara", BODY, moment - 0.1, outcome, site=site, content_sha256="ab", known_monotonic=moment
    )


def alive(*numbers: int, sha: str = "ab", content: Any = None) -> dict[str, Survivor]:
    return {str(number): Survivor(sha, content or BODY) for number in numbers}


def test_nothing_lost_is_nothing_lost() -> None:
    judged = judge("onnara", [act(1), act(2)], alive(1, 2), "old")
    assert (judged.acked, judged.lost_acked, judged.altered, judged.lost_seconds) == (2, (), (), 0.0)


def test_lost_seconds_reach_from_the_last_acknowledged_to_the_last_that_survived() -> None:
    judged = judge("onnara", [act(1), act(3), act(4), act(9, site="new")], alive(1, 9), "old")
    assert (judged.lost_acked, judged.lost_seconds, judged.rto_seconds) == (("3", "4"), 3.0, 5.0)


def test_a_hole_in_the_middle_is_a_loss_although_the_last_act_survived() -> None:
    judged = judge("onnara", [act(1), act(2), act(3)], alive(1, 3), "old")
    assert (judged.lost_acked, judged.lost_seconds) == (("2",), 0.0)


def test_where_nothing_survived_all_of_the_time_is_lost() -> None:
    judged = judge("onnara", [act(1), act(4)], {}, "old")
    assert (judged.lost_acked, judged.lost_seconds) == (("1", "4"), 3.1)


def test_a_system_that_did_not_return_has_no_recovery_time() -> None:
    assert judge("onnara", [act(1)], alive(1), "old").rto_seconds is None


def test_a_system_that_was_at_home_elsewhere_has_no_recovery_time() -> None:
    assert judge("onnara", [act(1, site="new"), act(2, site="new")], alive(1, 2), "old").rto_seconds is None


def test_another_hash_is_an_altered_act() -> None:
    assert judge("onnara", [act(1)], alive(1, sha="cd"), "old").altered == ("1",)


def test_the_right_hash_of_something_that_nobody_sent_is_an_altered_act() -> None:
    assert judge("onnara", [act(1)], alive(1, content={**BODY, "title": "other"}), "old").altered == ("1",)


def test_what_was_refused_or_unknown_and_is_in_the_rows_is_told_apart() -> None:
    acts = [act(1, outcome="unknown"), act(2, outcome="refused"), act(3, outcome="failed"), act(4, outcome="unknown")]
    judged = judge("onnara", acts, alive(1, 2), "old")
    assert (judged.unknown, judged.unknown_found, judged.refused_found) == (2, 1, ("2",))


def paper(number: int) -> str:
    """The hash of the document that follows from act ``number``."""
    return hashlib.sha256(content_of("onnara", str(number), BODY)).hexdigest()


def with_papers(*numbers: int) -> dict[str, Survivor]:
    return {
        str(n): Survivor("ab", {**BODY, DOCUMENT: {"name": str(n), "size_bytes": 1, "sha256": paper(n)}})
        for n in numbers
    }


def test_an_act_whose_document_is_not_there_is_lost_though_its_rows_survived() -> None:
    judged = judge("onnara", [act(1), act(3)], with_papers(1, 3), "old", {"1": paper(1), "3": ""})
    assert (judged.lost_acked, judged.lost_documents, judged.lost_seconds) == (("3",), ("3",), 2.0)
    assert (judged.altered, judged.documents) == ((), 1)


def test_a_document_with_other_bytes_is_an_altered_act() -> None:
    judged = judge("onnara", [act(1), act(2)], with_papers(1, 2), "old", {"1": paper(1), "2": paper(1)})
    assert (judged.lost_acked, judged.altered) == ((), ("2",))


def test_a_row_that_speaks_of_no_document_is_an_altered_act_where_there_must_be_one() -> None:
    assert judge("onnara", [act(1)], alive(1), "old", {}).altered == ("1",)


def test_a_real_database_that_lost_an_act_and_altered_another_is_found_out(cluster: Cluster, tmp_path: Path) -> None:
    cluster.make_database("onnara")
    with cluster.connect("onnara", "app") as connection:
        connection.autocommit = False
        seed_into(connection, "onnara")
    ids = act_three_times(cluster, tmp_path / "acts.jsonl")
    dsns = {"onnara": cluster.dsn("onnara")}
    (before,) = referee(tmp_path / "acts.jsonl", dsns, None, {"onnara": tmp_path / "papers"})
    assert (before.acked, before.lost_acked, before.altered, before.documents) == (3, (), (), 3)
    with cluster.connect("onnara", "app") as connection:
        connection.execute("update decisions set decision = 'rejected' where act = %s", (ids[0],))
        for table, column in (
            ("approvals", "act"),
            ("decisions", "act"),
            ("documents", "act"),
            ("act_documents", "act"),
            ("acts", "id"),
        ):
            connection.execute(f"delete from {table} where {column} = %s", (ids[2],))  # noqa: S608
    papers = sorted((tmp_path / "papers").rglob("*.txt"))
    next(p for p in papers if p.stem == ids[1]).unlink()
    (after,) = referee(tmp_path / "acts.jsonl", dsns, None, {"onnara": tmp_path / "papers"})
    assert (after.lost_acked, after.altered, after.lost_seconds) == ((ids[1], ids[2]), (ids[0],), 2.0)
    assert after.lost_documents == (ids[1],)


def act_three_times(cluster: Cluster, file: Path) -> list[str]:
    """Three acts recorded by the engine, a second apart in the ledger."""
    definition = definition_of("onnara")
    connect = gate_connect("127.0.0.1", cluster.port, "onnara", str(cluster.passfile), "test")
    store, rng, ids = Store(definition, connect), random.Random(1), []
    with file.open("w") as ledger:
        for moment in (1.0, 2.0, 3.0):
            body = definition.sample(rng)
            act = str(uuid.uuid4())
            content = content_of("onnara", act, body)
            document = document_of(content, act, datetime(2026, 11, 26, tzinfo=UTC))
            (file.parent / "papers" / document.name).parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "papers" / document.name).write_bytes(content)
            values = {"id": act, **body, DOCUMENT: document}
            recorded = store.record(values, marked=False, epoch_min=0, attempt=Attempt())
            common = {"id": recorded.id, "system": "onnara", "at": "…", "monotonic": moment}
            told = {"outcome": "acked", "status": 201, "epoch": 1, "site": "old", "seconds": 0.1, "why": ""}
            ledger.write(json.dumps({"line": "intent", "body": body, **common}) + "\n")
            outcome = {"line": "outcome", "content_sha256": recorded.content_sha256, **told, **common}
            ledger.write(json.dumps(outcome) + "\n")
            ids.append(recorded.id)
    store.close()
    return ids
