from __future__ import annotations

import ctypes
import os

import pytest

from ncia.lab.proc import PROC
from ncia.lab.segments import Marks, of_postmasters, remove_leaked, segments

IPC_PRIVATE, IPC_RMID = 0, 0
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def leaked():
    """(segment, maker) of a process that died with its segment."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, str(LIBC.shmget(IPC_PRIVATE, 56, 0o600)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    identifier = int(os.read(read, 32))
    os.close(read), os.close(write)
    yield identifier, pid
    LIBC.shmctl(identifier, IPC_RMID, None)


def there(identifier: int) -> bool:
    return identifier in {row[0] for row in segments(PROC / "sysvipc/shm")}


def test_a_segment_of_a_dead_postmaster_is_removed_by_its_number(leaked):
    assert remove_leaked(Marks(segments=frozenset({leaked[0]}))) == (leaked[0],)
    assert not there(leaked[0])


def test_a_segment_that_a_postmaster_made_while_dying_is_found_by_its_maker(leaked):
    assert leaked[0] in remove_leaked(Marks(makers=frozenset({leaked[1]})))  # numbers of processes are used again


def test_a_segment_of_somebody_else_is_left_alone(leaked):
    assert remove_leaked(Marks(segments=frozenset({leaked[0] + 1}), makers=frozenset({leaked[1] + 1}))) == ()
    assert there(leaked[0])


def test_a_segment_whose_maker_lives_is_left_alone():
    identifier = LIBC.shmget(IPC_PRIVATE, 56, 0o600)
    try:
        assert remove_leaked(Marks(segments=frozenset({identifier}))) == ()
    finally:
        LIBC.shmctl(identifier, IPC_RMID, None)


def test_what_postmasters_wrote_down_is_found_below_a_folder(tmp_path):
    (tmp_path / "pg" / "tax").mkdir(parents=True)
    lines = ["4711", "/data", "1795440855", "5432", "/run", "127.0.0.1", "  2154744         4", "ready"]
    (tmp_path / "pg" / "tax" / "postmaster.pid").write_text("\n".join(lines))
    assert of_postmasters(tmp_path) == Marks(frozenset({4}), frozenset({4711}))
