"""Running a program under another user's name or with its own /etc/hosts: user namespaces, no root needed."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

NOBODY = 65534
BIND_HOSTS = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'


def as_database_user(command: Sequence[str]) -> list[str]:
    """``command`` as PostgreSQL accepts it: it refuses root, and a user without a name."""
    if os.geteuid() != 0 and named(os.geteuid()):
        return list(command)
    return ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--", *command]


def with_hosts(hosts: Path, command: Sequence[str]) -> list[str]:
    """``command`` in a mount namespace of its own where /etc/hosts is ``hosts``."""
    return ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", BIND_HOSTS, "sh", str(hosts), *command]


def nice(level: int, command: Sequence[str]) -> list[str]:
    return ["nice", "-n", str(level), *command] if level else list(command)


def named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
