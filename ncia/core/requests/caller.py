"""Who is asking: the one answer that every rule, entry and view of the API is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import AgencyId
from ncia.core.estate.model import Role

ANONYMOUS, LOCAL, PEER, AGENT, WORKER, FRONT_DOOR = "anonymous", "local", "peer", "agent", "worker", "front-door"
PEOPLE = tuple(role.value for role in Role)
STANDINGS = (ANONYMOUS, LOCAL, PEER, AGENT, WORKER, FRONT_DOOR, *PEOPLE)
"""The columns of the policy table. ``local`` is whoever the file system lets in at the site's unix socket."""


@dataclass(frozen=True)
class Caller:
    """``name`` stands in entries as ``by``; ``agencies`` is how far the caller sees, empty is everything;
    ``credential`` names the session, token or certificate, and is no secret; ``site`` is a machine's."""

    name: str
    standing: str
    agencies: tuple[AgencyId, ...] = ()
    credential: str = ""
    kind: Literal["", "session", "token", "certificate"] = ""
    expires_at: str = ""
    site: str = ""

    @property
    def is_person(self) -> bool:
        return self.kind == "session"

    def in_own_name(self, named: str, what: str) -> str:
        """Whose request it is. At the unix socket the caller names a person; anybody else is who they proved to be."""
        if self.standing == LOCAL:
            if not named:
                raise Refusal(
                    "api.no-name", what, "nobody is named who asks for it", "name a person: by, or ncia login"
                )
            return named
        if named not in ("", self.name):
            why = f"{self.name} is signed in, and asked in the name of {named}"
            raise Refusal("api.other-person", what, why, "leave 'by' out: what you ask for is asked in your own name")
        return self.name

    def name_or(self, named: str) -> str:
        """As :meth:`in_own_name`, where a request at the unix socket need not name anybody."""
        return (named or self.name) if self.standing == LOCAL else self.in_own_name(named, "ask")


NOBODY = Caller(ANONYMOUS, ANONYMOUS)
OWNER = Caller(LOCAL, LOCAL)
