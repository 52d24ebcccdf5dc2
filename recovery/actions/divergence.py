"""What an old primary holds beyond the point at which the new timeline began: found on a copy, kept as evidence.

A copy of its files is started alone on its host (no port, nobody waits, read only), so that crash recovery finishes
what was committed; the WAL after the fork names the transactions; their rows are compared with the new primary's, by
key. Rows that such a transaction deleted are not listed: the new primary has them still.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.journal.entries_recovery import StrandedTable
from recovery.actions.dialling import Dialler
from recovery.actions.evidence import keep_durably
from recovery.ports import Stranded

FOLDER = "evidence"
COPY_SECONDS = 3600.0
ASK_SECONDS = 600.0
CLOSE_SECONDS = 90.0
PIECE_BYTES = 2 * 1024 * 1024
ROWS_BYTES_MAX = 64 * 1024 * 1024
COMPARED_AT_ONCE = 500
ONLY_HERE, DIFFERS = "only here", "differs"
PLAIN = "set timezone = 'UTC'; set bytea_output = 'hex'; set intervalstyle = 'iso_8601'; set extra_float_digits = 1;"

# Runs a script (which may say `serves DIRECTORY`) on the host of a system's cluster at a site: system, site, what,
# script, arguments, seconds.
Run = Callable[[SystemId, SiteId, str, str, tuple[str, ...], float], str]

OPEN = """
umask 077
data=$1 tools=$2 place=$3
if serves "$data"; then
    echo "the old server runs: its files do not stand still" >&2
    exit 1
fi
"$tools/pg_ctl" -D "$place/data" -m immediate -w -t 30 stop > /dev/null 2>&1 < /dev/null || true
rm -rf "$place"
mkdir -p "$place/s"
cp -a --reflink=auto "$data" "$place/data"
rm -f "$place/data/postmaster.pid" "$place/data/standby.signal" "$place/data/recovery.signal"
echo 'local all all trust' > "$place/hba"
: > "$place/ident"
alone="-c listen_addresses= -c port=5432 -c unix_socket_directories=$place/s -c hba_file=$place/hba"
alone="$alone -c ident_file=$place/ident -c archive_mode=off -c autovacuum=off -c fsync=off -c primary_conninfo="
alone="$alone -c synchronous_standby_names= -c restart_after_crash=off -c default_transaction_read_only=on"
if ! "$tools/pg_ctl" -D "$place/data" -o "$alone" -l "$place/log" -w -t 1800 start > "$place/start" 2>&1 < /dev/null
then
    tail -n 8 "$place/log" "$place/start" >&2
    exit 1
fi
"""
"""data directory, tools, place. Trust is on a socket in a 0700 folder."""

COMMITS = """
tools=$2 place=$3
"$tools/pg_waldump" -p "$place/data/pg_wal" -t "$4" -s "$5" -r Transaction > "$place/wal" 2> "$place/wal.err" || true
echo "end $(tail -n 1 "$place/wal.err")"
grep 'desc: COMMIT' "$place/wal" | sed -E 's/; inval msgs:.*//' || true
"""
"""data directory, tools, place, timeline, LSN: how it ended, and the commit records. At the end of WAL pg_waldump
reports an invalid record and fails: that is how it ends."""

ASK = """
cd "$3"
cat > ask
"$2/psql" -XAtq -h "$3/s" -U ncia_backup -d "$4" -v ON_ERROR_STOP=1 -f ask < /dev/null
"""
"""data directory, tools, place, database, with the SQL put into the script by :func:`asking`."""

READ = """
tail -c "+$3" "$2/rows" | head -c "$4" | base64 -w 0
"""
"""data directory, place, first byte (from 1), bytes: in base64, for a piece may end within a character."""

CLOSE = """
"$2/pg_ctl" -D "$3/data" -m immediate -w -t 30 stop > /dev/null 2>&1 < /dev/null || true
rm -rf "$3"
"""
"""data directory, tools, place."""

TABLES = """
select json_build_object('schema', n.nspname, 'name', c.relname, 'key',
    (select json_agg(a.attname order by k.n) from pg_index i, unnest(i.indkey::int2[]) with ordinality k(att, n),
     pg_attribute a where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.att))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_'
    and n.nspname not in ('information_schema', 'ncia')
order by 1::text;
"""
WAL_ENDS = re.compile(r"invalid|could not find a valid record|unexpected pageaddr|incorrect|zero|out of order|^end ?$")
COMMIT = re.compile(r"tx: +(\d+), .*desc: COMMIT(?:_PREPARED (\d+):)?")
SUBXACTS = re.compile(r"; subxacts: ([\d ]+)")


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    key: tuple[str, ...]

    @property
    def full(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))


@dataclass(frozen=True)
class Row:
    table: str
    row: Mapping[str, Any]


class Divergence:
    """``run`` commands a host; ``evidence`` is the folder at the controller's own site."""

    def __init__(self, dialler: Dialler, run: Run, evidence: Path) -> None:
        self._dialler = dialler
        self._run = run
        self._evidence = evidence

    def find(self, system: SystemId, site: SiteId, active: SiteId, run: RunId, tools: str, place: str) -> Stranded:
        """``place``: a folder on the host, for the copy; it is removed again."""
        what = f"list what is stranded of {system} at {site}"
        history = self._history(system, active, what)
        bench = _Bench(
            self._run, system, site, tools, place, self._dialler.estate.systems[system].postgres.database, what
        )
        bench.open()
        try:
            timeline = bench.timeline()
            fork = fork_of(timeline, history, what)
            xids, commits = bench.transactions(timeline, fork) if fork else ((), 0)
            tables = bench.tables()
            rows = bench.rows(tables, xids) if xids else ()
        finally:
            bench.close()
        verdicts = self._compare(system, active, tables, rows, what)
        found = Stranded(timeline, fork, commits, counted(verdicts))
        return self.keep(system, run, found, [{"table": r.table, "verdict": v, "row": r.row} for r, v in verdicts])

    def keep(self, system: SystemId, run: RunId, found: Stranded, rows: Sequence[Mapping[str, Any]] = ()) -> Stranded:
        """Durable when it returns; the file is whole or is not there."""
        path = self._path(system, run)
        told = {**asdict(found), "tables": [t.model_dump() for t in found.tables], "run": run, "system": system}
        text = json.dumps({**told, "rows": list(rows)}, ensure_ascii=False, indent=1, sort_keys=True)
        keep_durably(path, text.encode())
        return self._sealed(path, found)

    def kept(self, system: SystemId, run: RunId) -> Stranded | None:
        path = self._path(system, run)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        tables = tuple(StrandedTable(**table) for table in told["tables"])
        return self._sealed(path, Stranded(told["timeline"], told["fork_lsn"], told["transactions"], tables))

    def _path(self, system: SystemId, run: RunId) -> Path:
        return self._evidence / run / f"{system}.json"

    def _sealed(self, path: Path, found: Stranded) -> Stranded:
        name = PurePosixPath(self._evidence.name) / path.parent.name / path.name
        return replace(found, evidence=str(name), sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    # --- the new primary ---------------------------------------------------------------------------------------------

    def _history(self, system: SystemId, site: SiteId, what: str) -> dict[int, str]:
        """Where each earlier timeline of the new primary ended, and its own (without an end)."""
        with self._dialler.connect_for_replication(system, site, what) as connection:
            told = connection.execute("IDENTIFY_SYSTEM").fetchone()
            current = int(told[1]) if told else 0
            if current <= 1:
                return {current: ""}
            content = connection.execute(f"TIMELINE_HISTORY {current}".encode()).fetchone()
        text = content[1] if content else ""
        return {**history_of(text.decode() if isinstance(text, bytes) else str(text)), current: ""}

    def _compare(
        self, system: SystemId, site: SiteId, tables: Sequence[Table], rows: Sequence[Row], what: str
    ) -> list[tuple[Row, str]]:
        """Each row with its verdict; those that the new primary has just so are left out."""
        if not rows:
            return []
        found: list[tuple[Row, str]] = []
        by_name = {table.full: table for table in tables}
        with self._dialler.connect(system, site, "ncia_backup", what) as connection:
            connection.execute(PLAIN.encode())
            for name in sorted({row.table for row in rows}):
                own = [row for row in rows if row.table == name]
                for start in range(0, len(own), COMPARED_AT_ONCE):
                    batch = own[start : start + COMPARED_AT_ONCE]
                    same = dict(connection.execute(comparing(by_name[name]), ([Jsonb(r.row) for r in batch],)))
                    found += [
                        (row, DIFFERS if number in same else ONLY_HERE)
                        for number, row in enumerate(batch, 1)
                        if same.get(number) is not True
                    ]
        return found


class _Bench:
    """The copy, running alone in ``place`` on the old primary's host."""

    def __init__(
        self, run: Run, system: SystemId, site: SiteId, tools: str, place: str, database: str, what: str
    ) -> None:
        self._run, self._system, self._site = run, system, site
        self._tools, self._place, self._database, self._what = tools, place, database, what

    def open(self) -> None:
        self._sh(OPEN, (self._tools, self._place), COPY_SECONDS)

    def close(self) -> None:
        self._sh(CLOSE, (self._tools, self._place), CLOSE_SECONDS)

    def timeline(self) -> int:
        return int(self._ask("select pg_walfile_name(pg_current_wal_lsn());")[0][:8], 16)

    def transactions(self, timeline: int, fork: str) -> tuple[tuple[str, ...], int]:
        """Their ids (of subtransactions too), and how many committed, in the order of committing."""
        told = self._sh(COMMITS, (self._tools, self._place, str(timeline), fork), ASK_SECONDS)
        ended, _, commits = told.partition("\n")
        if not WAL_ENDS.search(ended):
            raise NciaError("recovery.wal-unreadable", self._what, ended.removeprefix("end "))
        return committed(commits.splitlines())

    def tables(self) -> tuple[Table, ...]:
        told = (json.loads(line) for line in self._ask(TABLES))
        return tuple(Table(t["schema"], t["name"], tuple(t["key"] or ())) for t in told)

    def rows(self, tables: Sequence[Table], xids: Sequence[str]) -> tuple[Row, ...]:
        """Every row version that one of the transactions left."""
        lines = [PLAIN, f"\\set xids '{','.join(xids)}'", "\\o rows"]
        lines += [
            f"select json_build_object('table', '{t.full.replace(chr(39), chr(39) * 2)}', 'row', to_jsonb(t.*))"  # noqa: S608 - quoted
            f" from only {t.quoted} t where t.xmin::text in (select unnest(string_to_array(:'xids', ',')));"
            for t in tables
        ]
        self._ask("\n".join([*lines, "\\o", ""]))
        size = int(self._sh('wc -c < "$2/rows"', (self._place,), ASK_SECONDS))
        if size > ROWS_BYTES_MAX:
            why = f"{size} bytes of rows, more than the {ROWS_BYTES_MAX} that are kept as one file"
            hint = f"keep a copy of the cluster at {self._site}, then fail back by hand"
            raise Refusal("recovery.too-much-stranded", self._what, why, hint)
        pieces = (
            base64.b64decode(self._sh(READ, (self._place, str(start + 1), str(PIECE_BYTES)), ASK_SECONDS))
            for start in range(0, size, PIECE_BYTES)
        )
        told = (json.loads(line) for line in b"".join(pieces).splitlines())
        return tuple(Row(t["table"], t["row"]) for t in told)

    def _ask(self, query: str) -> list[str]:
        return self._sh(asking(query), (self._tools, self._place, self._database), ASK_SECONDS).splitlines()

    def _sh(self, script: str, arguments: tuple[str, ...], seconds: float) -> str:
        return self._run(self._system, self._site, self._what, script, arguments, seconds)


def asking(query: str) -> str:
    """:data:`ASK` with ``query`` in it: a quoted here-document expands nothing."""
    return ASK.replace("cat > ask\n", f"cat > ask <<'--ncia--'\n{query}\n--ncia--\n")


def history_of(text: str) -> dict[int, str]:
    """PostgreSQL's timeline history: where each timeline ended, by its number."""
    lines = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {int(words[0]): words[1] for words in lines}


def fork_of(timeline: int, history: Mapping[int, str], what: str) -> str:
    """Where ``timeline`` was left; empty where it is the new primary's own."""
    if timeline not in history:
        why = f"the new primary's history does not know timeline {timeline}: the two have no common past"
        raise Refusal("recovery.no-common-past", what, why, "keep a copy of the old cluster, then fail back by hand")
    return history[timeline]


def committed(lines: Iterable[str]) -> tuple[tuple[str, ...], int]:
    ids: list[str] = []
    commits = 0
    for line in lines:
        found = COMMIT.search(line)
        if not found:
            continue
        commits += 1
        subxacts = SUBXACTS.search(line)
        ids += [found[2] or found[1], *(subxacts[1].split() if subxacts else ())]
    return tuple(ids), commits


def counted(verdicts: Iterable[tuple[Row, str]]) -> tuple[StrandedTable, ...]:
    known = list(verdicts)
    return tuple(
        StrandedTable(
            table=name,
            only_here=sum(1 for row, verdict in known if (row.table, verdict) == (name, ONLY_HERE)),
            differs=sum(1 for row, verdict in known if (row.table, verdict) == (name, DIFFERS)),
        )
        for name in sorted({row.table for row, _ in known})
    )


def comparing(table: Table) -> sql.Composed:
    """Number (from 1) and sameness of those of the given rows that the table has: by its key, or whole without one."""
    name = sql.Identifier(table.schema, table.name)
    if not table.key:
        query = (
            "select x.n, true from unnest(%s::jsonb[]) with ordinality x(j, n)"
            " where exists (select from {name} t where to_jsonb(t.*) = x.j)"
        )
        return sql.SQL(query).format(name=name)
    on = sql.SQL(" and ").join(sql.SQL("t.{c} = k.{c}").format(c=sql.Identifier(column)) for column in table.key)
    query = (
        "select x.n, to_jsonb(t.*) = x.j from unnest(%s::jsonb[]) with ordinality x(j, n)"
        " cross join lateral jsonb_populate_record(null::{name}, x.j) k join {name} t on {on}"
    )
    return sql.SQL(query).format(name=name, on=on)
