"""Comparing and copying programs, on real folders with the hosts' own commands."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backup.program.task import SCHEMA_SECONDS
from tests.backup.program.world import CONTENT, DATASET, EAST, WEST, Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    found = Hosts(tmp_path)
    yield found
    found.journal.close()


def test_sites_that_agree_are_written_down_once(hosts: Hosts) -> None:
    hosts.tick(3)
    assert hosts.compared() == [()]


def test_a_changed_file_is_told_by_name_once_it_was_seen_twice_and_its_mending_at_once(hosts: Hosts) -> None:
    hosts.tick()
    hosts.write(WEST, "etc/app.yaml", "listen: 198.51.100.10:8000\npassword: swordfish\ndebug: true\n")
    hosts.tick()
    assert hosts.compared() == [()]
    hosts.tick(2)
    drift = ("etc/app.yaml is not the same at east and west, from line 3",)
    assert hosts.compared() == [(), drift]
    assert hosts.states.snapshot().programs[DATASET].compared.differences == drift  # type: ignore[union-attr]
    hosts.write(WEST, "etc/app.yaml", CONTENT["etc/app.yaml"].replace("{address}", "198.51.100.10:8000"))
    hosts.tick()
    assert hosts.compared() == [(), drift, ()]


def test_a_rollout_that_reaches_both_sites_between_two_looks_tells_nothing(hosts: Hosts) -> None:
    hosts.tick()
    hosts.write(EAST, "packages.txt", "libpq 17.3\n")
    hosts.tick()
    hosts.write(WEST, "packages.txt", "libpq 17.3\n")
    hosts.tick(2)
    assert hosts.compared() == [()]


def test_a_restart_writes_nothing_again(hosts: Hosts) -> None:
    hosts.write(WEST, "packages.txt", "libpq 17.3\n")
    hosts.tick(3)
    hosts.restart()
    hosts.tick(3)
    assert len(hosts.compared()) == 1
    assert len(hosts.captured()) == 1


def test_the_active_sites_program_is_kept_here_whole_and_as_the_journal_says(hosts: Hosts) -> None:
    hosts.tick()
    (captured,) = hosts.captured()
    assert (captured.source_site, captured.store_site) == (EAST, WEST)
    archive = (hosts.folder / "store" / captured.path).read_bytes()
    assert (hashlib.sha256(archive).hexdigest(), len(archive)) == (captured.sha256, captured.size_bytes)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        held = {m.name.removeprefix("./"): opened.extractfile(m).read() for m in opened if m.isfile()}  # type: ignore[union-attr]
    wanted = {path: text.replace("{address}", "192.0.2.10:8000").encode() for path, text in CONTENT.items()}
    assert held == wanted
    assert {file.path: file.sha256 for file in captured.files} == {
        path: hashlib.sha256(text).hexdigest() for path, text in wanted.items()
    }
    assert [path.name for path in (hosts.folder / "store" / DATASET).iterdir()] == [Path(captured.path).name]


def test_a_program_is_copied_again_when_it_changed_and_never_else(hosts: Hosts) -> None:
    hosts.tick(3)
    hosts.write(EAST, "etc/app.yaml", "new: true\n")
    hosts.tick(3)
    assert len(hosts.captured()) == 2
    assert len({captured.path for captured in hosts.captured()}) == 2


def test_an_archive_that_has_other_links_and_the_same_files_has_a_name_of_its_own(hosts: Hosts) -> None:
    hosts.tick()
    before = (hosts.folder / EAST / "tax" / "packages.txt").read_text()
    hosts.write(EAST, "packages.txt", "libpq 17.3\n")
    hosts.tick()
    hosts.write(EAST, "packages.txt", before)
    (hosts.folder / EAST / "tax" / "now").symlink_to("etc")
    hosts.tick()
    assert len({captured.path for captured in hosts.captured()}) == 3
    for each in hosts.captured():
        archive = (hosts.folder / "store" / each.path).read_bytes()
        assert hashlib.sha256(archive).hexdigest() == each.sha256


def test_a_site_that_does_not_answer_changes_nothing_of_what_is_known(hosts: Hosts) -> None:
    hosts.tick()
    hosts.remote.silent.add("east-db")
    hosts.write(WEST, "packages.txt", "x\n")
    hosts.tick(3)
    assert hosts.compared() == [()]
    hosts.remote.silent.clear()
    hosts.tick(2)
    assert len(hosts.compared()) == 2


def test_a_schema_that_the_program_does_not_expect_is_told_and_its_database_is_asked_rarely(hosts: Hosts) -> None:
    hosts.schemas.versions[WEST] = "another"
    hosts.tick(5)
    assert hosts.compared() == [
        ("the program at west expects schema 0123456789abcdef, its database there has another",)
    ]
    assert hosts.schemas.asked == 2
    hosts.clock.go(SCHEMA_SECONDS)
    hosts.tick()
    assert hosts.schemas.asked == 4


def test_of_a_database_that_does_not_answer_nothing_is_said(hosts: Hosts) -> None:
    hosts.schemas.silent.add(WEST)
    hosts.tick(2)
    assert hosts.compared() == [()]


def test_a_system_that_is_active_here_is_the_other_sites_business(hosts: Hosts) -> None:
    hosts.active = WEST
    hosts.tick(2)
    assert (hosts.compared(), hosts.captured()) == ([], [])


def test_a_program_that_is_gone_at_the_active_site_is_drift_and_the_copy_stays(hosts: Hosts) -> None:
    hosts.tick()
    for path in CONTENT:
        (hosts.folder / EAST / "tax" / path).unlink()
    hosts.tick(2)
    assert hosts.compared()[-1] == tuple(f"{path} is missing at east" for path in sorted(CONTENT))
    (captured,) = hosts.captured()
    assert (hosts.folder / "store" / captured.path).exists()


def test_a_host_that_hands_over_a_bomb_is_not_captured_and_the_sites_are_compared_all_the_same(hosts: Hosts) -> None:
    class Bombing:
        def __getattr__(self, name: str) -> object:
            return getattr(honest, name)

        def packed(self, host: object, folder: str) -> bytes:
            return gzip.compress(bytes(10_240))

    honest = hosts.task.parts.programs
    hosts.task.parts = replace(hosts.task.parts, programs=Bombing())  # type: ignore[arg-type]
    hosts.tick(3)
    assert (hosts.captured(), hosts.compared()) == ([], [()])
