"""A warden must stay up when all else is down: it loads little, and so do gate and fence-watch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "sqlalchemy", "fastapi", "starlette", "uvicorn", "paramiko", "apscheduler", "boto3", "psycopg", "jinja2",
    "asyncssh", "cryptography",
}  # fmt: skip
WITHOUT_ETCD = HEAVY | {"httpx", "httpcore"}
ROOMS = {"ncia.core.journal", "ncia.core.state", "ncia.core.work", "ncia.api", "ncia.console", "monitors", "backup"}


def loaded(*modules: str, then: str = "") -> set[str]:
    code = f"import sys; import {', '.join(modules)}; {then or 'pass'}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("warden", HEAVY), ("gate", WITHOUT_ETCD), ("fence_watch", WITHOUT_ETCD)],
)
def test_a_small_process_loads_few_modules(module: str, forbidden: set[str]) -> None:
    assert loaded(f"ncia.app.{module}") & (forbidden | ROOMS) == set()


def test_the_command_line_that_starts_them_adds_no_room() -> None:
    """The process as people start it."""
    build = "ncia.cli.build(ncia.cli.needed(['warden']))"
    assert loaded("ncia.cli", "ncia.app.warden", then=build) & (HEAVY | ROOMS) == set()
