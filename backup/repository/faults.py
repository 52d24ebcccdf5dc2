"""What can be wrong with a repository or with what it is asked, each with a code of its own."""

from __future__ import annotations

from ncia.core.base.errors import NciaError


class Damaged(NciaError):
    """Bytes are not what was written: a wrong authenticator, hash, or shape."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__("repository.damaged", what, why, "ncia repo check --read-data names all that is damaged")


class Hostile(NciaError):
    """A tree asks for something that no honest backup holds: a name that leads elsewhere, an entry twice."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__("repository.hostile", what, why, "nothing of it was written; find out who wrote this snapshot")
