"""PostgreSQL's tools as a site sees them; the repaired pg_verifybackup against a real base backup."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from ncia.lab import processes
from ncia.lab.elf import make_dynamic_writable
from ncia.lab.ground import make_tools
from ncia.lab.namespaces import as_database_user


@pytest.fixture(scope="module")
def tools():
    with tempfile.TemporaryDirectory(prefix="ncia-", ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "tools"
        make_tools(made)
        yield made


@pytest.fixture(scope="module")
def backup(tools):
    """A base backup of a small cluster, taken over its unix socket."""
    home = tools.parent
    run(tools, "initdb", "-N", "-k", "--no-locale", "--auth=trust", "--username=postgres", "-D", str(home / "db"))
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c dynamic_shared_memory_type=mmap"
    run(tools, "pg_ctl", "-w", "-D", str(home / "db"), "-o", options, "-l", str(home / "log"), "start")
    try:
        source = ("-h", str(home), "-U", "postgres")
        run(tools, "pg_basebackup", *source, "-D", str(home / "copy"), "-X", "stream", "-c", "fast", "--no-sync")
    finally:
        run(tools, "pg_ctl", "-w", "-m", "immediate", "-D", str(home / "db"), "stop")
    return home / "copy"


def run(tools: Path, name: str, *arguments: str, check: bool = True) -> int:
    # A file, never a pipe: a postmaster would keep a pipe open for ever.
    with (tools.parent / "out").open("w+") as out:
        command = as_database_user([str(tools / name), *arguments])
        done = subprocess.run(command, env=processes.environment({}), stdout=out, stderr=out, timeout=60)
        out.seek(0)
        assert done.returncode == 0 or not check, out.read()
    return done.returncode


def test_a_true_backup_verifies(tools, backup):
    assert run(tools, "pg_verifybackup", str(backup), check=False) == 0


def test_a_backup_with_one_flipped_byte_does_not_verify(tools, backup):
    victim = next(
        file for file in sorted((backup / "base").rglob("*")) if file.is_file() and file.stat().st_size > 8192
    )
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    try:
        assert run(tools, "pg_verifybackup", str(backup), check=False) == 1
    finally:
        victim.write_bytes(whole)


def test_the_repair_changes_flags_alone(tools):
    patched = (tools / "verify" / "pg_verifybackup").read_bytes()
    original = (tools / "psql").resolve().with_name("pg_verifybackup").read_bytes()
    changed = [i for i, (old, new) in enumerate(zip(original, patched, strict=True)) if old != new]
    assert len(changed) == 1
    assert make_dynamic_writable(patched) == patched
