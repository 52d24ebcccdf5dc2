"""Electronic procurement: a sealed bid before a deadline; awards, contracts and payments of what was decided."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import hashlib
import random
from typing import Any

from ncia.lab.apps.definition import Definition, Field, Query, Rule, Step
from ncia.lab.apps.definitions.common import inquiry, name_sql, someone, tax_standing

SUPPLIERS = 3000
OPEN_TENDERS = 1500  # ids 1 … OPEN_TENDERS; those above are closed

SCHEMA = """
create table suppliers (id int primary key, name text not null, barred boolean not null);
create table tenders (
    id int primary key, title text not null, buyer text not null, budget bigint not null, closes_at timestamptz not null
);
create table bids (
    act uuid primary key references acts, tender int not null references tenders,
    supplier int not null references suppliers, sealed text not null, placed_at timestamptz not null,
    inquiry uuid not null,
    unique (tender, supplier)
);
create table contracts (
    bid uuid primary key references bids, amount bigint not null, signed_on date not null
);
create table payments (
    contract uuid not null references contracts, part int not null, amount bigint not null, primary key (contract, part)
);
create view act_contents as
select b.act as id, jsonb_build_object(
    'tender', b.tender, 'supplier', b.supplier, 'sealed', b.sealed, 'inquiry', b.inquiry, 'buyer', t.buyer,
    'placed_at', b.placed_at at time zone 'UTC') as content
from bids b join tenders t on t.id = b.tender;
"""

SEED = f"""
insert into suppliers select n, {name_sql("n")}, mod(n, 211) = 0 from generate_series(1, {SUPPLIERS}) n;
insert into tenders
select n, 'Tender ' || n, 'Agency ' || 1 + mod(n, 60), 1000000 * (1 + mod(n, 900)),
    case when n <= {OPEN_TENDERS} then timestamptz '2100-01-01Z' else timestamptz '2026-02-01Z' end
from generate_series(1, {OPEN_TENDERS} + 500) n;
insert into bids
select md5('g2b' || n)::uuid, {OPEN_TENDERS} + n, n, encode(sha256(n::text::bytea), 'hex'),
    timestamptz '2026-01-01Z' + n * interval '1 min', md5('share' || n)::uuid
from generate_series(1, 500) n;
insert into contracts select md5('g2b' || n)::uuid, 900000 * (1 + mod(n, 900)), date '2026-02-10'
from generate_series(1, 500) n;
insert into payments select md5('g2b' || n)::uuid, part, 300000 * (1 + mod(n, 900))
from generate_series(1, 500) n, generate_series(1, 3) part;
"""


def supplier(rng: random.Random) -> int:
    while True:
        one = someone(rng, SUPPLIERS)
        if one % 211:
            return one


def sample(rng: random.Random) -> dict[str, Any]:
    sealed = hashlib.sha256(rng.randbytes(16)).hexdigest()
    return {"tender": rng.randint(1, OPEN_TENDERS), "supplier": supplier(rng), "sealed": sealed}


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "tender": OPEN_TENDERS + rng.randint(1, 500)}


DEFINITION = Definition(
    system="g2b",
    schema=SCHEMA,
    seed=SEED,
    history=500,
    fields=(Field("tender", int), Field("supplier", int), Field("sealed", str)),
    calls=(tax_standing("supplier"), inquiry("supplier", 3, "qualification")),
    steps=(
        Rule(lambda act: not act["arrears"], "supplier {supplier} owes {arrears} won of tax"),
        Step(
            "select closes_at, clock_timestamp() as placed_at,"
            " (select barred from suppliers where id = %(supplier)s) as barred"
            " from tenders where id = %(tender)s",
            "there is no tender {tender}",
            422,
        ),
        Rule(lambda act: act["barred"] is False, "supplier {supplier} may not bid"),
        Rule(lambda act: act["placed_at"] < act["closes_at"], "the bid is late: tender {tender} closed at {closes_at}"),
        Step(
            "insert into bids values (%(id)s, %(tender)s, %(supplier)s, %(sealed)s, %(placed_at)s, %(inquiry)s)"
            " on conflict do nothing returning true as placed",
            "supplier {supplier} has already bid for tender {tender}",
        ),
    ),
    read="""
        select jsonb_build_object('title', t.title, 'bids', (select count(*) from bids o where o.tender = t.id)) as seen
        from bids b join tenders t on t.id = b.tender where b.act = {id}""",
    sample=sample,
    refused_sample=refused_sample,
    queries={"supplier": Query("select name, barred from suppliers where id = %(key)s::int")},
)
