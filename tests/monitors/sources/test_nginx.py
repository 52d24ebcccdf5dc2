"""Access logs in the combined form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitors.sources.nginx import FIELDS, parse
from tests.monitors.sources.corpus import expected

LINE = '203.0.113.7 - kim [01/Mar/2026:13:00:01 +0900] "GET /acts/1?key=a%20b HTTP/1.1" 404 17 "-" "curl/8"'


def test_a_line_becomes_an_event_in_ecs_fields() -> None:
    event = parse(LINE, "hometax", 0)
    assert event is not None
    assert event.at == datetime(2026, 3, 1, 4, 0, 1, tzinfo=UTC).timestamp()
    assert dict(event.fields) == {
        "event.category": "web",
        "source.ip": "203.0.113.7",
        "service.name": "hometax",
        "user.name": "kim",
        "http.request.method": "GET",
        "url.original": "/acts/1?key=a%20b",
        "url.path": "/acts/1",
        "url.query": "key=a%20b",
        "http.version": "1.1",
        "http.response.status_code": 404,
        "http.response.body.bytes": 17,
        "user_agent.original": "curl/8",
        "message": LINE,
    }
    assert set(event.fields) <= FIELDS


def test_a_quote_inside_a_field_does_not_end_it() -> None:
    event = parse(LINE.replace("curl/8", 'a \\"b\\" c'), "x", 0)
    assert event is not None
    assert event.fields["user_agent.original"] == 'a \\"b\\" c'


@pytest.mark.parametrize("request_line", ["", "\\x16\\x03\\x01", "GET", "GET /x"])
def test_a_request_that_is_none_is_still_told(request_line: str) -> None:
    event = parse(LINE.replace("GET /acts/1?key=a%20b HTTP/1.1", request_line), "x", 0)
    assert event is not None
    assert event.fields.get("url.original", "") == request_line


@pytest.mark.parametrize(
    "line", ["", "x", LINE.replace("Mar", "Xxx"), LINE.replace("01/", "41/"), LINE[: LINE.index("]")]]
)
def test_what_is_no_access_line_is_no_event(line: str) -> None:
    assert parse(line, "x", 0) is None


def test_the_corpus_of_others_is_read_as_they_expect() -> None:
    fields = {
        "Meta.source_ip": "source.ip",
        "Meta.http_verb": "http.request.method",
        "Meta.http_path": "url.original",
        "Meta.http_status": "http.response.status_code",
        "Meta.http_user_agent": "user_agent.original",
        "Meta.target_fqdn": "url.domain",
        "Parsed.body_bytes_sent": "http.response.body.bytes",
    }
    lines = [
        line
        for line in expected("nginx_http-logs", "crowdsecurity/nginx-logs")
        if line.get("Meta.log_type") == "http_access-log"
    ]
    for line in lines:
        event = parse(line["Parsed.message"], "x", 0)
        assert event is not None, line
        told = {name: str(event.fields.get(field, "")) for name, field in fields.items()}
        assert told == {name: line.get(name, "") for name in fields}
    assert len(lines) == 8
