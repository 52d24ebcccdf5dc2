"""`ncia report backup`, `report loss` and `backup rehash`: what they ask of the API, and how they tell it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from ncia.cli import build
from ncia.core.base.errors import NciaError
from tests.console.test_reports import LOST
from tests.core.reports.test_backup import golden

READ = {"dataset": "tax/rows", "point": "point-1", "size_bytes": 30_000_000, "matched": True, "why": ""}


class Site:
    """An API that answers these routes and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {
            "/v1/reports/backup": golden(),
            "/v1/reports/loss": LOST,
            "/v1/backups/rehash": {"read": [READ]},
        }

    def answer(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        return self.answers[path.split("?")[0]]


@contextmanager
def served(site: Site) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(site.answer(self.path, None))

        def do_POST(self) -> None:
            self.say(site.answer(self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))

        def say(self, told: Any) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(site: Site, *arguments: str) -> str:
    with served(site) as address:
        result = CliRunner().invoke(build(), list(arguments), env={"NCIA_API": address})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_the_day_and_the_agency_are_asked_for_and_every_line_names_its_entry() -> None:
    site = Site()
    text = said(site, "report", "backup", "--day", "2026-06-01", "--agency", "treasury")
    assert site.asked == [("/v1/reports/backup?day=2026-06-01&agency=treasury", None)]
    for entry in ("south#1", "south#6", "south#8", "south#4", "north#0", "south#9"):
        assert entry in text
    assert "1 of 3 expected points were not made" in text


def test_the_backup_report_fits_a_hundred_columns_but_for_what_others_wrote() -> None:
    lines = said(Site(), "report", "backup").splitlines()
    assert max(cell_len(line) for line in lines) <= 100


def test_a_loss_is_told_by_agency_with_its_acts_and_what_has_no_name() -> None:
    site = Site()
    text = said(site, "report", "loss", "--run", "run-1")
    assert site.asked == [("/v1/reports/loss", {"run": "run-1", "site": "", "since": "", "agency": ""})]
    assert "1 lost, 1 altered" in text
    assert "lost    tax           gone" in text
    assert "at least 1,000 acts" in text
    assert LOST["list_sha256"] in text


@pytest.mark.parametrize("report", ["backup", "loss"])
def test_json_is_the_report_as_the_api_gives_it(report: str) -> None:
    site = Site()
    assert json.loads(said(site, "report", report, "--json")) == site.answers[f"/v1/reports/{report}"]


@pytest.mark.parametrize("report", ["backup", "loss"])
def test_a_page_is_written_to_the_file_that_was_named(report: str, tmp_path: Path) -> None:
    said(Site(), "report", report, "--html", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NciaError, match="No such file or directory"):
        said(Site(), "report", "backup", "--html", str(tmp_path / "no" / "page.html"))


def test_a_copy_that_was_read_again_is_told_and_a_damaged_one_fails_the_command() -> None:
    site = Site()
    assert "tax/rows: point-1, 30 MB: every byte is as written" in said(site, "backup", "rehash", "tax/rows")
    assert site.asked == [("/v1/backups/rehash", {"dataset": "tax/rows"})]
    site.answers["/v1/backups/rehash"] = {"read": [{**READ, "matched": False, "why": "checksum mismatch"}]}
    with pytest.raises(NciaError, match="damaged: tax/rows"):
        said(site, "backup", "rehash")
