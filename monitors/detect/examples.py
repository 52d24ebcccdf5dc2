"""Log lines as examples in a finding: short, harmless on a terminal, and without what must stay secret. Pure."""

from __future__ import annotations

import re

EXAMPLE_LENGTH_MAX = 240
CUT = "[cut]"

_SECRET = re.compile(
    r"(?i)\b((?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|session(?:id)?|sid|sig(?:nature)?"
    r"|auth(?:orization)?|code|jumin|rrn)[\"']?\s*[=:]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s&;\"']+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}")
_RESIDENT = re.compile(r"\b\d{6}-?[1-8]\d{6}\b")  # a resident registration number
_USER = re.compile(
    r"((?:Failed|Accepted) \S+ for (?:invalid user )?|(?:[Ii]nvalid|[Ii]llegal|authenticating) user )(.*)( from )"
)
_USUAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def example(line: str) -> str:
    """The line as it may be shown. A user's name that does not look like one may be a password typed into the
    wrong field: it is cut."""
    told = _USER.sub(lambda m: m[0] if _USUAL_NAME.fullmatch(m[2]) else f"{m[1]}{CUT}{m[3]}", line)
    told = _SECRET.sub(lambda m: f"{m[1]}{CUT}", told)
    told = _BEARER.sub(lambda m: f"{m[1]} {CUT}", told)
    return shown(_RESIDENT.sub(CUT, told), EXAMPLE_LENGTH_MAX)


def shown(text: str, length_max: int = 80) -> str:
    """One line of printable characters: an attacker chooses what stands in a log, and a terminal obeys it."""
    told = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return told if len(told) <= length_max else told[: length_max - 1] + "…"


def user(name: str) -> str:
    """A user's name as it may be shown."""
    return name if _USUAL_NAME.fullmatch(name) else CUT
