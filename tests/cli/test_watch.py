"""`ncia status` and `ncia alerts`: the first line says the one thing that matters."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from typer.testing import CliRunner

from ncia.cli.watch import app
from ncia.cli.watch_drawing import headline
from ncia.core.journal.entries import AlertAcked, IncidentOpened
from ncia.core.views import Live, status_view
from tests.core.story import NORTH, SOUTH, THIRD, Story, at, sample_estate, text

ESTATE = sample_estate()
LOST = IncidentOpened(
    incident="site-north-1",
    root="site:north",
    cause="site-lost",
    severity="critical",
    sentence="North is lost: South and the witness both see nothing of it since 21:00:01 KST; its lease is gone.",
    run_next="ncia recover plan north",
    members=("app:tax@north", "entry:tax"),
    systems=("tax",),
)
MINOR = LOST.model_copy(
    update={"incident": "backup-tax.rows-1", "root": "backup:tax/rows", "severity": "minor", "sentence": "Missed."}
)


def view(story: Story | None = None) -> dict[str, Any]:
    live = Live(vantages={NORTH: at(9), SOUTH: at(9), THIRD: at(9)})
    state = (story or Story()).state()
    told: dict[str, Any] = json.loads(json.dumps(status_view(SOUTH, ESTATE, state, live, {}, at(10)).to_json()))
    return told


@contextmanager
def api(told: dict[str, Any], posted: list[tuple[str, Any]] | None = None) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/v1/status": told, "/v1/incidents": {"incidents": told["incidents"]}}
            self._say(answers[self.path])

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if posted is not None:
                posted.append((self.path, asked))
            self._say({"incident": "site-north-1", **asked})

        def _say(self, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {"NCIA_API": f"http://127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_gravest_incident_is_the_first_line_and_its_command_is_there() -> None:
    with api(view(Story().say(1, SOUTH, MINOR, LOST))) as environment:
        told = CliRunner().invoke(app, ["status"], env=environment)
    assert told.exit_code == 0, told.output
    assert told.output.splitlines()[0].startswith("North is lost")
    assert "Run: ncia recover plan north" in told.output
    assert "explains 2 more" in told.output
    assert "Nobody has it: ncia alerts ack site-north-1" in told.output


def test_an_incident_that_somebody_has_gives_way_to_one_that_nobody_has() -> None:
    ack = AlertAcked(incident="site-north-1", by="kim", comment="on it", until=text(600))
    told = headline(view(Story().say(1, SOUTH, LOST, MINOR, ack)))[0]
    assert told == "Missed."


def test_what_nobody_sees_is_never_called_well() -> None:
    told = headline(view())[0]
    assert "not seen up" in told


def test_status_as_json_is_the_view_itself() -> None:
    told = view(Story().say(1, SOUTH, LOST))
    with api(told) as environment:
        result = CliRunner().invoke(app, ["status", "--json"], env=environment)
    assert json.loads(result.output) == told


def test_alerts_without_a_verb_lists_them_with_owner_and_end() -> None:
    ack = AlertAcked(incident="site-north-1", by="kim", comment="calling the site", until=text(600))
    with api(view(Story().say(1, SOUTH, LOST, ack))) as environment:
        told = CliRunner().invoke(app, ["alerts"], env=environment)
    assert "kim has it until" in told.output
    assert "calling the site" in told.output


def test_no_alerts_is_said_in_words() -> None:
    with api(view()) as environment:
        assert "No incident is open." in CliRunner().invoke(app, ["alerts", "list"], env=environment).output


def test_ack_posts_who_what_and_for_how_long() -> None:
    posted: list[tuple[str, Any]] = []
    with api(view(), posted) as environment:
        words = ["alerts", "ack", "site-north-1", "--by", "kim", "--comment", "on it", "--minutes", "30"]
        told = CliRunner().invoke(app, words, env=environment)
    assert posted == [("/v1/incidents/site-north-1/ack", {"by": "kim", "comment": "on it", "minutes": 30.0})]
    assert "kim has site-north-1 for 30 minutes: on it" in told.output
