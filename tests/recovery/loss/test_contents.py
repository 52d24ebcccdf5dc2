"""Acts in a real database, found by id and content as a role that may only read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.estate import Address, Estate
from ncia.core.work.documents import Folder, Seen
from ncia.lab.apps.definition import CONTENT, SCHEMA
from ncia.lab.apps.seeding import seed_into
from recovery.loss.contents import OTHER_DOCUMENT, PostgresContents
from tests.lab_apps.postgres import Cluster, start_cluster
from tests.lab_apps.world import own_estate

ONNARA = SystemId("onnara")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    started = start_cluster()
    ready(started)
    yield started
    started.stop()


def ready(started: Cluster) -> None:
    """Give it a seeded system, and the role of backups as the ground gives it to every cluster."""
    password = started.passfile.read_text().strip().rsplit(":", 1)[1]
    with started.connect() as connection:
        connection.execute(f"create role ncia_backup login password '{password}' in role pg_read_all_data")
    started.make_database("onnara")
    with started.connect("onnara", "app") as connection:
        connection.autocommit = False
        seed_into(connection, "onnara")


class Tree:
    """A store that holds the given documents; ``copy`` is the one it was opened for."""

    held: ClassVar[dict[str, int]] = {}

    def __init__(self, copy: object) -> None:
        self.copy = copy

    def look(self, folder: str) -> Folder:
        here = [Seen(name, size, 0.0) for name, size in self.held.items() if name.rpartition("/")[0] == folder]
        return Folder(documents=tuple(here))


def estate_at(port: int) -> Estate:
    estate = own_estate()
    system = estate.systems[ONNARA]
    copies = {s: replace(c, server=Address("127.0.0.1", port)) for s, c in system.postgres.copies.items()}
    rows = replace(system.postgres, copies=copies)
    others = tuple(d for d in system.datasets if d.kind != "postgresql")
    return replace(estate, systems={**estate.systems, ONNARA: replace(system, datasets=(rows, *others))})


def known(cluster: Cluster) -> dict[str, str]:
    with cluster.connect("onnara", "app") as connection:
        connection.execute(f"set search_path = {SCHEMA}".encode())
        return {act: sha for act, _, sha in connection.execute(CONTENT).fetchall()}


def test_the_hash_of_each_act_is_the_one_that_was_acknowledged(cluster: Cluster) -> None:
    there = known(cluster)
    assert len(there) > 10
    asked = [*there, str(uuid.uuid4())]
    found = PostgresContents(estate_at(cluster.port), "gwangju", cluster.passfile, Tree).hashes(
        ONNARA, "gwangju", asked
    )
    assert found == there


def test_an_act_whose_document_is_not_there_is_not_there_and_one_of_another_size_is_another_content(
    cluster: Cluster,
) -> None:
    whole, gone, cut, *_ = known(cluster)
    with cluster.connect("onnara", "app") as connection:
        connection.execute(f"set search_path = {SCHEMA}".encode())
        for act in (whole, gone, cut):
            connection.execute("insert into act_documents values (%s, %s, 10, 'ab')", (act, f"0/{act}"))
    try:
        there = known(cluster)
        Tree.held = {f"0/{whole}": 10, f"0/{cut}": 9, "0/other": 1}
        contents = PostgresContents(estate_at(cluster.port), "gwangju", cluster.passfile, Tree)
        found = contents.hashes(ONNARA, "gwangju", list(there))
        assert found == {**{act: sha for act, sha in there.items() if act != gone}, cut: OTHER_DOCUMENT}
    finally:
        with cluster.connect("onnara", "app") as connection:
            connection.execute("delete from app.act_documents")


def test_a_database_that_does_not_answer_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="look for 1 acts of onnara"):
        PostgresContents(estate_at(1), "gwangju", tmp_path / "none", Tree).hashes(
            ONNARA, "gwangju", [str(uuid.uuid4())]
        )


def test_a_system_that_shows_no_acts_is_told_what_it_must_show(cluster: Cluster) -> None:
    estate = estate_at(cluster.port)
    system = estate.systems[ONNARA]
    rows = replace(system.postgres, database="postgres")
    estate = replace(estate, systems={ONNARA: replace(system, datasets=(rows,))})
    with pytest.raises(NciaError, match="act_contents") as refused:
        PostgresContents(estate, "gwangju", cluster.passfile, Tree).hashes(ONNARA, "gwangju", [str(uuid.uuid4())])
    assert refused.value.code == "loss.no-contents"
