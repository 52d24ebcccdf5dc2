"""Databases for the queue of jobs: on the PostgreSQL of the journal's tests, a new one for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import psycopg
import pytest

from tests.core.journal.conftest import postgresql

__all__ = ["postgresql"]

_count = itertools.count()


@pytest.fixture
def fresh_postgresql(request: pytest.FixtureRequest) -> Callable[[], str]:
    """The URL of a new database each time it is called."""

    def fresh() -> str:
        folder, name = request.getfixturevalue("postgresql"), f"jobs{next(_count)}"
        with psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://postgres@/{name}?host={folder}"

    return fresh
