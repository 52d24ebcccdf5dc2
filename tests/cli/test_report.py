"""`ncia report continuity`: asked of the API, fit for 100 columns, honest about what was never measured."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from ncia.cli.report import app
from ncia.core.reports.continuity import ContinuityReport
from ncia.core.reports.naming import Naming
from tests.core.reports.test_continuity import FOLLOWED, MOVED, failover, proof, report
from tests.core.story import NORTH, SOUTH, Story


@contextmanager
def api_with(told: ContinuityReport) -> Iterator[dict[str, str]]:
    """An API that knows one route; the environment that points at it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/reports/continuity"
            body = json.dumps(told.to_json()).encode()
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body if known else b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {"NCIA_API": f"http://127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(report_: ContinuityReport, *options: str) -> str:
    with api_with(report_) as environment:
        result = CliRunner().invoke(app, ["continuity", *options], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_fits_a_hundred_columns() -> None:
    unnamed = replace(FOLLOWED, naming={NORTH: Naming("street was not heard since 2026-06-01 12:00:02 UTC")})
    lines = told(report(failover(14.2).say(5, SOUTH, proof(True)), unnamed, MOVED)).splitlines()
    assert max(cell_len(line) for line in lines) <= 100


def test_what_was_never_measured_is_said_so() -> None:
    text = told(report(Story()))
    assert "never measured" in text
    assert "Not proven" in text
    assert "it has never been moved by a run" in text


def test_promised_and_measured_stand_side_by_side() -> None:
    row = next(line for line in told(report(failover(14.2), FOLLOWED, MOVED)).splitlines() if " tax " in line)
    assert row.split()[:4] == ["1", "tax", "south", "0"]
    assert "1 h ✓ 14 s" in row
    assert "✗ 7 s" in row  # alone since its claim


@pytest.mark.parametrize(("why", "mark"), [("", "✓"), ("street was not heard since 20:15", "✗")])
def test_whether_a_loss_now_would_have_names_stands_beside_it(why: str, mark: str) -> None:
    text = told(report(Story(), replace(FOLLOWED, naming={NORTH: Naming(why)})))
    rows = {line.split()[1]: line.split() for line in text.splitlines() if " tax " in line or " fines " in line}
    assert rows["tax"][:8] == ["1", "tax", "north", "0", "s", "✓", "0", "s"]
    assert rows["tax"][8] == mark
    assert "?" in rows["fines"]  # only the other site can say
    assert why in text


def test_json_is_the_report_as_the_api_gives_it() -> None:
    wanted = report(failover(14.2), FOLLOWED, MOVED)
    assert json.loads(told(wanted, "--json")) == json.loads(json.dumps(wanted.to_json()))
