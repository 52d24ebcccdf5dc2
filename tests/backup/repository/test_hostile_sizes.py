"""What claims to be huge is refused in one sentence, by a process that cannot have the memory for it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import pytest

from backup.repository.repository import create, open_repository
from backup.repository.save.saving import Request, save
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.hostile import BIG
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD

SPACE_BYTES_MAX = 1_200 << 20  # of addresses: the interpreter, its libraries and its threads have half of it
RSS_KB_MAX = 400_000
VERBS = ("snapshots", "check", "ls", "restore", "prune", "backup", "copy", "repair")
CHILD = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
from ncia.cli import build
tree, told = build((("repo", "ncia.cli.repo"),)), {}
for case, words in json.load(sys.stdin):
    result = CliRunner().invoke(tree, ["repo", *words])
    error = result.exception if not isinstance(result.exception, SystemExit) else None
    said = result.stdout[-2000:] + result.stderr[-2000:] + str(error or "")
    told.setdefault(case, {})[words[0]] = (result.exit_code, type(error).__name__, said)
    print(case, words[0], file=sys.stderr, flush=True)
# its own high-water mark: that of getrusage begins with what the process that started it had
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(json.dumps([told, int(peak.split()[1])]))
"""
# what a check, and a prune, say of it; a backup, a listing and a restore go on without it
SAID: dict[str, tuple[str, str]] = {
    "an_index_of_a_blob_of_4_gib": ("Expected `int` <= 1073741824", "Expected `int` <= 1073741824"),
    "a_tree_whose_frame_unpacks_to_2_gb": ("its frame says that it unpacks to 2000000000 bytes", "its frame says"),
    "a_pack_whose_header_tells_of_a_blob_of_4_gib": ("none has more than 1024 MiB", ""),
    "a_snapshot_of_1_gb": ("it unpacks to more than 64 MiB", "it unpacks to more than 64 MiB"),
    "a_snapshot_that_is_all_brackets": ("it is brackets and quotes alone", "brackets"),
    "a_snapshot_that_is_nested_without_end": ("nested too deeply", "nested too deeply"),
    "an_index_of_1_gb_of_junk": ("it has more than 64 MiB", "it has more than 64 MiB"),
    "a_snapshot_of_1_gb_of_junk": ("it has more than 64 MiB", "it has more than 64 MiB"),
    "a_lock_and_a_key_of_1_gb": ("it has more than 1 MiB", ""),
    "a_pack_of_5_gb_with_a_header_of_1_gb": ("none has more than 1152 MiB", ""),
    "a_pack_of_1_mb_with_a_header_of_1_gb": ("its header cannot have 1073741824 bytes", ""),
}
UNNAMED = ("a_pack_whose", "a_pack_of")  # nothing counts on them: a note, and no fault


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[int, str, str]]]:
    top = tmp_path_factory.mktemp("hostile")
    (top / "password").write_text(PASSWORD + "\n")
    (top / "source").mkdir()
    (top / "source" / "file").write_bytes(b"content")
    asked: list[Any] = []
    for make in BIG:
        root = top / make.__name__
        made = create(FolderStore(root), PASSWORD, HOLDER, NOW, CHEAP)
        save(made, Request((str(top / "source"),), HOLDER), SystemClock())
        good = made.snapshots()[0].id
        make(open_repository(FolderStore(root), PASSWORD), root)
        other = top / f"{make.__name__} copied"
        create(FolderStore(other), PASSWORD, HOLDER, NOW, CHEAP, twin=made)
        words = {
            "check": ["--read-data"],
            "ls": [good],
            "restore": [good, "--target", str(top / f"{make.__name__} restored")],
            "backup": [str(top / "source")],
            "copy": ["--to", str(other)],
        }
        where = ["-r", str(root), "-p", str(top / "password")]
        asked += [(make.__name__, [verb, *where, *words.get(verb, [])]) for verb in VERBS]
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (SPACE_BYTES_MAX, SPACE_BYTES_MAX)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, rss_kb = json.loads(done.stdout.splitlines()[-1])
    assert rss_kb < RSS_KB_MAX
    return found


@pytest.mark.parametrize("case", [make.__name__ for make in BIG])
def test_it_is_told_in_a_sentence_and_nobody_takes_the_memory_for_it(
    told: dict[str, dict[str, tuple[int, str, str]]], case: str
) -> None:
    answers = told[case]
    assert {error for _, error, _ in answers.values()} <= {"NoneType", "Refusal", "NciaError"}, answers
    in_check, in_prune = SAID[case]
    code, _, said = answers["check"]
    assert in_check in said
    assert code == (0 if case.startswith(UNNAMED) else 1)
    for verb in ("snapshots", "ls", "restore", "backup"):
        assert answers[verb][0] == 0, answers[verb]
    code, error, said = answers["prune"]
    assert (error, in_prune in said) == (("Refusal", True) if in_prune else ("NoneType", True)), answers["prune"]
    assert answers["repair"][0] in (0, 4)
    assert answers["copy"][0] in (0, 4)
