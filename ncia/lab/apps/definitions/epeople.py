"""Petitions and discussion: a petition with its attachment, routed to an agency, and its answer."""

# ruff: noqa: S608 -- the SQL is made of this file's own constants

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Definition, Delegate, Field, Rule, Step, Values
from ncia.lab.apps.definitions.common import PEOPLE, name_sql, someone

AGENCIES = 300

SCHEMA = """
create table agencies (id int primary key, name text not null, officer int not null);
create table petitioners (id int primary key, name text not null);
create table petitions (
    act uuid primary key references acts, petitioner int not null references petitioners, title text not null,
    body text not null, attachment text not null, document uuid not null, unique (petitioner, title)
);
create table routes (
    act uuid not null references petitions, step int not null, agency int not null references agencies,
    routed_at timestamptz not null default clock_timestamp(), primary key (act, step)
);
create table answers (act uuid primary key references petitions, body text not null);
create view act_contents as
select p.act as id, jsonb_build_object(
    'petitioner', p.petitioner, 'title', p.title, 'body', p.body, 'document', p.document,
    'attachment_sha256', encode(sha256(convert_to(p.attachment, 'UTF8')), 'hex'),
    'agency', (select r.agency from routes r where r.act = p.act order by r.step limit 1), 'answer', a.body) as content
from petitions p left join answers a on a.act = p.act;
"""

SEED = f"""
insert into agencies select n, 'Agency ' || n, n from generate_series(1, {AGENCIES}) n;
insert into petitioners select n, {name_sql("n")} from generate_series(1, {PEOPLE}) n;
insert into petitions
select md5('epeople' || n)::uuid, n, 'The street lamp', 'It is dark.', 'photograph ' || n, md5('onnara' || n)::uuid
from generate_series(1, 500) n;
insert into routes
select md5('epeople' || n)::uuid, 1, 1 + mod(n, {AGENCIES}), timestamptz '2026-01-02Z' from generate_series(1, 500) n;
insert into answers select md5('epeople' || n)::uuid, 'It was mended.' from generate_series(1, 500) n;
"""


def sample(rng: random.Random) -> dict[str, Any]:
    return {
        "petitioner": someone(rng),
        "agency": rng.randint(1, AGENCIES),
        "title": f"On the matter of {rng.randrange(10**9)}",
        "body": "민원 내용을 검토하여 주시기 바랍니다.",
        "attachment": rng.randbytes(96).hex(),
    }


def refused_sample(rng: random.Random) -> dict[str, Any]:
    return {**sample(rng), "petitioner": rng.randint(1, 500), "title": "The street lamp"}


def filed_document(values: Values) -> dict[str, Any]:
    """The agency's file on the petition: drafted by the agency's officer, approved by the one after."""
    agency = int(values["agency"])
    return {"drafter": agency, "approver": agency + 1, "title": values["title"], "body": "petition received"}


DEFINITION = Definition(
    system="epeople",
    schema=SCHEMA,
    seed=SEED,
    history=500,
    fields=(
        Field("petitioner", int),
        Field("agency", int),
        Field("title", str),
        Field("body", str),
        Field("attachment", str, kept=False),
    ),
    calls=(Delegate("onnara", filed_document, "document"),),
    steps=(
        Step(
            "select exists (select 1 from petitioners where id = %(petitioner)s) as known"
            " from agencies where id = %(agency)s",
            "there is no agency {agency}",
            422,
        ),
        Rule(lambda act: act["known"], "there is no petitioner {petitioner}", 422),
        Step(
            "insert into petitions values"
            " (%(id)s, %(petitioner)s, %(title)s, %(body)s, %(attachment)s, %(document)s) on conflict do nothing"
            " returning true as received",
            "petitioner {petitioner} has already sent the petition {title!r}",
        ),
        Step("insert into routes values (%(id)s, 1, %(agency)s)"),
    ),
    read="""
        select jsonb_build_object('agency', g.name, 'routed', r.step) as seen
        from routes r join agencies g on g.id = r.agency where r.act = {id} order by r.step desc limit 1""",
    sample=sample,
    refused_sample=refused_sample,
)
