"""`ncia repo`: offline, on a folder; a partial answer is never a success."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from backup.repository.ports import Kind
from backup.repository.repository import create, open_repository
from backup.repository.stores.folder import FolderStore
from ncia.cli import build
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.files import differences, noise, odd_tree
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.lab_apps.world import eventually

TREE = build((("repo", "ncia.cli.repo"),))


class Desk:
    """A repository and a source below one folder, and the command line pointed at them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "repository"
        (folder / "password").write_text("open sesame\n")
        self.source = odd_tree(folder / "source")

    def run(self, *arguments: object) -> Result:
        at = {"NCIA_REPOSITORY": str(self.root), "NCIA_PASSWORD_FILE": str(self.folder / "password"), "COLUMNS": "200"}
        return CliRunner().invoke(TREE, ["repo", *map(str, arguments)], env=at)

    def told(self, *arguments: object) -> object:
        result = self.run(arguments[0], "--json", *arguments[1:])
        assert (result.exit_code, result.exception) == (0, None), result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path)
    create(FolderStore(found.root), "open sesame", HOLDER, NOW, CHEAP)  # each command derives the key anew
    return found


def test_a_repository_is_made_and_opens_with_its_password(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert "made repository" in desk.run("init").stdout
    assert desk.told("snapshots") == {"snapshots": [], "damaged": []}


def test_a_twin_has_the_id_of_the_first(desk: Desk) -> None:
    first = open_repository(FolderStore(desk.root), "open sesame").config.id
    made = desk.told("init", "-r", desk.folder / "twin", "--twin", desk.root)
    assert made["id"] == first
    assert open_repository(FolderStore(desk.folder / "twin"), "open sesame").config.id == first


def test_a_password_is_followed_by_another_one(desk: Desk) -> None:
    (desk.folder / "next").write_text("the next one\n")
    added = desk.run("key", "add", "--new-password-file", desk.folder / "next", "--user", "auditor")
    assert added.exit_code == 0
    name = added.stdout.split()[-1]
    listed = desk.run("key", "list").stdout.splitlines()
    assert [line[:2] for line in sorted(listed)] == ["  ", "* "]
    assert f"{name} " in "".join(line for line in listed if "auditor@" in line)
    old = next(line.split()[1] for line in listed if line.startswith("*"))
    assert "opens the repository just now" in str(desk.run("key", "remove", old).exception)
    (desk.folder / "password").write_text("the next one\n")
    assert desk.run("key", "remove", old).stdout == f"removed key {old}\n"
    (desk.folder / "password").write_text("open sesame\n")
    assert "opens none of its 1 keys" in str(desk.run("snapshots").exception)
    assert "none begins with it" in str(desk.run("key", "remove", "nothing", "-p", desk.folder / "next").exception)


def test_what_was_kept_is_listed_and_comes_back(desk: Desk) -> None:
    saved = desk.told("backup", desk.source, "--tag", "nightly")
    assert (saved["partial"], saved["verified"], saved["new"]) == (False, True, saved["files"])
    (listed,) = desk.told("snapshots")["snapshots"]
    assert (listed["id"], listed["tags"], listed["paths"]) == (saved["snapshot"], ["nightly"], [str(desk.source)])
    restored = desk.told("restore", "latest", "--target", desk.folder / "target")
    assert (restored["partial"], restored["bytes"] > 20_000_000) == (False, True)
    assert differences(desk.source, desk.folder / "target" / desk.source.relative_to("/")) == []
    checked = desk.told("check", "--read-data")
    assert (checked["holds"], checked["share_read"]) == (True, 1.0)


def test_people_are_told_in_sentences(desk: Desk) -> None:
    first = desk.run("backup", desk.source)
    assert "added, " in first.stdout
    (desk.source / "plain").write_bytes(b"other\n")
    second = desk.run("backup", desk.source)
    assert "0 new, 1 changed" in second.stdout
    ids = [each["id"][:8] for each in desk.told("snapshots")["snapshots"]]
    assert ids[0] in first.stdout
    assert ids[0] in desk.run("snapshots").stdout
    assert desk.run("diff", *ids).stdout == f"M {desk.source}/plain\n"
    assert f"U {desk.source}\n" not in desk.run("diff", *ids).stdout
    assert f"{desk.source}/link -> ../somewhere<&>" in desk.run("ls", "latest", desk.source).stdout
    assert "read (0.0 %)" in desk.run("check").stdout
    assert "read (100.0 %)" in desk.run("check", "--read-data").stdout


def test_what_could_not_be_kept_makes_the_backup_partial_and_is_named(desk: Desk) -> None:
    partial = desk.run("backup", desk.source, desk.folder / "nothing")
    assert partial.exit_code == 4
    assert f"{desk.folder}/nothing: path not kept: it is not there" in partial.stderr
    assert "Error: the snapshot is partial: 1 × path not kept" in partial.stderr
    assert len(desk.told("snapshots")["snapshots"]) == 1


def test_what_is_damaged_makes_the_restore_partial_and_the_check_fail(desk: Desk) -> None:
    (desk.folder / "one").write_bytes(b"dear " * 1000)
    desk.told("backup", desk.folder / "one")
    opened = open_repository(FolderStore(desk.root), "open sesame")
    opened.load_index()
    pack = next(pack for _, packs in opened.index_files() for pack, blobs in packs if not blobs[0].tree)
    path = desk.root / "data" / pack.hex()[:2] / pack.hex()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(20)
        other = bytes([file.read(1)[0] ^ 1])
        file.seek(20)
        file.write(other)
    assert desk.run("check").exit_code == 0
    checked = desk.run("check", "--read-data")
    assert checked.exit_code == 1
    assert "its bytes do not have the hash that is its name" in checked.stderr
    restored = desk.run("restore", "latest", "--target", desk.folder / "target")
    assert restored.exit_code == 4
    assert f"{desk.folder}/one: content not kept: 5000 bytes" in restored.stderr


def test_what_a_command_writes_is_kept_only_if_it_ends_well(desk: Desk) -> None:
    saved = desk.told("backup-output", "greeting", "--tag", "dump", "--", sys.executable, "-c", "print('hello')")
    assert (saved["files"], saved["bytes"]) == (1, 6)
    desk.told("restore", "latest", "--target", desk.folder / "target")
    assert (desk.folder / "target" / "greeting").read_bytes() == b"hello\n"
    failed = desk.run("backup-output", "greeting", "--", sys.executable, "-c", "print('hel'); raise SystemExit(7)")
    assert "it ended with exit code 7" in str(failed.exception)
    assert len(desk.told("snapshots")["snapshots"]) == 1


def test_only_a_part_comes_back_where_only_that_was_asked_for(desk: Desk) -> None:
    desk.told("backup", desk.source)
    restored = desk.told("restore", "latest", "--target", desk.folder / "target", desk.source / "below" / "deeper")
    assert (restored["files"], restored["others"]) == (0, 0)
    unknown = desk.run("restore", "latest", "--target", desk.folder / "other", desk.source / "nothing")
    assert isinstance(unknown.exception, NciaError)
    assert "does not hold it" in str(unknown.exception)


def test_parts_of_a_check_are_all_of_it(desk: Desk) -> None:
    desk.told("backup", desk.source)
    assert sum(desk.told("check", "--part", f"{number}/3")["share_read"] for number in (1, 2, 3)) == pytest.approx(1)
    assert desk.run("check", "--part", "4/3").exit_code == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda desk: (desk.folder / "password").write_text("guess\n"), "the password opens none of its 1 keys"),
        (lambda desk: (desk.folder / "password").write_text("\n"), "it is empty"),
        (lambda desk: (desk.folder / "password").unlink(), "No such file"),
        (lambda desk: (desk.root / "config").unlink(), "there is none at this place"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_sentence(desk: Desk, change: object, why: str) -> None:
    change(desk)
    told = desk.run("snapshots")
    assert isinstance(told.exception, NciaError)
    assert why in str(told.exception)


def test_a_second_repository_is_not_made_over_the_first(desk: Desk) -> None:
    before = (desk.root / "config").read_bytes()
    assert "there is one already" in str(desk.run("init").exception)
    assert (desk.root / "config").read_bytes() == before


def test_reading_needs_no_writing_where_it_is_said_so(desk: Desk) -> None:
    desk.told("backup", desk.source)
    opened = open_repository(FolderStore(desk.root), "open sesame")
    with Lock(opened, Holder("pruner", "elsewhere"), SystemClock(), exclusive=True):
        refused = desk.run("restore", "latest", "--target", desk.folder / "one")
        assert isinstance(refused.exception, Refusal)
        assert "pruner@elsewhere" in str(refused.exception)
        desk.told("restore", "latest", "--no-lock", "--target", desk.folder / "two")
        desk.told("check", "--no-lock")
    assert list(opened.store.names(Kind.LOCKS)) == []


@pytest.mark.parametrize(
    "words",
    [
        ("backup", "."),
        ("backup-output", "x", "--", "true"),
        ("check",),
        ("restore", "latest", "--target", "target"),
        ("forget", "--keep-last", "1"),
        ("prune",),
        ("repair",),
        ("copy", "--to", "other"),
        ("mount", "folder"),
    ],
)
def test_every_verb_that_locks_reads_how_long_it_is_to_wait(desk: Desk, words: tuple[str, ...]) -> None:
    words = tuple(
        {"target": desk.folder / "t", "other": desk.folder / "o", "folder": desk.folder / "m"}.get(w, w) for w in words
    )
    (desk.folder / "m").mkdir()
    shutil.copytree(desk.root, desk.folder / "o")
    told = desk.run(words[0], "--retry-lock", "soon", *words[1:])
    assert told.exit_code == 1
    assert "read a duration" in str(told.exception)


def test_a_lock_is_waited_for_as_long_as_it_is_said(desk: Desk) -> None:
    opened = open_repository(FolderStore(desk.root), "open sesame")
    with Lock(opened, Holder("pruner", "elsewhere"), SystemClock(), exclusive=True):
        refused = desk.run("backup", "--retry-lock", "1s", desk.source / "plain")
    assert isinstance(refused.exception, Refusal)
    assert "Note: it is locked by pruner@elsewhere" in refused.stderr


def test_a_store_without_keys_is_not_dialled(desk: Desk) -> None:
    at = {"NCIA_PASSWORD_FILE": str(desk.folder / "password"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    told = CliRunner().invoke(TREE, ["repo", "snapshots", "-r", "s3:http://127.0.0.1:1/bucket"], env=at)
    assert "the environment has no aws_access_key_id" in str(told.exception)


def test_a_backup_that_is_killed_leaves_a_repository_in_which_the_next_one_ends(desk: Desk) -> None:
    """kill -9 once its first pack is there: its lock is that of a process that is gone."""
    (desk.source / "more").write_bytes(noise(9, 120_000_000))
    where = ["-r", str(desk.root), "-p", str(desk.folder / "password")]
    command = [sys.executable, "-m", "ncia", "repo", "backup", *where, str(desk.source)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, process_group=0)
    eventually(lambda: any((desk.root / "data").glob("*/*")), seconds=60)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    opened = open_repository(FolderStore(desk.root), "open sesame")
    assert opened.snapshots() == []
    assert len(list(opened.store.names(Kind.LOCKS))) == 1
    with Lock(opened, Holder("pruner", os.uname().nodename), SystemClock(), exclusive=True):
        pass
    desk.told("backup", desk.source)
    checked = desk.told("check", "--read-data")
    assert (checked["holds"], checked["share_read"]) == (True, 1.0)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "> /dev/null"])
def test_a_command_that_nobody_hears_ends_as_well_as_any(desk: Desk, closed: str) -> None:
    where = ["-r", str(desk.root), "-p", str(desk.folder / "password")]
    command = [sys.executable, "-m", "ncia", "repo", "backup", *where, str(desk.source)]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(open_repository(FolderStore(desk.root), "open sesame").snapshots()) == 1


def test_json_has_the_true_path_and_people_see_which_is_which(desk: Desk) -> None:
    top = os.fsencode(desk.folder) + b"/odd\xfe"
    os.mkdir(top)
    raws = [b"bad\xff", rb"bad\xff", b"new\nline", b"it's \xc3\xa9"]
    for raw in raws:
        os.symlink(raw, top + b"/" + raw)
    assert desk.run("backup", os.fsdecode(top)).exit_code == 0

    def raw(each: dict[str, str], key: str) -> bytes:
        return base64.b64decode(each[f"{key}_base64"]) if f"{key}_base64" in each else each[key].encode()

    below = desk.run("ls", "latest", "--json", os.fsdecode(top))
    links = [each for each in map(json.loads, below.stdout.splitlines()) if each["type"] == "symlink"]
    assert {raw(each, "path") for each in links} == {top + b"/" + raw for raw in raws}
    assert {raw(each, "target") for each in links} == set(raws)
    lines = desk.run("ls", "latest").stdout.splitlines()
    assert len({line[line.index(str(desk.folder)) :] for line in lines if "odd" in line}) == 5
    assert any(line.endswith(rf"'{desk.folder}/odd\xfe/bad\xff' -> 'bad\xff'") for line in lines)
    assert any(line.endswith(rf"'{desk.folder}/odd\xfe/bad\\xff' -> bad\xff") for line in lines)
    (snapshot,) = desk.told("snapshots")["snapshots"]
    assert [base64.b64decode(each) for each in snapshot["paths_base64"]] == [top]
    assert rf"'{desk.folder}/odd\xfe'" in desk.run("snapshots").stdout
    into = ("restore", "latest", "--target", os.fsdecode(os.fsencode(desk.folder) + b"/to\xff"))
    changes = map(json.loads, desk.run(*into, "--dry-run", "--json").stdout.splitlines())
    assert top + b"/bad\xff" in {raw(each, "path") for each in changes}
    assert raw(desk.told(*into), "target") == os.fsencode(desk.folder) + b"/to\xff"


def test_help_is_had_by_one_letter_and_tells_the_exit_codes(desk: Desk) -> None:
    told = desk.run("-h")
    assert told.exit_code == 0
    words = " ".join(told.stdout.replace("│", " ").split())
    assert [code for code in (0, 1, 2, 3, 4, 130, 143) if f" {code}: " not in words] == []
    for verb in (["ls"], ["backup"], ["key", "add"], ["retention", "show"]):
        short, long = desk.run(*verb, "-h"), desk.run(*verb, "--help")
        assert (short.exit_code, short.stdout) == (0, long.stdout)


def test_whoever_reads_no_further_ends_a_command_without_a_word(desk: Desk) -> None:
    for number in range(2000):
        (desk.source / f"a name of some length {number}").touch()
    desk.told("backup", desk.source)
    where = ["-r", str(desk.root), "-p", str(desk.folder / "password")]
    command = [sys.executable, "-m", "ncia", "repo", "ls", *where, "latest"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)
