"""`ncia recover` at 3 am: against the real routes, over the desk in a world in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from click.testing import Result
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ncia.api.doors import UNIX, Door
from ncia.api.ports import Platform
from ncia.api.routes import build
from ncia.app.web import unix_socket
from ncia.cli.recover import app
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries_recovery import RunSworn
from ncia.core.requests.accounts import Accounts
from ncia.core.state import State
from tests.recovery.scene import LOST, ROOT, SURVIVOR, Scene, estate, keys, return_scene, scene

WIDE = {"COLUMNS": "120", "NO_COLOR": "1"}


@dataclass
class Night:
    stage: Scene
    environment: dict[str, str]
    folder: Path

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words), env=self.environment)

    def told(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return " ".join(result.stdout.split())

    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.told("plan", LOST, "--json"))
        return found

    def approve(self, run: str, person: str) -> Result:
        return self.run("approve", run, "--key", str(self.folder / person), "--estate", str(self.folder / "configs"))


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    yield from opened(scene(), tmp_path)


@pytest.fixture
def morning(tmp_path: Path) -> Iterator[Night]:
    """The lost site is back."""
    yield from opened(return_scene(), tmp_path)


def opened(stage: Scene, tmp_path: Path) -> Iterator[Night]:
    stage.world.began += datetime.now(UTC) - stage.world.now()  # people sign on machines of their own
    for person, key in keys().items():
        (tmp_path / person).write_bytes(key)
    write_estate(tmp_path / "configs")
    listener = unix_socket(tmp_path / "api.sock")
    door = Door(build(platform(stage, tmp_path)), UNIX)
    server = uvicorn.Server(uvicorn.Config(door, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with capture_logs():  # the desk lives in our own process and would log between the command's lines
        yield Night(stage, {**WIDE, "NCIA_API": f"unix:{tmp_path / 'api.sock'}"}, tmp_path)
    server.should_exit = True
    thread.join()


def platform(stage: Scene, folder: Path) -> Platform:
    """Only the desk of recovery is asked for anything here."""
    nobody: Any = None
    named = dict.fromkeys((f.name for f in fields(Platform)), nobody)
    told = {"site": SURVIVOR, "release": "0", "static": str(folder), "recovery": stage.desk}
    told["made"] = lambda made: made
    told["accounts"] = Accounts(SURVIVOR, estate(), stage.journal, State, stage.world)
    return Platform(**{**named, **told})


def write_estate(folder: Path) -> None:
    """The reference estate with the public keys of our people."""
    folder.mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        told = yaml.safe_load(path.read_text())
        for person in told.get("people", []) if isinstance(told, dict) else []:
            person["public_key"] = estate().people[person["id"]].public_key
        (folder / path.name).write_text(yaml.safe_dump(told, allow_unicode=True))


def test_a_plan_shows_what_order_seconds_loss_hash_and_the_two_commands_to_send_next(night: Night) -> None:
    told = night.told("plan", LOST)
    run = night.stage.desk.runs()[0]
    assert f"{run['run']}: 9 systems of daejeon to gwangju in 3 waves" in told
    assert told.index(" share ") < told.index(" g2b ") < told.index(" gangnam-tax ")
    assert "share 1 nothing" in told
    assert "≤ 1 s" in told
    assert run["plan_hash"] in told
    assert told.count(f"ncia recover approve {run['run']} --key PATH") == 2
    assert "never measured, estimated: claim_epoch" in told


def test_two_people_approve_with_their_keys_and_the_run_is_carried_out(night: Night) -> None:
    run = night.plan()["run"]
    first = night.approve(run, "kim")
    assert "Kim Min-jun (kim, SHA256:" in first.stdout
    assert "waits for 1 approval" in first.stdout
    second = night.approve(run, "lee")
    assert "all 9 systems of daejeon are served from gwangju" in second.stdout
    told = night.told("status", run)
    assert f"{run} succeeded" in told
    assert told.count(" served ") >= 9
    assert night.run("watch", run).exit_code == 0
    assert run in night.told("status")


def test_a_returned_site_is_planned_approved_and_brought_home_by_the_same_commands(morning: Night) -> None:
    told = morning.told("plan", "--runbook", "site_failback", LOST)
    assert "9 systems of gwangju to daejeon in 3 waves" in told
    assert "share 1 nothing" in told
    assert "is listed, with its rows, before anything is rewound" in told
    assert "each system's citizens wait about" in told
    run = morning.stage.desk.runs()[0]["run"]
    morning.approve(run, "kim")
    assert "all 9 systems moved from gwangju are served from daejeon" in morning.approve(run, "lee").stdout
    assert f"{run} succeeded" in morning.told("status", run)


def test_a_planned_move_accepts_no_loss(morning: Night) -> None:
    result = morning.run("plan", "--runbook", "site_failback", LOST, "--accept-loss", "share=never mind")
    assert isinstance(result.exception, Refusal)
    assert "a planned move loses nothing, or is refused" in str(result.exception)


def test_a_key_of_nobody_signs_nothing(night: Night) -> None:
    result = night.approve(night.plan()["run"], "stranger")
    assert isinstance(result.exception, Refusal)
    assert "belongs to nobody in the estate" in result.exception.why


def test_an_auditor_is_told_who_may(night: Night) -> None:
    result = night.approve(night.plan()["run"], "choi")
    assert isinstance(result.exception, Refusal)
    assert "is auditor; only on-call or admin may approve" in result.exception.why
    assert "choi" in night.told("status", night.stage.desk.runs()[0]["run"])


def test_a_plan_that_is_not_what_its_hash_says_is_not_signed(night: Night) -> None:
    run = night.plan()["run"]
    night.stage.desk._runs.get(run).plan_hash = "00" * 32  # type: ignore[union-attr]
    result = night.approve(run, "kim")
    assert isinstance(result.exception, Refusal)
    assert result.exception.code == "approval.plan-altered"


def test_a_refused_plan_names_its_override(night: Night) -> None:
    night.stage.world.servers[SystemId("patent"), SURVIVOR].canary_at = night.stage.world.now().replace(year=2025)
    result = night.run("plan", LOST)
    assert isinstance(result.exception, Refusal)
    assert "behind its promise" in result.exception.why
    assert result.exception.hint == "ncia recover plan daejeon --accept-loss patent=REASON"
    told = night.told("plan", LOST, "--accept-loss", "patent=the office has its own")
    assert "accepted: patent: the office has its own" in told


def test_accepting_without_a_reason_is_refused_here(night: Night) -> None:
    assert "it names no reason" in str(night.run("plan", LOST, "--accept-loss", "patent").exception)


def test_a_run_is_stopped_and_resumed_by_name(night: Night) -> None:
    run = night.plan()["run"]
    assert f"{run} stopped: not tonight Next: ncia recover resume {run}" in night.told(
        "stop", run, "--reason", "not tonight"
    )
    refused = night.run("resume", run)
    assert "2 approvals missing" in str(refused.exception)


def test_a_person_of_the_estate_may_swear_that_nobody_else_is_left(night: Night) -> None:
    run = night.plan()["run"]
    oath = ("alone", run, "--reason", "the peer burnt, the witness is cut off")
    assert "not in the estate" in str(night.run(*oath, "--by", "nobody").exception)
    night.told(*oath, "--by", "kim")
    (sworn,) = night.stage.journal.bodies(RunSworn)
    assert (sworn.run, sworn.by, sworn.unheard) == (run, "kim", (LOST, "witness"))


def test_following_a_run_that_is_over_prints_it_once_as_json(night: Night) -> None:
    run = night.plan()["run"]
    night.run("stop", run, "--reason", "not tonight")
    result = night.run("watch", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["stopped"]


def test_without_any_plan_it_says_how_to_make_one(night: Night) -> None:
    assert "ncia recover plan SITE" in night.told("status")
