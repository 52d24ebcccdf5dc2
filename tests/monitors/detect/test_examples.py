"""What may be shown of a log line."""

from __future__ import annotations

import pytest

from monitors.detect.examples import EXAMPLE_LENGTH_MAX, example


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Failed password for root from 1.2.3.4 port 1 ssh2", "Failed password for root from 1.2.3.4 port 1 ssh2"),
        ("Invalid user P@ss w0rd! from 1.2.3.4 port 1", "Invalid user [cut] from 1.2.3.4 port 1"),
        ("GET /login?user=kim&password=hunter2&x=1 HTTP/1.1", "GET /login?user=kim&password=[cut]&x=1 HTTP/1.1"),
        ("GET /?access_key=AK12 HTTP/1.1", "GET /?access_key=[cut] HTTP/1.1"),
        ("authorization: Bearer abcdef123456", "authorization: [cut]"),
        ("sent Basic dXNlcjpwYXNz along", "sent Basic [cut] along"),
        ("GET /acts?who=900101-1234567 HTTP/1.1", "GET /acts?who=[cut] HTTP/1.1"),
        ("a\x1b[31mb\nc", "a\\x1b[31mb\\x0ac"),
    ],
)
def test_secrets_and_control_characters_are_cut(line: str, shown: str) -> None:
    assert example(line) == shown


def test_a_long_line_is_shortened() -> None:
    assert len(example("x" * 10_000)) == EXAMPLE_LENGTH_MAX
