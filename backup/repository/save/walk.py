"""Which folders a backup goes through: the paths asked for, joined into one tree from the root down."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from ncia.core.base.errors import NciaError


@dataclass
class Way:
    """One folder on the way to what was asked for; ``whole`` where all that is in it was."""

    whole: bool = False
    parts: dict[bytes, Way] = field(default_factory=dict)


def ways(paths: Iterable[bytes]) -> Way:
    """The tree of absolute paths; one that lies within another asks for nothing more."""
    root = Way()
    for path in paths:
        at = root
        for part in path.split(b"/"):
            if not part or at.whole:
                continue
            at = at.parts.setdefault(part, Way())
        at.whole = True
        at.parts.clear()
    return root


def absolute(path: str | bytes) -> bytes:
    """As restic keeps it: from the root, ``.`` and ``..`` resolved by name alone, a link at its end left a link."""
    if not path:
        hint = "is a variable of your shell unset? this folder is ."
        raise NciaError("repository.no-path", "find a path", "it is empty", hint)
    return os.path.abspath(os.fsencode(path))
