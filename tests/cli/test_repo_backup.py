"""`ncia repo backup`: what is asked of it on its command line."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.cli.test_repo import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path)
    create(FolderStore(found.root), "open sesame", HOLDER, NOW, CHEAP)
    return found


def test_what_is_excluded_is_left_out_counted_and_told(desk: Desk) -> None:
    (desk.folder / "patterns").write_text(f"# of this source\n{desk.source}/below/*\n!{desk.source}/below/deeper\n")
    words = (
        "-e",
        "big",
        "--iexclude",
        "TEXT",
        "--exclude-file",
        desk.folder / "patterns",
        "--exclude-larger-than",
        "1M",
    )
    told = desk.run("backup", *words, "--exclude-caches", "-x", "--exclude-if-present", ".nobackup", desk.source)
    assert (told.exit_code, told.exception) == (0, None)
    assert "entries were left out, as it was asked" in told.stdout
    listed = desk.run("ls", "latest", desk.source).stdout
    assert [f"{desk.source}/{name}\n" in listed for name in ("plain", "below/deeper", "below/000")] == [
        True,
        True,
        False,
    ]
    assert not {f"{desk.source}/{name}" for name in ("big", "text", "zeros")} & set(listed.split())
    assert desk.told("backup", "-e", "big", desk.source)["excluded"] == 1


def test_what_is_no_pattern_is_refused_before_a_repository_is_asked(desk: Desk) -> None:
    refused = desk.run("backup", "-r", desk.folder / "nowhere", "-e", "[", desk.source)
    assert isinstance(refused.exception, NciaError)
    assert refused.exception.code == "repository.bad-pattern"


def test_how_hard_it_is_compressed_can_be_said(desk: Desk) -> None:
    chance = random.Random(8)
    words = [chance.randbytes(chance.randint(1, 4)).hex() for _ in range(3000)]
    (desk.source / "words").write_text(" ".join(chance.choices(words, k=100_000)))
    kept = []
    for word in ("off", "fastest", "auto", "max"):
        create(FolderStore(desk.folder / word), "open sesame", HOLDER, NOW, CHEAP)
        told = desk.told("backup", "-r", desk.folder / word, "--compression", word, desk.source / "words")
        kept.append(told["added"]["packed_bytes"])
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == len(kept)
    command = ("cat", desk.source / "words")
    told = desk.told("backup-output", "--compression", "off", "words", "--", *command)
    assert told["added"]["packed_bytes"] >= (desk.source / "words").stat().st_size


def test_a_list_of_patterns_that_can_be_read_once_is_read_once(desk: Desk) -> None:
    """As from a process: ``--exclude-file <(find …)``."""
    pipe = desk.folder / "patterns"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_text, args=("big\n",))
    writing.start()
    told = desk.told("backup", "--exclude-file", pipe, desk.source)
    writing.join()
    assert told["excluded"] == 1
    assert f"{desk.source}/big" not in desk.run("ls", "latest", desk.source).stdout.split()


def test_a_mark_that_names_no_file_is_refused_before_anything_is_begun(desk: Desk) -> None:
    refused = desk.run("backup", "-r", desk.folder / "nowhere", "--exclude-if-present", "a/b", desk.source)
    assert isinstance(refused.exception, NciaError)
    assert refused.exception.code != "repository.none"


@pytest.mark.parametrize("verb", [("backup", "{plain}"), ("backup-output", "name", "--", "true")])
def test_a_list_of_tags_is_as_many_tags_and_a_rule_that_keeps_them_finds_them(
    desk: Desk, verb: tuple[str, ...]
) -> None:
    first, *others = (word.format(plain=desk.source / "plain") for word in verb)
    desk.told(first, "--tag", "a, b", "--tag", "c,a,", *others)
    (kept,) = desk.told("snapshots")["snapshots"]
    assert kept["tags"] == ["a", "b", "c"]
    (judged,) = desk.told("forget", "--keep-tag", "b,a", "--dry-run")["snapshots"]
    assert judged["reasons"] == ["has tags [b, a]"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--also-wait", "-5", "--also", "twin"), "-5.0 is not in the range x>=0"),
        (("--also-wait", "nan", "--also", "twin"), "nan is no number of seconds"),
        (("--also-wait", "5"), "it goes with --also alone"),
        (("--also-password-file", "password"), "it goes with --also alone"),
    ],
)
def test_what_is_said_of_a_second_place_must_make_sense(desk: Desk, words: tuple[str, ...], why: str) -> None:
    refused = desk.run("backup", *words, desk.source / "plain")
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert desk.told("snapshots")["snapshots"] == []
