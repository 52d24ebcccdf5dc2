"""A restored copy that runs on scratch: how it is configured, and what it is asked."""

from __future__ import annotations

import json
import re
import shlex

from backup.engines.sums import TABLES_SQL, pins_as_options, summed, sums_sql
from ncia.core.base.errors import NciaError
from ncia.core.base.lsn import lsn_number
from ncia.core.estate.model import Host
from ncia.core.journal.entries import TableSum
from ncia.core.work.remote import Remote

ROLE = "ncia_backup"
SOCKET_BYTES_MAX = 107 - len("/.s.PGSQL.5432")
RECOVERY_SECONDS_MAX = 300
SUMS_SECONDS_MAX = 3600.0
LIMITS = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
"""What a hot standby must not have less of than its primary had: pg_controldata's words, the settings' names."""


class Scratch:
    """A :class:`backup.ports.RestoredCopy`, asked with psql on its own host."""

    def __init__(self, remote: Remote, host: Host, psql: str, folder: str, database: str) -> None:
        self._remote = remote
        self._host = host
        self._psql = psql
        self._folder = folder
        self._database = database
        self.reached_lsn = "0/0"

    def wait_for(self, lsn: str) -> None:
        """Until recovery pauses at its target; raises where it has not come as far as ``lsn`` by then."""
        lines = self.ask(f"{WAIT_SQL};\n{_REACHED_SQL}", RECOVERY_SECONDS_MAX + 10.0)
        self.reached_lsn = lines[-1] if lines else "0/0"
        if lsn_number(self.reached_lsn) < lsn_number(lsn):
            why = f"recovery came to {self.reached_lsn}, and not to {lsn}"
            raise NciaError("proof.short", f"recover the copy in {self._folder}", why, "take a new backup")

    def tables(self) -> tuple[TableSum, ...]:
        names = [str(json.loads(line)) for line in self.ask(_NAMES_SQL)]
        return summed(self.ask(sums_sql(names), SUMS_SECONDS_MAX)) if names else ()

    def ask(self, sql: str, seconds: float = 60.0, role: str = ROLE) -> list[str]:
        """The answer's lines, one for each row."""
        command = ["nice", "-n", "10", "env", f"PGOPTIONS={pins_as_options()}", self._psql, "-XAtq"]
        command += ["-h", socket_folder(self._folder), "-U", role, "-d", self._database, "-v", "ON_ERROR_STOP=1"]
        what = f"ask the restored copy in {self._folder}"
        told = self._remote.run(self._host, [*command, "-f", "-"], timeout_seconds=seconds, stdin=f"{sql};\n".encode())
        return told.demand("proof.copy-unreadable", what).text.splitlines()


def socket_folder(folder: str) -> str:
    """Where the scratch's socket is; raises where the path is longer than a socket's may be."""
    place = f"{folder}/socket"
    if len(place.encode()) > SOCKET_BYTES_MAX:
        why = f"{place} is longer than the {SOCKET_BYTES_MAX} bytes of a socket's folder"
        raise NciaError("proof.path-too-long", "restore on scratch", why, "move the store to a shorter path")
    return place


def configuration(told: str, wal: str, folder: str, lsn: str) -> str:
    """The scratch's whole postgresql.conf; ``told`` is PG_VERSION and what pg_controldata printed.

    Small, unsafe on purpose (it is thrown away), and alone: no port, no archive, no primary, nobody waits for it.
    """
    version, control = told.split("\n", 1)
    folder_of_wal = shlex.quote(wal).replace("%", "%%")
    fetch = f'cp {folder_of_wal}/%f "%p" 2>/dev/null || cp {folder_of_wal}/%f.partial "%p"'
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": f"{folder}/socket",
        "unix_socket_permissions": "0700",
        "port": "5432",
        "shared_buffers": "8MB",
        "dynamic_shared_memory_type": "mmap",  # in its own folder: nothing stays in /dev/shm when it is killed
        "fsync": "off",
        "autovacuum": "off",
        "archive_mode": "off",
        "hot_standby": "on",
        "max_standby_archive_delay": "-1",  # replay waits a moment for a query; no query is cancelled
        "primary_conninfo": "",
        "synchronous_standby_names": "",
        "restart_after_crash": "off",
        "restore_command": fetch,
        "recovery_target_lsn": lsn,
        "recovery_target_inclusive": "on",
        "recovery_target_timeline": "current",
        "recovery_target_action": "pause",
        **limits(control),
    }
    if int(version.split(".")[0]) >= 18:
        settings["io_method"] = "sync"  # no workers for a server that lives for seconds
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())


def limits(control: str) -> dict[str, str]:
    """The primary's limits, as the copy's control file has them."""
    found = dict(re.findall(r"^([^:\n]+):[ \t]+(\S+)$", control, re.MULTILINE))
    return {setting: found[label] for label, setting in LIMITS.items() if label in found}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


_NAMES_SQL = f"select to_json(t) from ({TABLES_SQL}) as listed(t)"  # noqa: S608 - a constant of ours

WAIT_SQL = f"""
do $$
begin
  for look in 1..{RECOVERY_SECONDS_MAX * 50} loop
    exit when not pg_is_in_recovery() or pg_get_wal_replay_pause_state() = 'paused';
    perform pg_sleep(0.02);
    commit;  -- lets go of the snapshot: replay of a vacuum waits for older ones, and would wait for this loop
  end loop;
end $$"""
_REACHED_SQL = "select coalesce(pg_last_wal_replay_lsn(), '0/0')"
