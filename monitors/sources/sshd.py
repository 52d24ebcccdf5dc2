"""OpenSSH's server log (auth.log): who tried to log in, from where, by what, and whether it was let in. Pure.

The forms are those of OpenSSH's ``auth.c`` and ``monitor.c`` (``sshd``; since 9.8 ``sshd-session``) and pam_unix's.
Of one refused password sshd writes up to three lines; only ``Failed …`` is the refusal itself, so that it counts once.
"""

from __future__ import annotations

import re

from monitors.sources import syslog
from monitors.sources.event import MESSAGE, Event, Kind, Value

PROGRAMS = frozenset({"sshd", "sshd-session", "sshd-auth"})
LOGIN = "ssh_login"

_OUTCOME = re.compile(
    r"(?P<outcome>Accepted|Failed) (?P<method>[a-z-]+)(?:/\S+)? for (?P<invalid>invalid user |illegal user )?"
    r"(?P<user>.*) from (?P<ip>\S+) port (?P<port>\d+)(?: ssh\d?)?(?::.*)?"
)
_INVALID = re.compile(r"(?:Invalid|Illegal) user (?P<user>.*) from (?P<ip>\S+)(?: port (?P<port>\d+))?")
_LEFT = re.compile(
    r"(?:Connection (?:closed|reset) by|Disconnected from|Received disconnect from|Disconnecting)(?: (?:authenticating|"
    r"invalid) user (?P<who>.*?)| user (?P<user>.*?))? (?P<ip>[0-9a-fA-F.:]{3,45}) port (?P<port>\d+)\b.*"
)
_PEER = re.compile(
    r"(?:User (?P<user>\S+) |.*? )(?:from|with|for)(?: \S*@| \S+ \(| )(?:::ffff:)?"
    r"(?P<ip>\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)(?: port (?P<port>\d+))?.*"
)
_PAM = re.compile(r"pam_unix\(sshd:auth\): authentication failure;.* rhost=(?P<ip>\S*)(?:\s+user=(?P<user>.*))?")

FIELDS = frozenset(
    {
        "event.action",
        "event.outcome",
        "event.category",
        "source.ip",
        "source.port",
        "user.name",
        "host.name",
        "process.name",
        "process.pid",
        "ssh.method",
        "ssh.invalid_user",
        MESSAGE,
    }
)


def parse(line: str, name: str, now: float) -> Event | None:
    """The event of one line of an auth.log; None where sshd did not write it."""
    head = syslog.read(line, now)
    if head is None or head.program not in PROGRAMS:
        return None
    fields: dict[str, Value] = {"host.name": head.host, "process.name": head.program, MESSAGE: head.message}
    if head.pid:
        fields["process.pid"] = int(head.pid)
    fields.update(said(head.message))
    return Event(head.at, fields)


def said(message: str) -> dict[str, Value]:
    """What sshd's own words say; nothing where they speak of neither a login nor a peer."""
    first = message[:1]
    if first in "AF" and (found := _OUTCOME.fullmatch(message)) is not None:
        outcome = "success" if found["outcome"] == "Accepted" else "failure"
        told = _login(outcome, found["user"], found["ip"], found["port"])
        told["ssh.method"] = found["method"]
        if found["invalid"]:
            told["ssh.invalid_user"] = "true"
        return told
    if first == "I" and (found := _INVALID.fullmatch(message)) is not None:
        told = _login("", found["user"], found["ip"], found["port"] or "")
        return {**told, "event.action": "ssh_invalid_user", "ssh.invalid_user": "true"}
    if first == "p" and (found := _PAM.match(message)) is not None:
        return {**_login("failure", found["user"] or "", found["ip"], ""), "event.action": "pam_authentication"}
    if (found := _LEFT.match(message)) is not None:
        told = _login("", found["who"] or found["user"] or "", found["ip"], found["port"])
        return {**told, "event.action": "ssh_disconnect"}
    if (found := _PEER.match(message)) is not None:
        told = _login("", found["user"] or "", found["ip"], found["port"] or "")
        return {**told, "event.action": "ssh_connection"}
    return {}


def _login(outcome: str, user: str, ip: str, port: str) -> dict[str, Value]:
    told: dict[str, Value] = {"event.action": LOGIN, "event.category": "authentication"}
    if outcome:
        told["event.outcome"] = outcome
    if ip:
        told["source.ip"] = ip
    if user:
        told["user.name"] = user
    if port:
        told["source.port"] = int(port)
    return told


SSHD = Kind("sshd", parse, FIELDS, (("linux", "", "sshd"), ("linux", "", "auth")), {})
