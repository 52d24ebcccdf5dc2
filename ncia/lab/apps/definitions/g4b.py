"""Single window for business support: 1,887 services of 205 organisations; an application is passed on."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Ask, Definition, Field, Rule, Step
from ncia.lab.apps.definitions.common import name_sql, registered, tax_standing
from ncia.lab.apps.definitions.g2b import SUPPLIERS, supplier

SERVICES = 1887
ORGANISATIONS = 205
CLOSED_EVERY = 37

SCHEMA = """
create table organisations (id int primary key, name text not null);
create table services (
    id int primary key, organisation int not null references organisations, title text not null, closed boolean not null
);
create table businesses (id int primary key, name text not null);
create table applications (
    act uuid primary key references acts, service int not null references services,
    business int not null references businesses, wish text not null, name text not null
);
create table passed_on (
    act uuid primary key references applications, organisation int not null references organisations,
    reference bigint generated always as identity unique
);
create view act_contents as
select a.act as id, jsonb_build_object(
    'service', a.service, 'business', a.business, 'wish', a.wish, 'name', a.name,
    'organisation', p.organisation, 'reference', p.reference) as content
from applications a left join passed_on p on p.act = a.act;
"""

SEED = f"""
insert into organisations select n, 'Organisation ' || n from generate_series(1, {ORGANISATIONS}) n;
insert into services select n, 1 + mod(n, {ORGANISATIONS}), 'Service ' || n, mod(n, {CLOSED_EVERY}) = 0
from generate_series(1, {SERVICES}) n;
insert into businesses select n, {name_sql("n")} from generate_series(1, {SUPPLIERS}) n;
insert into applications
select md5('g4b' || n)::uuid, n, n, 'support', {name_sql("n")} from generate_series(1, 400) n;
insert into passed_on (act, organisation)
select md5('g4b' || n)::uuid, 1 + mod(n, {ORGANISATIONS}) from generate_series(1, 400) n order by n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    service = rng.randint(1, SERVICES)
    return {
        "service": service if service % CLOSED_EVERY else service - 1,
        "business": supplier(rng),
        "wish": rng.choice(("loan", "export advice", "patent advice", "training")),
    }


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "service": CLOSED_EVERY * rng.randint(1, SERVICES // CLOSED_EVERY)}


DEFINITION = Definition(
    system="g4b",
    schema=SCHEMA,
    seed=SEED,
    history=400,
    fields=(Field("service", int), Field("business", int), Field("wish", str)),
    calls=(Ask("g2b", "supplier", "business"), tax_standing("business"), registered("business")),
    steps=(
        Rule(lambda act: not act["locked"], "{name} has locked the record against sharing"),
        Rule(lambda act: not act["barred"], "business {business} is barred"),
        Rule(lambda act: not act["arrears"], "business {business} owes {arrears} won of tax"),
        Step(
            "select organisation, closed, exists (select 1 from businesses where id = %(business)s) as known"
            " from services where id = %(service)s",
            "there is no service {service}",
            422,
        ),
        Rule(lambda act: act["known"], "there is no business {business}", 422),
        Rule(lambda act: not act["closed"], "service {service} takes no more applications"),
        Step("insert into applications values (%(id)s, %(service)s, %(business)s, %(wish)s, %(name)s)"),
        Step("insert into passed_on (act, organisation) values (%(id)s, %(organisation)s)"),
    ),
    read="""
        select jsonb_build_object('service', s.title, 'organisation', o.name) as seen
        from applications a join services s on s.id = a.service join organisations o on o.id = s.organisation
        where a.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
)
