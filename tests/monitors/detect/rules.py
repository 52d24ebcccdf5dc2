"""Rules of the reference estate, and small ones of a test's own."""

from __future__ import annotations

from pathlib import Path

from monitors.detect.rules import RuleSet, load
from monitors.sources.event import Event, Kind, Value
from monitors.sources.nginx import NGINX
from monitors.sources.sshd import SSHD, said

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "detections"
KINDS: dict[str, Kind] = {kind.name: kind for kind in (SSHD, NGINX)}
GUESSED, FOUND = "0d6f6b3e-6d0c-4c7e-9b1c-0f6f0a7c1e03", "0d6f6b3e-6d0c-4c7e-9b1c-0f6f0a7c1e04"
SEARCHED = "0d6f6b3e-6d0c-4c7e-9b1c-0f6f0a7c1e12"

SSH = """
title: {title}
name: {name}
logsource: {{product: linux, service: sshd}}
detection:
{detection}
level: high
"""


def reference() -> RuleSet:
    return load(CONFIGS, KINDS)


def one(folder: Path, text: str) -> RuleSet:
    (folder / "rule.yml").write_text(text)
    return load(folder, KINDS)


def ssh(message: str, at: float, host: str = "dj-store1") -> Event:
    fields: dict[str, Value] = {"host.name": host, "process.name": "sshd", "message": message, **said(message)}
    return Event(at, fields)


def refused(at: float, ip: str = "203.0.113.7", user: str = "root", host: str = "dj-store1") -> Event:
    return ssh(f"Failed password for invalid user {user} from {ip} port 4022 ssh2", at, host)


def let_in(
    at: float, ip: str = "203.0.113.7", user: str = "ncia", host: str = "dj-store1", how: str = "password"
) -> Event:
    return ssh(f"Accepted {how} for {user} from {ip} port 4022 ssh2", at, host)
