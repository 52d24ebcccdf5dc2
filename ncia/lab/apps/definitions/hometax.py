"""Comprehensive tax service: file a return, pay it, have one of 18 certificates issued."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Query, Rule, Step
from ncia.lab.apps.definitions.common import ARREARS_EVERY, PEOPLE, inquiry, name_sql, someone

TAXES = ("income", "value-added", "corporate", "withholding")

SCHEMA = """
create table taxpayers (id int primary key, name text not null, office int not null, arrears bigint not null);
create table certificates (code int primary key, title text not null);
create table returns (
    act uuid primary key references acts, taxpayer int not null references taxpayers, tax text not null,
    period int not null, amount bigint not null check (amount > 0), inquiry uuid not null,
    unique (taxpayer, tax, period)
);
create table payments (
    act uuid primary key references returns, amount bigint not null, receipt bigint generated always as identity unique
);
create table issued (act uuid primary key references returns, certificate int not null references certificates);
create view act_contents as
select r.act as id, jsonb_build_object(
    'taxpayer', r.taxpayer, 'tax', r.tax, 'period', r.period, 'amount', r.amount, 'inquiry', r.inquiry,
    'paid', p.amount, 'receipt', p.receipt, 'certificate', i.certificate) as content
from returns r left join payments p on p.act = r.act left join issued i on i.act = r.act;
"""

SEED = f"""
insert into taxpayers
select n, {name_sql("n")}, 100 + mod(n, 130), case when mod(n, {ARREARS_EVERY}) = 0 then 1000 * n else 0 end
from generate_series(1, {PEOPLE}) n;
insert into certificates select n, 'Tax certificate ' || n from generate_series(1, 18) n;
insert into returns
select md5('hometax' || n)::uuid, n, 'income', 202501, 1000 + n, md5('share' || n)::uuid
from generate_series(1, 1000) n;
insert into payments (act, amount) select md5('hometax' || n)::uuid, 1000 + n
from generate_series(1, 1000) n order by n;
insert into issued select md5('hometax' || n)::uuid, 1 + mod(n, 18) from generate_series(1, 1000) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    period = rng.randint(1990, 2024) * 100 + rng.randint(1, 12)
    return {
        "taxpayer": someone(rng),
        "tax": rng.choice(TAXES),
        "period": period,
        "amount": rng.randint(1, 10**7),
        "certificate": rng.randint(1, 18),
    }


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "taxpayer": someone(rng, 1000), "tax": "income", "period": 202501}


DEFINITION = Definition(
    system="hometax",
    schema=SCHEMA,
    seed=SEED,
    history=1000,
    fields=(
        Field("taxpayer", int),
        Field("tax", str),
        Field("period", int),
        Field("amount", int),
        Field("certificate", int),
    ),
    calls=(inquiry("taxpayer", 2, "tax return"),),
    steps=(
        Rule(lambda act: act["amount"] > 0, "a payment of {amount} won is none", 422),
        Rule(lambda act: act["tax"] in TAXES, "there is no {tax} tax", 422),
        Step(
            "select (select name from taxpayers where id = %(taxpayer)s) as name,"
            " (select title from certificates where code = %(certificate)s) as title"
        ),
        Rule(lambda act: act["name"] is not None, "there is no taxpayer {taxpayer}", 422),
        Rule(lambda act: act["title"] is not None, "there is no certificate {certificate}", 422),
        Step(
            "insert into returns values"
            " (%(id)s, %(taxpayer)s, %(tax)s, %(period)s, %(amount)s, %(inquiry)s) on conflict do nothing"
            " returning true as filed",
            "the {tax} tax of taxpayer {taxpayer} for {period} is already filed and paid",
        ),
        Step("insert into payments (act, amount) values (%(id)s, %(amount)s)"),
        Step("insert into issued values (%(id)s, %(certificate)s)"),
    ),
    read="""
        select jsonb_build_object('name', t.name, 'arrears', t.arrears) as seen
        from returns r join taxpayers t on t.id = r.taxpayer where r.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
    queries={"standing": Query("select name, arrears from taxpayers where id = %(key)s::int")},
)
