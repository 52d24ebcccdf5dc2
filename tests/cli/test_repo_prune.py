"""`ncia repo forget` and `prune`: what no rule keeps goes, with reasons; what nobody needs, in its time."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backup.repository.format.keys import Holder
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import tree_text
from backup.repository.locks import Lock
from backup.repository.ports import Kind
from backup.repository.repository import Repository, create
from backup.repository.save.pipeline import Packing
from backup.repository.stores.folder import FolderStore
from ncia.cli import build
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.restic import demand_restic

TREE = build((("repo", "ncia.cli.repo"),))
PASSWORD = "open sesame"
DAY = timedelta(days=1)
LAST_NIGHT = SystemClock().now().replace(hour=3, microsecond=0) - DAY


class Desk:
    """A repository with ten nightly snapshots, and the command line pointed at it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "repository"
        (folder / "password").write_text(PASSWORD)
        self.repository = create(FolderStore(self.root), PASSWORD, HOLDER, NOW, CHEAP)
        packing = Packing(self.repository, True, lambda: None)
        self.empty = packing.keep(tree_text([]), tree=True)
        packing.finish()
        self.nights = [add(self.repository, LAST_NIGHT - number * DAY, self.empty) for number in range(10)]

    def run(self, *arguments: object) -> Result:
        at = {"NCIA_REPOSITORY": str(self.root), "NCIA_PASSWORD_FILE": str(self.folder / "password"), "COLUMNS": "200"}
        return CliRunner().invoke(TREE, ["repo", *map(str, arguments)], env=at)

    def told(self, *arguments: object) -> Any:
        result = self.run(*arguments, "--json")
        assert (result.exit_code, result.exception) == (0, None), result.stderr
        return json.loads(result.stdout)

    def packs(self) -> set[str]:
        return {each.name for each in self.repository.store.names(Kind.DATA)}

    def size(self) -> int:
        return sum(each.size for each in self.repository.store.names(Kind.DATA))

    def left(self) -> set[str]:
        return {each.name for each in self.repository.store.names(Kind.SNAPSHOTS)}


def add(repository: Repository, time: Any, tree: bytes) -> str:
    made = Snapshot(time, tree, ("/srv",), "somewhere", "somebody")
    return repository.save_file(Kind.SNAPSHOTS, made.as_json())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_rule_is_shown_first_and_then_carried_out(desk: Desk) -> None:
    shown = desk.run("forget", "--keep-daily", 7, "--keep-last", 2, "--dry-run")
    lines = shown.stdout.splitlines()
    assert lines[0] == f"keep   {desk.nights[0][:8]} {LAST_NIGHT:%F %T} somewhere /srv: last snapshot, daily snapshot"
    assert lines[9] == f"remove {desk.nights[9][:8]} {LAST_NIGHT - 9 * DAY:%F %T} somewhere /srv: no rule keeps it"
    assert lines[10] == "3 would be removed"
    assert desk.left() == set(desk.nights)
    done = desk.told("forget", "--keep-daily", 7)
    assert done["removed"] == desk.nights[:6:-1]
    assert desk.left() == set(desk.nights[:7])
    assert desk.told("check")["holds"]


def test_what_would_remove_much_at_once_is_refused_until_somebody_says_how_much_may_go(desk: Desk) -> None:
    refused = desk.run("forget", "--keep-last", 1)
    assert isinstance(refused.exception, Refusal)
    assert "9 of 10 of somewhere (/srv) would go at once" in str(refused.exception)
    shown = desk.run("forget", "--keep-last", 1, "--dry-run").stdout
    assert "Note: it would be refused: 9 of 10 of somewhere (/srv) would go at once" in shown
    assert desk.left() == set(desk.nights)
    desk.told("forget", "--keep-last", 1, "--remove-max", 9)
    assert desk.left() == {desk.nights[0]}


def test_the_last_proven_copy_stays_whatever_is_asked_for(desk: Desk) -> None:
    proven = desk.nights[9]
    desk.told("forget", "--keep-last", 8, "--proven", proven)
    assert desk.left() == {*desk.nights[:8], proven}
    refused = desk.run("forget", proven, "--proven", proven)
    assert "is told to be a proven copy" in str(refused.exception)
    told = desk.told("forget", proven)
    assert told["removed"] == [proven]
    assert [each["why"] for each in told["snapshots"] if not each["kept"]] == ["asked for by its id"]


def test_bogus_snapshots_take_no_place_and_are_named(desk: Desk) -> None:
    hollow = add(desk.repository, LAST_NIGHT + DAY / 24, b"\7" * 32)
    ahead = add(desk.repository, SystemClock().now() + 400 * DAY, desk.empty)
    told = desk.told("forget", "--keep-last", 8)
    reasons = {each["id"]: each["reasons"] for each in told["snapshots"]}
    assert reasons[hollow] == ["takes no place: its tree is nowhere"]
    assert reasons[ahead] == ["takes no place: dated in the future"]
    assert desk.left() == {*desk.nights[:8], hollow, ahead}


def test_what_the_forgotten_alone_needed_is_marked_and_then_removed_by_a_later_prune(desk: Desk) -> None:
    (desk.folder / "file").write_bytes(noise(1, 400_000))
    made = desk.told("backup", desk.folder / "file")["snapshot"]
    desk.told("forget", made)
    before = desk.packs()
    assert "packs would be marked, 40" in desk.run("prune", "--dry-run").stdout
    assert desk.told("prune")["marked"] > 0
    assert desk.packs() == before
    checked = desk.told("check", "--read-data")
    assert (checked["holds"], len(checked["notes"])) == (True, 1)
    assert "are marked for removal" in checked["notes"][0]
    assert desk.told("prune")["removed"] == 0
    done = desk.run("prune", "--grace", "0h")
    assert "packs removed, 40" in done.stdout
    assert desk.packs() < before
    assert desk.told("check", "--read-data")["notes"] == []
    assert desk.told("snapshots")["damaged"] == []


def test_restics_own_prune_makes_room_where_that_is_asked_for_and_only_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(demand_restic().program.parent), prepend=":")
    (desk.folder / "file").write_bytes(noise(1, 400_000))
    desk.told("forget", desk.told("backup", desk.folder / "file")["snapshot"])
    refused = desk.run("prune", "--engine", "restic")
    assert "restic removes at once" in str(refused.exception)
    assert desk.size() > 400_000
    told = desk.told("prune", "--engine", "restic", "--grace", "0h")
    assert (told["engine"], desk.size() < 10_000) == ("restic", True)
    assert desk.told("check", "--read-data")["notes"] == []
    (desk.folder / "password").write_text("another\n")
    assert "restic ended with" in str(desk.run("prune", "--engine", "restic", "--grace", "0h").exception)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "restic is not on PATH" in str(desk.run("prune", "--engine", "restic", "--grace", "0h").exception)


def test_room_is_not_made_while_somebody_is_at_work_or_something_is_damaged(desk: Desk) -> None:
    with Lock(desk.repository, Holder("other", "elsewhere"), SystemClock()):
        assert "locked by other@elsewhere" in str(desk.run("prune").exception)
    add(desk.repository, LAST_NIGHT, b"\7" * 32)
    refused = desk.run("prune")
    assert isinstance(refused.exception, Refusal)
    assert "no index tells where tree 07070707 is" in str(refused.exception)


def test_nothing_is_forgotten_without_a_rule_or_while_somebody_is_at_work(desk: Desk) -> None:
    assert "no rule says what to keep" in str(desk.run("forget").exception)
    assert "'7' is none" in str(desk.run("forget", "--keep-within", "7").exception)
    with Lock(desk.repository, Holder("other", "elsewhere"), SystemClock()):
        refused = desk.run("forget", "--keep-daily", 7)
        assert isinstance(refused.exception, Refusal)
        assert "locked by other@elsewhere" in str(refused.exception)
    assert desk.left() == set(desk.nights)
    assert isinstance(desk.run("forget", "nothing").exception, NciaError)


@pytest.mark.parametrize(
    "rule", [("--keep-last", 1), ("--keep-within", "3d"), ("--keep-tag", "a"), ("--keep-daily", 2)]
)
def test_a_snapshot_that_is_named_and_a_rule_do_not_go_together(desk: Desk, rule: tuple[object, ...]) -> None:
    before = desk.left()
    for also in ((), ("--dry-run",)):
        refused = desk.run("forget", desk.nights[0], *rule, *also)
        assert refused.exit_code == 2
        assert "goes by no rule" in refused.stderr
    assert desk.left() == before
