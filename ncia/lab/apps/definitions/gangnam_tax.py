"""Gangnam's tax payment: pay a local tax or a parking fine, by instalments, each once."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Rule, Step
from ncia.lab.apps.definitions.common import PEOPLE, name_sql, someone, tax_standing

INSTALMENTS = 12

SCHEMA = """
create table payers (id int primary key, name text not null);
create table bills (
    id int primary key, payer int not null references payers, kind text not null, instalment_won bigint not null
);
create table payments (
    act uuid primary key references acts, bill int not null references bills,
    instalment int not null check (instalment between 1 and 12), amount bigint not null, unique (bill, instalment)
);
create table receipts (act uuid primary key references payments, number bigint generated always as identity unique);
create view act_contents as
select p.act as id, jsonb_build_object(
    'payer', b.payer, 'bill', p.bill, 'instalment', p.instalment, 'amount', p.amount, 'kind', b.kind,
    'receipt', r.number) as content
from payments p join bills b on b.id = p.bill left join receipts r on r.act = p.act;
"""

# A payer's bills carry the payer's number: bill n and n + PEOPLE belong to payer n.
SEED = f"""
insert into payers select n, {name_sql("n")} from generate_series(1, {PEOPLE}) n;
insert into bills
select n, 1 + mod(n - 1, {PEOPLE}), case when n <= {PEOPLE} then 'local tax' else 'parking fine' end, 1000 + mod(n, 500)
from generate_series(1, 2 * {PEOPLE}) n;
insert into payments select md5('gangnam-tax' || n)::uuid, n, 1, 1000 + mod(n, 500) from generate_series(1, 500) n;
insert into receipts (act) select md5('gangnam-tax' || n)::uuid from generate_series(1, 500) n order by n;
"""


def act(payer: int, bill: int, instalment: int) -> dict[str, Any]:
    return {"payer": payer, "bill": bill, "instalment": instalment, "amount": 1000 + bill % 500}


def sample(rng: random.Random) -> dict[str, Any]:
    payer = someone(rng)
    return act(payer, payer + rng.choice((0, PEOPLE)), rng.randint(2, INSTALMENTS))


def refused_sample(rng: random.Random) -> dict[str, Any]:
    payer = someone(rng, 500)
    return act(payer, payer, 1)


DEFINITION = Definition(
    system="gangnam-tax",
    schema=SCHEMA,
    seed=SEED,
    history=500,
    fields=(Field("payer", int), Field("bill", int), Field("instalment", int), Field("amount", int)),
    calls=(tax_standing("payer"),),
    steps=(
        Rule(lambda act: 1 <= act["instalment"] <= INSTALMENTS, "there is no instalment {instalment}", 422),
        Step(
            "select kind, instalment_won from bills where id = %(bill)s and payer = %(payer)s",
            "payer {payer} has no bill {bill}",
            422,
        ),
        Rule(
            lambda act: act["amount"] == act["instalment_won"],
            "an instalment is {instalment_won} won, not {amount}",
            422,
        ),
        Step(
            "insert into payments values (%(id)s, %(bill)s, %(instalment)s, %(amount)s) on conflict do nothing"
            " returning true as paid",
            "instalment {instalment} of bill {bill} is already paid",
        ),
        Step("insert into receipts (act) values (%(id)s)"),
    ),
    read="""
        select jsonb_build_object('kind', b.kind, 'paid', (select count(*) from payments o where o.bill = b.id)) as seen
        from payments p join bills b on b.id = p.bill where p.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
)
