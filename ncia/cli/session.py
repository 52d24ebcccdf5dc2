"""Where a person's session is kept between two commands: one file, readable by nobody else, by the API's address."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ncia.core.base.errors import NciaError

FILE_VARIABLE = "NCIA_SESSIONS"


@dataclass(frozen=True)
class Session:
    """``secret`` is shown to that one address only."""

    secret: str
    person: str
    expires_at: str


def path() -> Path:
    named = os.environ.get(FILE_VARIABLE)
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(named) if named else Path(home) / "ncia" / "sessions.json"


def load(address: str, now: str) -> Session | None:
    """The session at ``address`` that has not run out at ``now`` (RFC 3339)."""
    found = _read().get(address)
    session = Session(**found) if found else None
    return session if session and session.expires_at > now else None


def save(address: str, session: Session | None) -> None:
    """Keep a session, or forget it."""
    others = {known: each for known, each in _read().items() if known != address}
    _write({**others, address: asdict(session)} if session else others)


def _read() -> dict[str, dict[str, str]]:
    file = path()
    try:
        if file.stat().st_mode & 0o077:
            why, hint = "others may read it", f"chmod 600 {file}, and sign in again: it may have been read"
            raise NciaError("cli.session-file", f"read {file}", why, hint)
        told: Any = json.loads(file.read_text(encoding="utf-8"))
        fields = set(Session.__dataclass_fields__)
        return {known: each for known, each in told.items() if set(each) == fields}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise NciaError("cli.session-file", f"read {file}", str(error), f"remove {file}, and ncia login") from error


def _write(sessions: Mapping[str, Mapping[str, str]]) -> None:
    file = path()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(sessions, out)
        os.replace(new, file)
    except OSError as error:
        raise NciaError("cli.session-file", f"write {file}", error.strerror or str(error)) from error
