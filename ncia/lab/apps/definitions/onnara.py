"""Business process system: a document, its line of approval and the recorded decision."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Query, Rule, Step
from ncia.lab.apps.definitions.common import name_sql

OFFICERS = 4000
UNITS = 400

SCHEMA = """
create table units (id int primary key, name text not null);
create table officers (id int primary key, name text not null, unit int not null references units);
create table documents (
    act uuid primary key references acts, drafter int not null references officers, unit int not null references units,
    title text not null, body text not null
);
create table approvals (
    act uuid not null references documents, step int not null, officer int not null references officers,
    primary key (act, step)
);
create table decisions (
    act uuid primary key references documents, number bigint generated always as identity unique,
    decision text not null,
    decided_by int not null references officers
);
create view act_contents as
select d.act as id, jsonb_build_object(
    'drafter', d.drafter, 'title', d.title, 'body', d.body, 'unit', d.unit, 'approver', c.decided_by,
    'number', c.number, 'decision', c.decision,
    'line', (select jsonb_agg(a.officer order by a.step) from approvals a where a.act = d.act)) as content
from documents d left join decisions c on c.act = d.act;
"""

SEED = f"""
insert into units select n, 'Unit ' || n from generate_series(1, {UNITS}) n;
insert into officers select n, {name_sql("n")}, 1 + mod(n, {UNITS}) from generate_series(1, {OFFICERS}) n;
insert into documents
select md5('onnara' || n)::uuid, n, 1 + mod(n, {UNITS}), 'Document ' || n, 'as discussed'
from generate_series(1, 700) n;
insert into approvals
select md5('onnara' || n)::uuid, step, case step when 1 then n else n + 1 end
from generate_series(1, 700) n, generate_series(1, 2) step;
insert into decisions (act, decision, decided_by)
select md5('onnara' || n)::uuid, 'approved', n + 1 from generate_series(1, 700) n order by n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    drafter, approver = rng.sample(range(1, OFFICERS + 1), 2)
    title = f"Plan {rng.randrange(10**6)}"
    return {"drafter": drafter, "approver": approver, "title": title, "body": "The plan is set out in the annex."}


def refused_sample(rng: random.Random) -> dict[str, Any]:
    act = sample(rng)
    return {**act, "approver": act["drafter"]}


DEFINITION = Definition(
    system="onnara",
    schema=SCHEMA,
    seed=SEED,
    history=700,
    fields=(Field("drafter", int), Field("approver", int), Field("title", str), Field("body", str)),
    steps=(
        Rule(lambda act: act["drafter"] != act["approver"], "officer {drafter} cannot approve a document of their own"),
        Step(
            "select unit, exists (select 1 from officers where id = %(approver)s) as known"
            " from officers where id = %(drafter)s",
            "there is no officer {drafter}",
            422,
        ),
        Rule(lambda act: act["known"], "there is no officer {approver}", 422),
        Step("insert into documents values (%(id)s, %(drafter)s, %(unit)s, %(title)s, %(body)s)"),
        Step("insert into approvals values (%(id)s, 1, %(drafter)s), (%(id)s, 2, %(approver)s)"),
        Step("insert into decisions (act, decision, decided_by) values (%(id)s, 'approved', %(approver)s)"),
    ),
    read="""
        select jsonb_build_object('title', d.title, 'unit', u.name) as seen
        from documents d join units u on u.id = d.unit where d.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
    queries={"officer": Query("select name, unit from officers where id = %(key)s::int")},
)
