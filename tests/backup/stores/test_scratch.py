"""How a restored copy is configured; what the store refuses."""

from pathlib import PurePosixPath

import pytest

from backup.stores.remote import RemoteStore, StoreSite
from backup.stores.scratch import configuration, limits, socket_folder
from ncia.core.base.errors import NciaError
from tests.backup.world import STORE_HOST
from tests.fakes.remote import LocalRemote

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


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "tax", "tax/../../etc", ""])
def test_nothing_outside_the_store_can_be_deleted(path: str) -> None:
    remote = LocalRemote()
    store = RemoteStore(remote, StoreSite(STORE_HOST, PurePosixPath("/nowhere"), PurePosixPath("/nowhere")))
    with pytest.raises(NciaError, match="not below a dataset's folder"):
        store.remove(path)
    assert remote.ran == []
