"""Internet civil service: apply for a certificate and have one of 28 documents issued."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Query, Rule, Step
from ncia.lab.apps.definitions.common import PEOPLE, inquiry, name_sql, someone

SCHEMA = """
create table kinds (code int primary key, title text not null, fee int not null, counter_only boolean not null);
create table applicants (id int primary key, name text not null, since date not null);
create table applications (
    act uuid primary key references acts, applicant int not null references applicants,
    kind int not null references kinds, copies int not null check (copies between 1 and 10), inquiry uuid not null
);
create table issues (
    act uuid primary key references acts, serial bigint generated always as identity unique, fee int not null,
    body text not null
);
create view act_contents as
select a.act as id, jsonb_build_object(
    'applicant', a.applicant, 'kind', a.kind, 'copies', a.copies, 'inquiry', a.inquiry, 'serial', i.serial,
    'fee', i.fee, 'body', i.body) as content
from applications a left join issues i on i.act = a.act;
"""

SEED = f"""
insert into kinds select n, 'Certificate ' || n, mod(n, 5) * 200, n > 28 from generate_series(1, 32) n;
insert into applicants
select n, {name_sql("n")}, date '2010-01-01' + mod(n * 13, 5000) from generate_series(1, {PEOPLE}) n;
insert into applications
select md5('egov' || n)::uuid, n, 1 + mod(n, 28), 1 + mod(n, 3), md5('share' || n)::uuid from generate_series(1, 500) n;
insert into issues (act, fee, body)
select md5('egov' || n)::uuid, 200, 'issued to ' || n from generate_series(1, 500) n order by n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    return {"applicant": someone(rng), "kind": rng.randint(1, 28), "copies": rng.randint(1, 3)}


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "kind": rng.randint(29, 32)}


DEFINITION = Definition(
    system="egov",
    schema=SCHEMA,
    seed=SEED,
    history=500,
    fields=(Field("applicant", int), Field("kind", int), Field("copies", int)),
    calls=(inquiry("applicant", 1, "certificate"),),
    steps=(
        Rule(lambda act: 1 <= act["copies"] <= 10, "1 to 10 copies are issued at once, not {copies}", 422),
        Step(
            "select title, fee, counter_only, (select name from applicants where id = %(applicant)s) as name"
            " from kinds where code = %(kind)s",
            "there is no certificate {kind}",
            422,
        ),
        Rule(lambda act: not act["counter_only"], "{title} is issued at the counter only"),
        Rule(lambda act: act["name"] is not None, "there is no applicant {applicant}", 422),
        Step("insert into applications values (%(id)s, %(applicant)s, %(kind)s, %(copies)s, %(inquiry)s)"),
        Step(
            "insert into issues (act, fee, body)"
            " values (%(id)s, %(fee)s::int * %(copies)s::int, %(title)s || ' for ' || %(name)s::text)"
        ),
    ),
    read="""
        select jsonb_build_object('title', k.title, 'serial', i.serial) as seen
        from applications a join kinds k on k.code = a.kind join issues i on i.act = a.act where a.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
    queries={"certificate": Query("select title as certificate, counter_only from kinds where code = %(key)s::int")},
)
