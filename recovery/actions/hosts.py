"""The clusters of both sites as files and servers on their hosts: looked at, stopped, rewound, made to follow.

Commanded over SSH; ``sh -eu`` scripts with arguments by position, each of which may be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import psycopg

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import Host
from ncia.core.work.remote import Remote
from recovery.actions.dialling import Dialler
from recovery.actions.divergence import Divergence
from recovery.ports import CopyFacts, Stranded
from recovery.receiving.wal import slot_name as receiver_slot

LOOK_SECONDS = 20.0
STOP_SECONDS = 60.0
START_SECONDS = 300.0
REWIND_SECONDS = 3600.0

T = TypeVar("T")

SERVES = """
# Whether a postmaster works in that directory: a pid file alone may be a dead one's, its number somebody else's by now.
serves() {
    [ -f "$1/postmaster.pid" ] || return 1
    pid=$(head -n 1 "$1/postmaster.pid")
    [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] && tr '\\0' '\\n' < "/proc/$pid/cmdline" | grep -qxF -- "$1"
}
"""
"""Goes before the scripts that use it."""

FACTS = """
cd "$1" 2>/dev/null && [ -f PG_VERSION ] || { echo absent; exit 0; }
echo present
if serves "$1"; then echo running; fi
if [ -f standby.signal ]; then echo standby; fi
if [ -f ncia_rewound ] && [ ! -f "$1.rewinding" ]; then sed 's/^/rewound /' ncia_rewound; fi
LC_ALL=C "$2/pg_controldata" -D "$1" |
    sed -nE 's/^Database cluster state: +/state /p; s/^Latest checkpoint location: +/checkpoint /p'
"""
"""data directory, tools."""

STOP = """
serves "$1" || exit 0
"$2/pg_ctl" -D "$1" -m fast -w -t "$3" stop > /dev/null 2>&1 < /dev/null
"""
"""data directory, tools, seconds."""

START = """
if serves "$1"; then exit 0; fi
rm -f "$1/postmaster.pid"
if ! "$2/pg_ctl" -D "$1" -l "$1.log" -w -t "$3" start > "$1.start" 2>&1 < /dev/null; then
    tail -n 8 "$1.log" "$1.start" >&2
    exit 1
fi
"""
"""data directory, tools, seconds. A server that inherits our pipe would hold the session open."""

FOLLOW = """
cd "$1"
printf "primary_conninfo = '%s'\\nprimary_slot_name = '%s'\\n" "$2" "$3" >> postgresql.auto.conf
: > standby.signal
sync postgresql.auto.conf standby.signal
"""
"""data directory, primary_conninfo, slot; the last line of a setting wins."""

REWIND = """
umask 077
data=$1 tools=$2 source=$3 copy=$4 slot=$5 run=$6
export PGPASSFILE=$7
if serves "$data"; then
    echo "its server runs" >&2
    exit 1
fi
rm -f "$data/postmaster.pid"
how=pg_rewind
if [ ! -f "$data/PG_VERSION" ]; then
    how="pg_basebackup (there was no cluster)"
elif [ -f "$data.rewinding" ]; then
    how="pg_basebackup (a rewind was interrupted)"
else
    : > "$data.rewinding"
    sync "$data.rewinding"
    if ! "$tools/pg_rewind" -D "$data" --source-server="$source" > "$data.rewind" 2>&1 < /dev/null; then
        how="pg_basebackup (pg_rewind cannot: $(tail -n 1 "$data.rewind" | tail -c 120))"
    fi
fi
if [ "$how" != pg_rewind ]; then
    : > "$data.rewinding"
    mkdir -p "$data"
    find "$data" -mindepth 1 -delete
    "$tools/pg_basebackup" -D "$data" -d "$copy" -X stream -S "$slot" -c fast -w < /dev/null > "$data.rewind" 2>&1 || {
        tail -n 3 "$data.rewind" >&2
        exit 1
    }
    chmod 700 "$data"
fi
rm -f "$data/standby.signal"
echo "$run" > "$data/ncia_rewound"
sync "$data/ncia_rewound"
rm -f "$data.rewinding"
echo "$how"
"""
"""data directory, tools, source for pg_rewind, source for pg_basebackup, slot, run, password file: prints how.

A rewind that broke off leaves a directory that is neither: the file beside it says so, and the next try copies all."""

JOB_SLOTS = "ncia_job_"
"""How the slots of backup jobs begin (docs/architecture.md, "Protecting"): whoever took a backup of a primary that was
stopped meanwhile has failed, and looks for its slot at the new primary only."""
LEFT = """
select slot_name, active from pg_replication_slots
where not temporary and (slot_name = any(%s) or (starts_with(slot_name, %s) and not active)) order by 1
"""
"""What nobody will read any more at a server that has become a standby: the names, and :data:`JOB_SLOTS`."""


@dataclass(frozen=True)
class Place:
    """Paths on a site's database hosts."""

    data_root: PurePosixPath
    tools: PurePosixPath
    pgpass: PurePosixPath


class HostedCopies:
    """:class:`recovery.ports.Copies` as the dialler's viewer sees them; ``evidence`` is a folder at its own site."""

    def __init__(self, remote: Remote, places: Mapping[SiteId, Place], dialler: Dialler, evidence: Path) -> None:
        self._estate = dialler.estate
        self._remote = remote
        self._places = places
        self._dialler = dialler
        self._divergence = Divergence(dialler, self._run, evidence)

    def facts(self, system: SystemId, site: SiteId) -> CopyFacts:
        what = f"look at {system}'s cluster at {site}"
        told = self._run(system, site, what, FACTS, (str(self._places[site].tools),), LOOK_SECONDS).splitlines()
        words = dict(line.partition(" ")[::2] for line in told)
        return CopyFacts(
            present="present" in words,
            running="running" in words,
            standby="standby" in words,
            clean=words.get("state", "") == "shut down",
            checkpoint_lsn=words.get("checkpoint", ""),
            rewound_by=words.get("rewound", ""),
        )

    def stop(self, system: SystemId, site: SiteId) -> None:
        arguments = (str(self._places[site].tools), f"{STOP_SECONDS:g}")
        self._run(system, site, f"stop {system}'s server at {site}", STOP, arguments, STOP_SECONDS + LOOK_SECONDS)

    def start(self, system: SystemId, site: SiteId) -> None:
        arguments = (str(self._places[site].tools), f"{START_SECONDS:g}")
        self._run(system, site, f"start {system}'s server at {site}", START, arguments, START_SECONDS + LOOK_SECONDS)

    def follow(self, system: SystemId, site: SiteId, primary: SiteId) -> None:
        self._make_slot(system, primary, site)
        conninfo = f"{self._source(system, site, primary)} passfile={self._places[site].pgpass}"
        what = f"tell {system}'s cluster at {site} to follow {primary}"
        self._run(system, site, what, FOLLOW, (conninfo, slot_of(site)), LOOK_SECONDS)

    def forget(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        def act(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
            left = []
            for name, active in _left(connection, standby):
                if active:
                    left.append(str(name))
                else:
                    connection.execute("select pg_drop_replication_slot(%s)", (name,))
            return tuple(left)

        return self._replicator(system, site, f"drop {standby}'s slots of {system} at {site}", act)

    def slots_left(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        def act(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
            return tuple(str(name) for name, _ in _left(connection, standby))

        return self._replicator(system, site, f"look for {standby}'s slots of {system} at {site}", act)

    def rewind(self, system: SystemId, site: SiteId, source: SiteId, run: RunId) -> str:
        self._make_slot(system, source, site)  # from here on the source keeps what will be needed
        self._checkpoint(system, source)
        place, what = self._places[site], f"rewind {system}'s cluster at {site}"
        seen = self._estate.seen(self._estate.systems[system].postgres.copies[source].server, source, site)
        database = self._estate.systems[system].postgres.database
        rewinding = f"host={seen.host} port={seen.port} user=ncia_recover dbname={database}"
        arguments = (
            str(place.tools),
            rewinding,
            self._source(system, site, source),
            slot_of(site),
            run,
            str(place.pgpass),
        )
        return self._run(system, site, what, REWIND, arguments, REWIND_SECONDS).strip()

    def list_stranded(self, system: SystemId, site: SiteId, active: SiteId, run: RunId) -> Stranded:
        old = self.facts(system, site)
        if not old.present or old.standby:
            return self._divergence.keep(system, run, Stranded())
        place = self._places[site]
        return self._divergence.find(
            system, site, active, run, str(place.tools), str(place.data_root / ".old" / system)
        )

    def stranded_listed(self, system: SystemId, run: RunId) -> Stranded | None:
        return self._divergence.kept(system, run)

    # --- below -------------------------------------------------------------------------------------------------------

    def _run(
        self, system: SystemId, site: SiteId, what: str, script: str, arguments: tuple[str, ...], seconds: float
    ) -> str:
        """``script`` on the host of that cluster, its data directory as the first argument; what it printed."""
        copy = self._estate.systems[system].postgres.copies[site]
        host: Host = self._estate.hosts[copy.host]
        data = str(self._places[site].data_root / copy.data_directory)
        command = ["sh", "-euc", SERVES + script, "ncia", data, *arguments]
        return self._remote.run(host, command, timeout_seconds=seconds).demand("recovery.host", what).text

    def _source(self, system: SystemId, site: SiteId, primary: SiteId) -> str:
        """How ``site``'s copy dials ``primary``'s server for replication."""
        seen = self._estate.seen(self._estate.systems[system].postgres.copies[primary].server, primary, site)
        return f"host={seen.host} port={seen.port} user=replicator application_name={site}"

    def _make_slot(self, system: SystemId, primary: SiteId, standby: SiteId) -> None:
        def act(connection: psycopg.Connection[Any]) -> None:
            connection.execute(
                "select pg_create_physical_replication_slot(%(slot)s, true)"
                " where not exists (select 1 from pg_replication_slots where slot_name = %(slot)s)",
                {"slot": slot_of(standby)},
            )

        self._replicator(system, primary, f"make {standby}'s slot of {system} at {primary}", act)

    def _checkpoint(self, system: SystemId, site: SiteId) -> None:
        """A promoted server writes its new timeline into its control file, which pg_rewind reads, at a checkpoint."""
        what = f"let {system} at {site} make a checkpoint"
        with self._dialler.connect(system, site, "ncia_recover", what) as connection:
            connection.execute("checkpoint")

    def _replicator(self, system: SystemId, site: SiteId, what: str, act: Callable[[psycopg.Connection[Any]], T]) -> T:
        try:
            with self._dialler.connect(system, site, "replicator", what) as connection:
                return act(connection)
        except psycopg.Error as error:
            raise NciaError("recovery.postgresql", what, str(error).strip().splitlines()[0]) from error


def slot_of(standby: SiteId) -> str:
    """A standby's slot is named by its site; a slot's name has no hyphen."""
    return standby.replace("-", "_")


def _left(connection: psycopg.Connection[Any], standby: SiteId) -> list[tuple[Any, ...]]:
    names = [slot_of(standby), receiver_slot(standby)]
    return connection.execute(LEFT, (names, JOB_SLOTS)).fetchall()
