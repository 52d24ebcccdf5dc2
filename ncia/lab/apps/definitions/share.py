"""Shared use of administrative information: one of 71 documents, with consent and a history the applicant can see."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Query, Rule, Step
from ncia.lab.apps.definitions.common import LOCKED_EVERY, PEOPLE, name_sql, someone

SCHEMA = """
create table documents (code int primary key, title text not null, agency text not null);
create table residents (
    id int primary key, name text not null, born date not null, address text not null, locked boolean not null
);
create table consents (
    act uuid primary key references acts, resident int not null references residents,
    document int not null references documents, given_at timestamptz not null default clock_timestamp()
);
create table inquiries (
    act uuid primary key references acts, resident int not null references residents,
    document int not null references documents, purpose text not null
);
create index on inquiries (resident);
create view act_contents as
select i.act as id, jsonb_build_object(
    'person', i.resident, 'document', i.document, 'purpose', i.purpose, 'consent', c.act is not null,
    'title', d.title, 'name', r.name, 'given_at', c.given_at at time zone 'UTC') as content
from inquiries i join documents d on d.code = i.document join residents r on r.id = i.resident
left join consents c on c.act = i.act;
"""

SEED = f"""
insert into documents select n, 'Document ' || n, 'Agency ' || 1 + mod(n, 24) from generate_series(1, 71) n;
insert into residents
select n, {name_sql("n")}, date '1940-01-01' + mod(n * 37, 25000), 'Street ' || 1 + mod(n * 7, 900),
    mod(n, {LOCKED_EVERY}) = 0
from generate_series(1, {PEOPLE}) n;
insert into consents
select md5('share' || n)::uuid, n, 1 + mod(n, 71), timestamptz '2026-01-01Z' + n * interval '1 min'
from generate_series(1, 500) n;
insert into inquiries select md5('share' || n)::uuid, n, 1 + mod(n, 71), 'loan' from generate_series(1, 500) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    purpose = rng.choice(("passport", "loan", "school", "housing"))
    return {"person": someone(rng), "document": rng.randint(1, 71), "purpose": purpose, "consent": True}


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "consent": False}


DEFINITION = Definition(
    system="share",
    schema=SCHEMA,
    seed=SEED,
    history=500,
    fields=(Field("person", int), Field("document", int), Field("purpose", str), Field("consent", bool)),
    steps=(
        Rule(lambda act: act["consent"], "resident {person} has not consented"),
        Step(
            "select (select title from documents where code = %(document)s) as title,"
            " (select locked from residents where id = %(person)s) as locked"
        ),
        Rule(lambda act: act["title"] is not None, "there is no document {document}", 422),
        Rule(lambda act: act["locked"] is not None, "there is no resident {person}", 422),
        Rule(lambda act: not act["locked"], "resident {person} has locked the record against sharing"),
        Step("insert into consents (act, resident, document) values (%(id)s, %(person)s, %(document)s)"),
        Step("insert into inquiries values (%(id)s, %(person)s, %(document)s, %(purpose)s)"),
    ),
    read="""
        select jsonb_build_object('history', (
            select jsonb_agg(h.purpose) from (
                select purpose from inquiries where resident = i.resident order by act limit 5) h)) as seen
        from inquiries i where i.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
    queries={"resident": Query("select name, locked from residents where id = %(key)s::int")},
)
