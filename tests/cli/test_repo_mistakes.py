"""`ncia repo` where somebody is mistaken: nothing is taken for what was not meant, and an error says what to try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from backup.repository.format.keys import Holder
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError
from tests.backup.repository.sample import CHEAP, NOW
from tests.cli.test_repo import Desk, desk

__all__ = ["desk"]


def kept(desk: Desk, name: str) -> str:
    (desk.folder / name).write_text(name)
    told = desk.told("backup", desk.folder / name)
    assert isinstance(told, dict)
    return str(told["snapshot"])


def refusal(result: Result) -> NciaError:
    assert isinstance(result.exception, NciaError), result.stderr
    return result.exception


@pytest.mark.parametrize("command", ["ls", "restore", "diff", "forget", "copy"])
def test_latest_is_no_older_one_where_the_newest_cannot_be_read(desk: Desk, command: str) -> None:
    old, new = kept(desk, "old"), kept(desk, "new")
    damaged = desk.root / "snapshots" / new
    damaged.chmod(0o600)
    damaged.write_bytes(b"x")
    create(FolderStore(desk.folder / "other"), "open sesame", Holder("kim", "vm"), NOW, CHEAP)
    more = {
        "restore": ["--target", desk.folder / "target"],
        "diff": [old],
        "copy": ["--to", desk.folder / "other"],
    }.get(command, [])
    for word in ("latest", new[:8]):
        found = refusal(desk.run(command, word, *more))
        assert found.code == "repository.snapshot-damaged"
        assert new[:8] in found.why
    assert desk.run(command, old, *more).exit_code in (0, 4)
    assert (desk.root / "snapshots" / new).exists()


def test_an_empty_path_is_not_the_current_folder(desk: Desk, tmp_path: Path) -> None:
    kept(desk, "file")
    assert "it is empty" in refusal(desk.run("backup", "")).why
    assert "it is empty" in refusal(desk.run("ls", "latest", "")).why
    refused = desk.run("restore", "latest", "--target", "")
    assert refused.exit_code == 2
    assert "it is empty" in refused.stderr


def test_all_paths_that_a_snapshot_does_not_hold_are_named_at_once(desk: Desk) -> None:
    kept(desk, "file")
    found = refusal(desk.run("ls", "latest", "/one", desk.folder / "file", "/two"))
    assert (found.what, found.why) == ("find /one, /two", "the snapshot does not hold them")


def test_a_target_that_is_a_file_is_told_as_that(desk: Desk) -> None:
    kept(desk, "file")
    assert "it is no folder" in refusal(desk.run("restore", "latest", "--target", desk.folder / "file")).why
    assert (desk.folder / "file").read_text() == "file"


def test_an_error_says_which_of_two_repositories_it_is_about(desk: Desk) -> None:
    kept(desk, "file")
    nowhere = desk.folder / "nowhere"
    for arguments in (("copy", "--to", nowhere), ("copy", "--to", desk.root, "-r", nowhere)):
        assert str(nowhere) in refusal(desk.run(*arguments)).what
    assert str(desk.root) in refusal(desk.run("init")).what
    (desk.folder / "other password").write_text("close sesame")
    wrong = refusal(desk.run("snapshots", "-p", desk.folder / "other password"))
    assert (wrong.code, str(desk.root) in wrong.what) == ("repository.wrong-password", True)


@pytest.mark.parametrize(("words", "told"), [(("--json",), True), ((), False)])
def test_with_json_the_last_line_of_an_error_is_for_programs(
    tmp_path: Path, words: tuple[str, ...], told: bool
) -> None:
    (tmp_path / "password").write_text("open sesame")
    nowhere = str(tmp_path / "nowhere")
    command = [sys.executable, "-m", "ncia", "repo", "snapshots", "-r", nowhere, "-p", str(tmp_path / "password")]
    ended = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    sentence, *_, last = ended.stderr.splitlines()
    assert sentence.startswith("Error: ")
    if not told:
        assert last.startswith("Try: ")
        return
    found = json.loads(last)
    assert (found["message_type"], found["exit_code"], found["code"]) == ("exit_error", 1, "repository.none")
    assert f"Error: {found['title']}: {found['detail']}" == sentence


def test_the_beginning_of_an_id_that_is_too_short_is_told_as_that(desk: Desk) -> None:
    name = kept(desk, "file")
    assert "too short" in refusal(desk.run("ls", name[:2])).why


def test_where_no_key_file_is_left_the_password_is_not_blamed(desk: Desk) -> None:
    for each in (desk.root / "keys").iterdir():
        each.unlink()
    assert "repair --from" in refusal(desk.run("snapshots")).hint


def test_a_repair_that_cannot_mend_all_says_what_is_left_to_be_tried(desk: Desk) -> None:
    kept(desk, "file")
    pack = next(path for path in (desk.root / "data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(bytes(pack.stat().st_size))
    first = desk.run("repair")
    assert first.exit_code == 4
    assert "Try: --from its twin, if there is one; --snapshots writes" in first.stderr
    assert os.listdir(desk.root / "snapshots")


def test_a_mount_on_a_folder_that_is_not_empty_is_refused_before_it_is_said_to_be_there(desk: Desk) -> None:
    (desk.folder / "full").mkdir()
    (desk.folder / "full" / "file").write_text("x")
    result = desk.run("mount", desk.folder / "full")
    assert "it is not empty" in refusal(result).why
    assert result.stdout == ""
