"""Gangnam's civil applications: request a civil document and follow it."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Ask, Definition, Field, Rule, Step
from ncia.lab.apps.definitions.common import PEOPLE, name_sql, registered, someone

SCHEMA = """
create table households (id int primary key, head text not null, street text not null);
create table offices (id int primary key, name text not null);
create table requests (
    act uuid primary key references acts, household int not null references households, kind int not null,
    note text not null, name text not null, open boolean not null default true
);
create unique index one_open_request on requests (household, kind) where open;
create table tracking (
    act uuid not null references requests, step int not null, office int not null references offices,
    state text not null, primary key (act, step)
);
create view act_contents as
select r.act as id, jsonb_build_object(
    'household', r.household, 'kind', r.kind, 'note', r.note, 'name', r.name, 'open', r.open,
    'steps', (select jsonb_agg(t.state order by t.step) from tracking t where t.act = r.act)) as content
from requests r;
"""

SEED = f"""
insert into households select n, {name_sql("n")}, 'Street ' || 1 + mod(n, 700) from generate_series(1, {PEOPLE}) n;
insert into offices select n, 'Office ' || n from generate_series(1, 22) n;
insert into requests select md5('gangnam-civil' || n)::uuid, n, 1, 'move', {name_sql("n")}, true
from generate_series(1, 400) n;
insert into tracking select md5('gangnam-civil' || n)::uuid, 1, 1 + mod(n, 22), 'received'
from generate_series(1, 400) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    return {"household": someone(rng), "kind": rng.randint(2, 28), "note": f"request {rng.randrange(10**6)}"}


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "household": someone(rng, 400), "kind": 1}


DEFINITION = Definition(
    system="gangnam-civil",
    schema=SCHEMA,
    seed=SEED,
    history=400,
    fields=(Field("household", int), Field("kind", int), Field("note", str)),
    calls=(Ask("egov", "certificate", "kind"), registered("household")),
    steps=(
        Rule(lambda act: not act["locked"], "{name} has locked the record against sharing"),
        Rule(lambda act: not act["counter_only"], "{certificate} is issued at the counter only"),
        Step("select 1 from households where id = %(household)s", "there is no household {household}", 422),
        Step(
            "insert into requests values (%(id)s, %(household)s, %(kind)s, %(note)s, %(name)s)"
            " on conflict do nothing returning true as received",
            "household {household} has an open request for document {kind}",
        ),
        Step("insert into tracking values (%(id)s, 1, 1 + mod(%(household)s, 22), 'received')"),
        Step("insert into tracking values (%(id)s, 2, 1 + mod(%(kind)s, 22), 'in work')"),
    ),
    read="""
        select jsonb_build_object('state', t.state, 'office', o.name) as seen
        from tracking t join offices o on o.id = t.office where t.act = {id} order by t.step desc limit 1""",
    sample=sample,
    refused_sample=refused_sample,
)
