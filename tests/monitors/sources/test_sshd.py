"""OpenSSH's words, and what they mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitors.sources.sshd import FIELDS, parse, said
from tests.monitors.sources.corpus import expected

NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            "Failed password for invalid user x y from 203.0.113.7 port 4022 ssh2",
            ("failure", "password", "x y", "true"),
        ),
        ("Failed password for ncia from 203.0.113.7 port 4022 ssh2", ("failure", "password", "ncia", None)),
        ("Accepted password for ncia from 203.0.113.7 port 4022 ssh2", ("success", "password", "ncia", None)),
        (
            "Accepted publickey for ncia from 203.0.113.7 port 4022 ssh2: ED25519 SHA256:abc",
            ("success", "publickey", "ncia", None),
        ),
        (
            "Failed keyboard-interactive/pam for root from 203.0.113.7 port 4022 ssh2",
            ("failure", "keyboard-interactive", "root", None),
        ),
    ],
)
def test_a_login_has_its_outcome_its_way_its_user_and_its_source(message: str, wanted: tuple[str | None, ...]) -> None:
    told = said(message)
    assert (told["event.action"], told["source.ip"], told["source.port"]) == ("ssh_login", "203.0.113.7", 4022)
    names = ("event.outcome", "ssh.method", "user.name", "ssh.invalid_user")
    assert tuple(told.get(name) for name in names) == wanted


def test_one_refused_password_is_one_failure_though_sshd_writes_three_lines() -> None:
    lines = (
        "Invalid user guest from 203.0.113.7 port 4022",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7",
        "Failed password for invalid user guest from 203.0.113.7 port 4022 ssh2",
    )
    failed = [line for line in lines if said(line).get("event.action") == "ssh_login" and "event.outcome" in said(line)]
    assert failed == [lines[2]]


def test_a_name_that_looks_like_a_log_line_cannot_move_the_blame() -> None:
    told = said("Failed password for invalid user x from 192.0.2.1 port 1 ssh2 from 203.0.113.7 port 4022 ssh2")
    assert (told["source.ip"], told["user.name"]) == ("203.0.113.7", "x from 192.0.2.1 port 1 ssh2")


@pytest.mark.parametrize(
    ("head", "at"),
    [
        ("2026-02-28T23:59:59.500000+00:00", datetime(2026, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC)),
        ("2026-03-01T08:00:00+09:00", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("Feb 28 23:59:59", datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)),
        ("Feb  2 03:04:05", datetime(2026, 2, 2, 3, 4, 5, tzinfo=UTC)),
        ("Feb 2 03:04:05", datetime(2026, 2, 2, 3, 4, 5, tzinfo=UTC)),
        ("Dec 31 23:59:59", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Feb 29 12:00:00", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_both_forms_and_one_without_a_year_is_the_last_of_its_name(head: str, at: datetime) -> None:
    event = parse(f"{head} dj-db1 sshd-session[7]: Server listening", "auth", NOW)
    assert event is not None
    assert event.at == at.timestamp()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no log at all",
        "Feb 28 23:59:59 dj-db1 cron[7]: Failed password for root from 203.0.113.7 port 4022 ssh2",
        "Feb 30 23:59:59 dj-db1 sshd[7]: x",
        "Xyz 28 23:59:59 dj-db1 sshd[7]: x",
        "2026-99-28T23:59:59Z dj-db1 sshd[7]: x",
        "\x00\xff" * 50,
    ],
)
def test_what_sshd_did_not_write_is_no_event(line: str) -> None:
    assert parse(line, "auth", NOW) is None


def test_no_event_has_a_field_that_its_kind_does_not_name() -> None:
    for line in expected("sshd-logs", "crowdsecurity/sshd-logs"):
        assert set(said(line["Parsed.message"])) <= FIELDS


@pytest.mark.parametrize("sample", ["sshd-logs", "sshd-success-logs", "sshd-logs-fp"])
def test_the_corpus_of_others_is_read_as_they_expect(sample: str) -> None:
    parser = "sshd-success-logs" if "success" in sample else "sshd-logs"
    for line in expected(sample, f"crowdsecurity/{parser}"):
        told = said(line["Parsed.message"])
        user = line.get("Meta.target_user") or line.get("Parsed.sshd_invalid_user")
        assert told["source.ip"] == line["Meta.source_ip"], line
        assert user in (None, told.get("user.name")), line
