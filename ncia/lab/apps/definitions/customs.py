"""Electronic customs clearance: a declaration with its quarantine result and the movement of its container."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Rule, Step
from ncia.lab.apps.definitions.common import inquiry, name_sql, someone, tax_standing

TRADERS = 3000
GOODS = 1200
PROHIBITED_EVERY = 50

SCHEMA = """
create table traders (id int primary key, name text not null);
create table goods (
    code int primary key, title text not null, duty_percent int not null, quarantine boolean not null,
    prohibited boolean not null
);
create table declarations (
    act uuid primary key references acts, trader int not null references traders, goods int not null references goods,
    direction text not null check (direction in ('import', 'export')), value bigint not null check (value > 0),
    duty bigint not null, inquiry uuid not null
);
create table quarantine_results (act uuid primary key references declarations, result text not null);
create table movements (
    act uuid primary key references declarations, container text not null unique, yard int not null
);
create view act_contents as
select d.act as id, jsonb_build_object(
    'trader', d.trader, 'goods', d.goods, 'direction', d.direction, 'value', d.value, 'duty', d.duty,
    'inquiry', d.inquiry, 'quarantine', q.result, 'container', m.container, 'yard', m.yard) as content
from declarations d left join quarantine_results q on q.act = d.act left join movements m on m.act = d.act;
"""

SEED = f"""
insert into traders select n, {name_sql("n")} from generate_series(1, {TRADERS}) n;
insert into goods select n, 'Goods ' || n, mod(n, 12), mod(n, 7) = 0, mod(n, {PROHIBITED_EVERY}) = 0
from generate_series(1, {GOODS}) n;
insert into declarations
select md5('customs' || n)::uuid, n, 1, 'import', 10000 + n, 100 + n / 100, md5('share' || n)::uuid
from generate_series(1, 600) n;
insert into quarantine_results select md5('customs' || n)::uuid, 'not required' from generate_series(1, 600) n;
insert into movements select md5('customs' || n)::uuid, 'SEED' || n, mod(n, 40) from generate_series(1, 600) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    goods = rng.randint(1, GOODS)
    return {
        "trader": someone(rng, TRADERS),
        "goods": goods if goods % PROHIBITED_EVERY else goods - 1,
        "direction": rng.choice(("import", "export")),
        "value": rng.randint(1, 10**8),
        "container": f"KRPU{rng.randrange(10**12):012d}",
    }


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "goods": PROHIBITED_EVERY * rng.randint(1, GOODS // PROHIBITED_EVERY)}


DEFINITION = Definition(
    system="customs",
    schema=SCHEMA,
    seed=SEED,
    history=600,
    fields=(
        Field("trader", int),
        Field("goods", int),
        Field("direction", str),
        Field("value", int),
        Field("container", str),
    ),
    calls=(tax_standing("trader"), inquiry("trader", 4, "clearance")),
    steps=(
        Rule(lambda act: not act["arrears"], "trader {trader} owes {arrears} won of tax"),
        Rule(lambda act: act["direction"] in ("import", "export"), "{direction} is neither import nor export", 422),
        Rule(lambda act: act["value"] > 0, "goods worth {value} won are none", 422),
        Step(
            "select duty_percent, quarantine, prohibited, exists (select 1 from traders where id = %(trader)s) as known"
            " from goods where code = %(goods)s",
            "there are no goods {goods}",
            422,
        ),
        Rule(lambda act: act["known"], "there is no trader {trader}", 422),
        Rule(lambda act: not act["prohibited"], "goods {goods} may be neither imported nor exported"),
        Step(
            "insert into declarations values (%(id)s, %(trader)s, %(goods)s, %(direction)s, %(value)s,"
            " %(value)s::bigint * %(duty_percent)s::int / 100, %(inquiry)s)"
        ),
        Step(
            "insert into quarantine_results"
            " values (%(id)s, case when %(quarantine)s then 'passed' else 'not required' end)"
        ),
        Step(
            "insert into movements values (%(id)s, %(container)s, mod(%(goods)s, 40)) on conflict do nothing"
            " returning yard",
            "container {container} is already declared",
        ),
    ),
    read="""
        select jsonb_build_object('goods', g.title, 'yard', m.yard) as seen
        from declarations d join goods g on g.code = d.goods join movements m on m.act = d.act where d.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
)
