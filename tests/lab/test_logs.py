"""The lab's logs have the real programs' forms: what reads the real ones reads these."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from monitors.sources import nginx, sshd
from ncia.lab.logs import AccessLog, LogFile, SshLog

NOW = datetime(2026, 3, 1, 4, 0, 1, 250_000, tzinfo=UTC)
PEER = ("203.0.113.7", 4022)


def test_what_the_ssh_log_says_is_read_back(tmp_path: Path) -> None:
    log = SshLog(LogFile(tmp_path / "auth.log"), "dj-db1", lambda: NOW)
    log.invalid_user("x y\n", PEER)
    log.failed("password", "x y\n", False, PEER)
    log.failed("password", "ncia", True, PEER)
    log.accepted("publickey", "ncia", PEER, "ED25519 SHA256:abc")
    log.too_many("root", False, PEER)
    for told in (("ncia", True, True), ("root", False, False), ("", False, False)):
        log.closed(*told, PEER)
    lines = (tmp_path / "auth.log").read_text().splitlines()
    events = [sshd.parse(line, "auth", NOW.timestamp()) for line in lines]
    told = [
        (event.at, event.fields["host.name"], event.fields["event.action"], event.fields.get("user.name"))
        for event in events
        if event is not None
    ]
    at = NOW.timestamp()
    name = "x\\040y\\012"
    assert told == [
        (at, "dj-db1", "ssh_invalid_user", name),
        (at, "dj-db1", "ssh_login", name),
        (at, "dj-db1", "ssh_login", "ncia"),
        (at, "dj-db1", "ssh_login", "ncia"),
        (at, "dj-db1", "ssh_disconnect", "root"),
        (at, "dj-db1", "ssh_disconnect", "ncia"),
        (at, "dj-db1", "ssh_disconnect", "root"),
        (at, "dj-db1", "ssh_disconnect", None),
    ]
    assert {event.fields["source.ip"] for event in events if event is not None} == {PEER[0]}


def test_what_the_access_log_says_is_read_back_and_only_our_own_front_names_the_citizen(tmp_path: Path) -> None:
    log = AccessLog(LogFile(tmp_path / "hometax.log"), frozenset({"127.10.0.4"}), lambda: NOW)
    headers = {"x-forwarded-for": "198.51.100.9", "user-agent": 'a "b"\n'}
    log.answered("127.10.0.4", "GET /acts/latest?x=1 HTTP/1.1", headers, 200, 17)
    log.answered("203.0.113.7", "GET / HTTP/1.1", headers, 404, 0)
    events = [nginx.parse(line, "hometax", 0) for line in (tmp_path / "hometax.log").read_text().splitlines()]
    told = [
        (event.at, event.fields["source.ip"], event.fields["url.path"], event.fields["http.response.status_code"])
        for event in events
        if event is not None
    ]
    at = NOW.replace(microsecond=0).timestamp()
    assert told == [(at, "198.51.100.9", "/acts/latest", 200), (at, "203.0.113.7", "/", 404)]


def test_a_log_that_is_full_is_turned_over_and_two_old_ones_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "x.log", rotate_bytes=10)
    for number in range(5):
        file.write(f"line {number}")
    file.close()
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"x.log": "line 4\n", "x.log.1": "line 3\n", "x.log.2": "line 2\n"}
