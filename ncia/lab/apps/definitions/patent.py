"""Patent service: an application with its drawings; amendments, objections and decisions."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Rule, Step
from ncia.lab.apps.definitions.common import PEOPLE, name_sql, someone, tax_standing

CLASSES = 630

SCHEMA = """
create table applicants (id int primary key, name text not null);
create table classes (code int primary key, title text not null);
create table applications (
    act uuid primary key references acts, number bigint generated always as identity unique,
    applicant int not null references applicants, class int not null references classes, title text not null,
    claims int not null check (claims > 0), priority_days int not null, unique (applicant, title)
);
create table drawings (
    act uuid not null references applications, sheet int not null, svg text not null, primary key (act, sheet)
);
create table decisions (act uuid primary key references applications, decision text not null, decided_on date not null);
create view act_contents as
select a.act as id, jsonb_build_object(
    'applicant', a.applicant, 'class', a.class, 'title', a.title, 'claims', a.claims, 'number', a.number,
    'priority_days', a.priority_days, 'decision', d.decision,
    'drawings', (select jsonb_agg(encode(sha256(convert_to(w.svg, 'UTF8')), 'hex') order by w.sheet)
                 from drawings w where w.act = a.act)) as content
from applications a left join decisions d on d.act = a.act;
"""

SEED = f"""
insert into applicants select n, {name_sql("n")} from generate_series(1, {PEOPLE}) n;
insert into classes select n, 'Class ' || n from generate_series(1, {CLASSES}) n;
insert into applications (act, applicant, class, title, claims, priority_days)
select md5('patent' || n)::uuid, n, 1 + mod(n, {CLASSES}), 'Invention ' || n, 1 + mod(n, 20), 0
from generate_series(1, 400) n order by n;
insert into drawings select md5('patent' || n)::uuid, sheet, '<svg><circle r="' || n || '"/></svg>'
from generate_series(1, 400) n, generate_series(1, 2) sheet;
insert into decisions select md5('patent' || n)::uuid, 'granted', date '2026-06-01' from generate_series(1, 200) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    return {
        "applicant": someone(rng),
        "class": rng.randint(1, CLASSES),
        "title": f"Apparatus {rng.randrange(10**9)}",
        "claims": rng.randint(1, 30),
        "priority_days": rng.randint(0, 364),
        "drawing": f'<svg><rect width="{rng.randint(1, 999)}" height="{rng.randint(1, 999)}"/></svg>',
    }


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "priority_days": rng.randint(366, 2000)}


DEFINITION = Definition(
    system="patent",
    schema=SCHEMA,
    seed=SEED,
    history=400,
    fields=(
        Field("applicant", int),
        Field("class", int),
        Field("title", str),
        Field("claims", int),
        Field("priority_days", int),
        Field("drawing", str, kept=False),
    ),
    calls=(tax_standing("applicant"),),
    steps=(
        Rule(lambda act: act["claims"] > 0, "an application claims something", 422),
        Rule(
            lambda act: 0 <= act["priority_days"] <= 365,
            "priority may be claimed for 365 days, not for {priority_days}",
        ),
        Step(
            "select exists (select 1 from applicants where id = %(applicant)s) as known"
            " from classes where code = %(class)s",
            "there is no class {class}",
            422,
        ),
        Rule(lambda act: act["known"], "there is no applicant {applicant}", 422),
        Step(
            "insert into applications (act, applicant, class, title, claims, priority_days)"
            " values (%(id)s, %(applicant)s, %(class)s, %(title)s, %(claims)s, %(priority_days)s)"
            " on conflict do nothing returning number",
            "applicant {applicant} has already applied for {title!r}",
        ),
        Step("insert into drawings values (%(id)s, 1, %(drawing)s)"),
    ),
    read="""
        select jsonb_build_object('class', c.title, 'sheets', (
            select count(*) from drawings w where w.act = a.act)) as seen
        from applications a join classes c on c.code = a.class where a.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
)
