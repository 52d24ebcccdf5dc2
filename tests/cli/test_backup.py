"""``ncia backup`` against an API that answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from ncia.cli.backup import app
from ncia.core.base.errors import NciaError

POINT = {
    "point": "point-20260101T000000-abcdef",
    "dataset": "tax/rows",
    "at": "2026-01-01T00:00:00.000000Z",
    "store_site": "west",
    "copies": ["east"],
    "snapshots": [{"site": "west", "snapshot": "8e68" * 16}],
    "path": "tax/rows/point-20260101T000000-abcdef",
    "size_bytes": 33_000_000,
    "files": 1288,
    "seconds": 1.0,
    "compare_lsn": "0/10",
    "proof": "matched",
    "proved_at": "2026-01-01T00:00:02.000000Z",
    "restore_seconds": 1.25,
    "sentence": "5 tables, 6000 rows the same",
}
DUE = {
    "dataset": "land/rows",
    "system": "land",
    "source_site": "east",
    "store_site": "west",
    "copies": ["east"],
    "interval_seconds": 3600,
    "due_at": "2026-01-01T00:01:00.000000Z",
    "newest_point": None,
    "proven_point": None,
    "proven_at": None,
}


def job(state: str, dataset: str = "tax/rows", sentence: str = "") -> dict[str, str]:
    return {"job": f"backup-{dataset}", "dataset": dataset, "verb": "protect", "by": "kim", "state": state,
            "sentence": sentence}  # fmt: skip


class FakeApi:
    """Answers each GET with the next of ``listings`` (the last one for ever), each POST with ``asked``."""

    def __init__(self) -> None:
        self.listings: list[dict[str, Any]] = [{"site": "west", "datasets": [], "points": [], "missed": [], "jobs": []}]
        self.asked: list[dict[str, str]] = []
        self.cancelled: dict[str, str] = {}
        self.forgotten: dict[str, Any] = {}
        self.bodies: list[tuple[str, Any]] = []
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v1/backups/forget?agency=treasury":
                    self.answer(ours.forgotten)
                    return
                self.answer(ours.listings.pop(0) if len(ours.listings) > 1 else ours.listings[0])

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                ours.bodies.append((self.path, body))
                others = {"/v1/jobs/cancel": ours.cancelled, "/v1/backups/forget": ours.forgotten}
                others |= {"/v1/backups/write-off": ours.forgotten}
                self.answer(others.get(self.path, {"jobs": ours.asked}))

            def answer(self, told: Any) -> None:
                text = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    fake = FakeApi()
    monkeypatch.setenv("NCIA_API", f"http://127.0.0.1:{fake.server.server_port}")
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def told(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def listing(**parts: Any) -> dict[str, Any]:
    return {"site": "west", "datasets": [], "points": [], "missed": [], "jobs": [], **parts}


def test_the_list_shows_the_newest_point_of_each_dataset_and_in_words_what_is_wrong(api: FakeApi) -> None:
    old = {**POINT, "point": "point-old", "at": "2025-12-31T00:00:00.000000Z", "proof": "differs", "sentence": "x"}
    missed = {"job": "backup:land/rows", "dataset": "land/rows", "due_at": DUE["due_at"], "reason": "no success"}
    api.listings = [listing(points=[POINT, old], datasets=[DUE], missed=[missed], jobs=[job("running")])]
    text = told("list")
    assert "01-01 00:00" in text
    assert "matched" in text
    assert "differs" not in text
    assert "land/rows: no recovery point; first run due 2026-01-01T00:01:00Z" in text
    assert "missed: backup:land/rows due 2026-01-01T00:01:00Z: no success" in text
    assert "running: protect tax/rows" in text
    every = told("list", "--all")
    assert "point-old" in every
    assert "2025-12-31" in every  # of another year


def test_a_proof_that_failed_is_told_in_its_own_sentence(api: FakeApi) -> None:
    sentence = "civil.acts: 3 rows in the source, 2 in the copy"
    api.listings = [listing(points=[{**POINT, "proof": "differs", "sentence": sentence}])]
    assert f"tax/rows: {sentence}" in told("list")


def test_what_is_kept_aside_in_a_store_is_told_with_what_to_do(api: FakeApi) -> None:
    kept = {"path": "tax/rows/.damaged-point-1", "site": "west", "host": "west-store", "dataset": "tax/rows"}
    api.listings = [{**listing(), "aside": [{**kept, "size_bytes": 41_000_000, "since": "2026-01-01T00:00:00Z"}]}]
    assert (
        "kept aside at west: tax/rows/.damaged-point-1 (41 MB, since 2026-01-01T00:00Z): it was damaged there. "
        "Look at that disk; once nobody needs it as evidence, rm it below the store's folder on west-store"
    ) in told("list")


def test_json_is_what_the_api_answered(api: FakeApi) -> None:
    api.listings = [listing(points=[POINT])]
    assert json.loads(told("list", "--json")) == api.listings[0]


def test_run_waits_for_the_end_and_tells_it(api: FakeApi) -> None:
    api.asked = [job("queued")]
    api.listings = [listing(jobs=[job("running")]), listing(jobs=[job("succeeded", sentence="all the same")])]
    text = told("run", "tax/rows")
    assert api.bodies == [("/v1/backups/run", {"dataset": "tax/rows"})]
    assert "tax/rows: succeeded: all the same" in text


def test_a_failed_proof_fails_the_command_and_names_the_dataset(api: FakeApi) -> None:
    api.asked = [job("queued"), job("queued", "land/rows")]
    api.listings = [listing(jobs=[job("succeeded"), job("failed", "land/rows", "disk on fire")])]
    with pytest.raises(NciaError, match="failed: land/rows"):
        told("prove")


def test_a_job_lost_with_its_controller_is_told(api: FakeApi) -> None:
    api.asked = [job("queued")]
    with pytest.raises(NciaError, match="the controller restarted"):
        told("prove", "tax/rows")


def test_no_wait_only_asks(api: FakeApi) -> None:
    api.asked = [job("queued")]
    assert "backup-tax/rows" in told("prove", "--no-wait")


def test_a_site_that_protects_nothing_says_so(api: FakeApi) -> None:
    assert "protects nothing" in told("run")
    told("run", "tax/documents", "--emptied")
    assert api.bodies[-1] == ("/v1/backups/run", {"dataset": "tax/documents", "emptied": True})


def test_a_point_is_brought_by_its_dataset_and_name_and_kept_by_its_dataset(api: FakeApi) -> None:
    api.asked = [job("queued")]
    api.listings = [listing(jobs=[job("succeeded", sentence="point-1 is back")])]
    assert "tax/rows: succeeded: point-1 is back" in told("bring", "tax/rows", "--point", "point-1")
    told("keep", "tax/rows")
    told("bring", "--all", "--burnt")
    for arguments in (["bring"], ["bring", "tax/rows", "--all"]):
        with pytest.raises(NciaError, match="name a dataset, or say --all"):
            told(*arguments)
    api.asked = []
    assert "Nothing to keep: what is proven" in told("keep")
    assert api.bodies == [
        ("/v1/backups/bring", {"dataset": "tax/rows", "subject": "point-1", "burnt": False}),
        ("/v1/backups/keep", {"dataset": "tax/rows"}),
        ("/v1/backups/bring", {"dataset": None, "subject": "", "burnt": True}),
        ("/v1/backups/keep", {"dataset": None}),
    ]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("cancelled", "backup-tax/rows: cancelled\n"),
        ("running", "backup-tax/rows: running; it ends before its next step\n"),
    ],
)
def test_a_cancelled_job_is_told_with_when_it_ends(api: FakeApi, state: str, sentence: str) -> None:
    api.cancelled = job(state)
    assert told("cancel", "backup-tax/rows") == sentence
    assert api.bodies == [("/v1/jobs/cancel", {"job": "backup-tax/rows"})]


def test_waiting_ends_with_a_job_that_somebody_cancelled(api: FakeApi) -> None:
    api.asked = [job("queued")]
    api.listings = [{"jobs": [job("cancelled", sentence="cancelled by kim")]}]
    found = CliRunner().invoke(app, ["run", "tax/rows"])
    assert "tax/rows: cancelled: cancelled by kim" in found.output
    assert str(found.exception).startswith("run 1 datasets: failed: tax/rows")


def test_what_would_go_is_shown_and_goes_only_with_a_number_a_reason_and_a_name(api: FakeApi) -> None:
    api.forgotten = {"agency": "treasury", "site": "west", "would_go": 1, "of": 9, "named": ["8e68: old"]}
    api.forgotten |= {"forgotten": [], "why": ""}
    assert "1 of 9 snapshots would go; --remove-max 1 lets them go" in told("forget", "treasury")
    api.forgotten |= {"forgotten": ["8e68"]}
    said = told("forget", "treasury", "--remove-max", "1", "--reason", "meant so")
    assert "1 of 9 snapshots are forgotten" in said
    (asked,) = (body for _, body in api.bodies)  # to look needs no more than a reader
    assert (asked["remove_max"], asked["reason"], asked["by"] != "") == (1, "meant so", True)
    with pytest.raises(NciaError, match="nobody says why"):
        told("forget", "treasury", "--remove-max", "1")


def test_what_is_lost_is_written_off_with_a_reason_and_a_name(api: FakeApi) -> None:
    api.forgotten = {"agency": "treasury", "site": "west", "would_go": 1, "of": 9, "named": ["8e68: lost"]}
    api.forgotten |= {"forgotten": ["8e68"], "why": ""}
    assert "1 of 9 snapshots are forgotten" in told("write-off", "treasury", "--reason", "burnt")
    ((path, body),) = api.bodies
    assert (path, body["agency"], body["reason"], body["by"] != "") == (
        "/v1/backups/write-off",
        "treasury",
        "burnt",
        True,
    )
