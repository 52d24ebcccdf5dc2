"""What a hosted system is: its tables, its seed, its characteristic transaction, its rules, its calls.

A definition is data; :mod:`ncia.lab.apps.store` and :mod:`ncia.lab.apps.service` interpret it. Every definition's
schema ends in a view ``act_contents(id, content jsonb)``: the content of each act, put together from the rows that hold
it. Hashes are taken of that view (and of what the row says of the act's document), so a row that was altered or lost
shows, whatever was once acknowledged.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ncia.core.base.errors import NciaError

SCHEMA = "app"  # also the role's name, so PostgreSQL's default search_path finds it
TEXT_CHARACTERS_MAX = 4000

# The tables that all systems share in shape. `number` orders acts; `marked` ones are a recovery's own trials. An act of
# a system that has a file tree or bucket has a document, and the row says which.
ACTS = """
create table acts (
    id uuid primary key,
    number bigint generated always as identity unique,
    received_at timestamptz not null default clock_timestamp(),
    marked boolean not null default false
);
create table act_documents (
    act uuid primary key references acts, name text not null, size_bytes bigint not null, sha256 text not null
);
"""

# Acts of the time before: number n of a system has the id md5(<system><n>), and the definition's seed gives it rows.
HISTORY = """
insert into acts (id, received_at)
select md5(%(system)s || n)::uuid, timestamptz '2026-01-01Z' + n * interval '1 min'
from generate_series(1, %(history)s::int) n
"""

DOCUMENT = "kept_document"  # its key in an act's content and among its values

CONTENT = """
select id::text as id, content::text as content,
    encode(sha256(convert_to(content::text, 'UTF8')), 'hex') as content_sha256
from (
    select c.id, case when d.act is null then c.content else c.content || jsonb_build_object('kept_document',
        jsonb_build_object('name', d.name, 'size_bytes', d.size_bytes, 'sha256', d.sha256)) end as content
    from act_contents c left join act_documents d on d.act = c.id
) contents
"""

Values = Mapping[str, Any]


class RuleRefused(NciaError):
    """A rule of the system refuses the act; ``status`` is 409 (state) or 422 (the act itself is wrong)."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__("act.refused", "record the act", sentence)


@dataclass(frozen=True)
class Field:
    """One field of an act as citizens send it. ``kept`` fields appear under the same name in the act's content."""

    name: str
    kind: type[int] | type[str] | type[bool]
    kept: bool = True


@dataclass(frozen=True)
class Ask:
    """A read at another system: ``GET /queries/<query>?<query's key>=<value of key>``; its columns become values."""

    system: str
    query: str
    key: str


@dataclass(frozen=True)
class Delegate:
    """An act of our own at another system, made from our act's values; its id becomes the value ``into``."""

    system: str
    body: Callable[[Values], dict[str, Any]]
    into: str


@dataclass(frozen=True)
class Rule:
    """What must hold of the values known so far, or the act is refused with that sentence (formatted with them)."""

    holds: Callable[[Values], bool]
    otherwise: str
    status: int = 409


@dataclass(frozen=True)
class Step:
    """One statement of the transaction. The row that a SELECT gives becomes values for the steps after it.

    Where ``otherwise`` is set and no row comes, the act is refused with that sentence. A statement that neither
    selects nor may refuse is not waited for: it travels together with the next one that is.
    """

    sql: str
    otherwise: str = ""
    status: int = 409

    @property
    def awaited(self) -> bool:
        return bool(self.otherwise) or self.sql.startswith("select")


@dataclass(frozen=True)
class Query:
    """What other systems may ask: a statement with one parameter ``%(key)s`` and one row, or none."""

    sql: str


@dataclass(frozen=True)
class Definition:
    """One hosted system. ``sample`` makes an act that its rules take, ``refused_sample`` one that they refuse.

    ``read`` is the characteristic read: one jsonb value, given the id of the latest act (``{id}``).
    """

    system: str
    schema: str
    seed: str
    history: int
    fields: tuple[Field, ...]
    steps: tuple[Rule | Step, ...]
    read: str
    sample: Callable[[random.Random], dict[str, Any]]
    refused_sample: Callable[[random.Random], dict[str, Any]]
    calls: tuple[Ask | Delegate, ...] = ()
    queries: Mapping[str, Query] = field(default_factory=dict)

    @property
    def schema_version(self) -> str:
        """A hash of the statements that make the schema."""
        return hashlib.sha256((ACTS + self.schema).encode()).hexdigest()[:16]

    def accept(self, body: Values) -> dict[str, Any]:
        """The act's fields out of a request's body; raises :class:`RuleRefused` (422) telling every fault at once."""
        faults = []
        for each in self.fields:
            value = body.get(each.name)
            if type(value) is not each.kind:
                faults.append(f"{each.name} must be {each.kind.__name__}")
            elif isinstance(value, str) and not 0 < len(value) <= TEXT_CHARACTERS_MAX:
                faults.append(f"{each.name} must have 1 to {TEXT_CHARACTERS_MAX} characters")
            elif isinstance(value, str) and "\x00" in value:
                faults.append(f"{each.name} must not hold NUL")
        if faults:
            raise RuleRefused(422, "; ".join(faults))
        return {each.name: body[each.name] for each in self.fields}
