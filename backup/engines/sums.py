"""A table's content as a count and a 128-bit number, the same text of SQL on the source and on the copy.

A row's hash is the MD5 of its text under pinned settings; a table's sum is the sum of its rows' hashes modulo 2^128:
the order of rows does not matter, and a row twice counts twice (with XOR it would vanish). MD5 is enough against
faults of copying; against forgery stands the signed journal, which holds the source's sums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ncia.core.journal.entries import TableSum

PINS = {
    "DateStyle": "ISO,YMD",
    "TimeZone": "UTC",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    "row_security": "off",  # a policy that hides rows is an error, not a shorter table
    "client_encoding": "UTF8",
    "jit": "off",
    "statement_timeout": "3600s",
}
"""Everything that changes how a value is written as text, and what would hide rows."""

OWN_SCHEMA = "ncia"  # our own marks move all the time and are nobody's acts

TABLES_SQL = f"""
select format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p'
  and n.nspname not in ('information_schema', '{OWN_SCHEMA}') and n.nspname !~ '^pg_'
order by 1
"""  # noqa: S608 - a constant of ours
"""Every logged table, leaf partitions one by one; unlogged ones are in no WAL, hence in no copy."""


def pins_as_options() -> str:
    """The pins as libpq's ``options``."""
    return " ".join(f"-c {name}={value}" for name, value in PINS.items())


def sum_sql(table: str) -> str:
    """One line of JSON about ``table``, whose name is quoted as ``TABLES_SQL`` gives it.

    The hash is cut into two signed 64-bit halves, for which PostgreSQL has quick sums; :func:`summed` puts them
    together. ``offset 0`` keeps the hash from being computed once per half.
    """
    name = table.replace("'", "''")
    return f"""
select json_build_object('table', '{name}', 'rows', count(*), 'high', coalesce(sum(high), 0)::text,
                         'low', coalesce(sum(low), 0)::text, 'negative', count(*) filter (where low < 0))::text
from (select ('x' || left(hash, 16))::bit(64)::bigint as high, ('x' || right(hash, 16))::bit(64)::bigint as low
      from (select md5((ncia_row.*)::text) as hash from only {table} as ncia_row offset 0) as hashed) as halved
"""  # noqa: S608 - the name comes quoted by PostgreSQL's own %I


def sums_sql(tables: Sequence[str]) -> str:
    """One line for each table, in one statement."""
    return " union all ".join(f"({sum_sql(table)})" for table in tables)


def summed(lines: Iterable[str]) -> tuple[TableSum, ...]:
    """The sums that the lines of :func:`sums_sql` spell, by name."""
    return tuple(sorted((_summed(json.loads(line)) for line in lines), key=lambda each: each.table))


def _summed(line: dict[str, str | int]) -> TableSum:
    low = int(line["low"]) + (int(line["negative"]) << 64)  # as if the lower halves had been unsigned
    total = ((int(line["high"]) << 64) + low) % (1 << 128)
    return TableSum(table=str(line["table"]), rows=int(line["rows"]), sum128=f"{total:032x}")
