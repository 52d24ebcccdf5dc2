"""How a restored copy is configured; what the store refuses."""

import threading
from pathlib import PurePosixPath

import pytest

from backup.stores.remote import RemoteStore, StoreSite
from backup.stores.scratch import WAIT_SQL, configuration, limits, socket_folder
from ncia.core.base.errors import NciaError
from tests.backup.world import STORE_HOST
from tests.fakes.remote import LocalRemote
from tests.lab_apps.world import eventually
from tests.monitors.clusters import pair

CONTROL = """pg_control version number:            1800
wal_level setting:                    replica
max_connections setting:              120
max_worker_processes setting:         8
max_wal_senders setting:              5
max_prepared_xacts setting:           3
max_locks_per_xact setting:           64
track_commit_timestamp setting:       off
"""


def test_a_scratch_has_the_limits_that_its_primary_had() -> None:
    assert limits(CONTROL) == {
        "max_connections": "120",
        "max_worker_processes": "8",
        "max_wal_senders": "5",
        "max_prepared_transactions": "3",
        "max_locks_per_transaction": "64",
    }


def test_a_scratch_is_alone_and_stops_at_its_target() -> None:
    lines = configuration("18\n" + CONTROL, "/store/tax's 5%/wal", "/store/.scratch/1a2b3c", "0/10").splitlines()
    for line in (
        "listen_addresses = ''",
        "archive_mode = 'off'",
        "primary_conninfo = ''",
        "synchronous_standby_names = ''",
        "recovery_target_lsn = '0/10'",
        "recovery_target_action = 'pause'",
        "max_connections = '120'",
        "io_method = 'sync'",
    ):
        assert line in lines


def test_a_restore_command_survives_quotes_and_percent_signs_in_a_path() -> None:
    text = configuration("17\n" + CONTROL, "/store/tax's 5%/wal", "/s", "0/10")
    command = next(line for line in text.splitlines() if line.startswith("restore_command"))
    assert "5%%/wal" in command
    assert command.count("''") % 2 == 0
    assert "io_method" not in text


def test_a_path_too_long_for_a_socket_is_refused_in_words() -> None:
    with pytest.raises(NciaError, match="longer than"):
        socket_folder("/" + "x" * 100)


def test_waiting_for_recovery_holds_no_snapshot_that_recovery_waits_for() -> None:
    with pair() as servers:
        servers.standby.carry_out("ALTER SYSTEM SET max_standby_streaming_delay = -1")
        servers.standby.carry_out("SELECT pg_reload_conf()")
        servers.primary.carry_out("CREATE TABLE acts AS SELECT n FROM generate_series(1, 1000) n")
        waiting = threading.Thread(target=servers.standby.carry_out, args=(WAIT_SQL,))
        waiting.start()
        sleeps = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        eventually(lambda: servers.standby.carry_out(sleeps))
        servers.primary.carry_out("DELETE FROM acts")
        servers.primary.carry_out("VACUUM acts")
        ((written,),) = servers.primary.carry_out("SELECT pg_current_wal_insert_lsn() - '0/0'")
        replayed = f"SELECT 1 WHERE pg_last_wal_replay_lsn() - '0/0' >= {written}"
        eventually(lambda: servers.standby.carry_out(replayed))
        assert waiting.is_alive()
        servers.standby.carry_out("SELECT pg_wal_replay_pause()")
        waiting.join(10)
        assert not waiting.is_alive()


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "tax", "tax/../../etc", ""])
def test_nothing_outside_the_store_can_be_deleted(path: str) -> None:
    remote = LocalRemote()
    store = RemoteStore(remote, StoreSite(STORE_HOST, PurePosixPath("/nowhere"), PurePosixPath("/nowhere")))
    with pytest.raises(NciaError, match="not below a dataset's folder"):
        store.remove(path)
    assert remote.ran == []
