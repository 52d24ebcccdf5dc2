"""`ncia journal`: offline on files, and through the API's real routes over a unix socket."""

from __future__ import annotations

import base64
import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from ncia.api.doors import UNIX, Door
from ncia.api.problems import register
from ncia.api.routes import journal, watching
from ncia.cli.journal import app
from ncia.core.base.errors import NciaError
from ncia.core.journal import Journal
from ncia.core.journal.checkpoint import raw_key
from ncia.core.journal.reader import WireReader
from tests.core.journal.sites import EAST, KEYS, WEST, journal_of, said, sqlite_url
from tests.core.journal.specimens import SPECIMENS


@pytest.fixture
def east(tmp_path: Path) -> Iterator[Journal]:
    """East's journal with its peer's entries, and the keyring beside it."""
    opened = journal_of(EAST, sqlite_url(tmp_path, "journal"))
    west = journal_of(WEST, sqlite_url(tmp_path, "west"))
    west.append_all([said("far"), said("away")], by="tester")
    opened.append_all(SPECIMENS, by="tester")
    opened.accept_peer(west.entries(WEST), west.checkpoint())
    keys = [f"{site}: {base64.b64encode(raw_key(key)).decode()}" for site, key in KEYS.items()]
    (tmp_path / "peer_keys.yaml").write_text("\n".join(keys))
    yield opened
    opened.close()
    west.close()


@pytest.fixture
def api(east: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    application = FastAPI()
    reader = WireReader(east)
    platform = SimpleNamespace(site=EAST, release="test", journal=reader)
    application.include_router(watching(platform))
    application.include_router(journal(platform))
    register(application)
    with tempfile.TemporaryDirectory(prefix="ncia-api-") as folder:
        config = uvicorn.Config(Door(application, UNIX), uds=f"{folder}/api.sock", log_level="error", lifespan="off")
        listener = config.bind_socket()
        listener.listen()  # from here on a request waits for the server rather than being refused
        server = uvicorn.Server(config)
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        monkeypatch.setenv("NCIA_API", f"unix:{folder}/api.sock")
        yield
        server.should_exit = True
        serving.join()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_a_journal_that_holds_is_told_with_its_roots_and_exit_0(east: Journal, tmp_path: Path) -> None:
    result = run("verify", tmp_path / "journal.db", tmp_path / "west.db")
    assert result.exit_code == 0
    assert east.checkpoint().root.hex()[:16] in result.stdout
    assert "Every check held" in result.stdout


def test_a_fault_is_named_and_exit_1(east: Journal, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("UPDATE journal_entries SET text = replace(text, 'far', 'FAR') WHERE site = 'west'")
    connection.close()
    result = run("verify", tmp_path / "journal.db")
    assert result.exit_code == 1
    assert "flipped: west 0 in" in result.stderr
    told = json.loads(run("verify", tmp_path / "journal.db", "--json").stdout)
    assert (told["holds"], [(f["kind"], f["site"], f["number"]) for f in told["findings"]]) == (
        False,
        [("flipped", "west", 0)],
    )


def test_without_a_keyring_nothing_is_verified(east: Journal, tmp_path: Path) -> None:
    (tmp_path / "peer_keys.yaml").rename(tmp_path / "elsewhere.yaml")
    refused = run("verify", tmp_path / "journal.db")
    assert refused.exit_code != 0
    assert isinstance(refused.exception, NciaError)
    assert run("verify", tmp_path / "journal.db", "--keys", tmp_path / "elsewhere.yaml").exit_code == 0


def test_an_export_of_a_file_holds(east: Journal, tmp_path: Path) -> None:
    assert run("export", tmp_path / "journal.db", "-o", tmp_path / "export.jsonl").exit_code == 0
    assert run("verify", tmp_path / "export.jsonl").exit_code == 0
    assert run("verify", tmp_path / "export.jsonl", tmp_path / "west.db").exit_code == 0


@pytest.mark.usefixtures("api")
def test_an_export_through_the_api_holds(tmp_path: Path) -> None:
    assert run("export", "-o", tmp_path / "export.jsonl").exit_code == 0
    verified = run("verify", tmp_path / "export.jsonl")
    assert (verified.exit_code, f"{len(SPECIMENS)} entries" in verified.stdout) == (0, True)


def shown(*arguments: str) -> list[tuple[str, int, str]]:
    lines = run("show", "--json", *arguments).stdout.splitlines()
    return [(wire["site"], wire["number"], wire["kind"]) for wire in map(json.loads, lines)]


@pytest.mark.usefixtures("api")
def test_the_newest_entries_are_shown() -> None:
    count = len(SPECIMENS)
    one, other = (body.KIND for body in SPECIMENS[-2:])
    assert shown("--tail", "2") == [(EAST, count - 2, one), (EAST, count - 1, other)]
    assert shown("--kind", "step.ended") == [(EAST, [b.KIND for b in SPECIMENS].index("step.ended"), "step.ended")]
    assert [kind for _, _, kind in shown("--kind", "proof")] == ["proof.started", "proof.finished", "proof.failed"]
    assert shown("--site", "west") == [(WEST, 0, "backup.failed"), (WEST, 1, "backup.failed")]
    assert shown("--site", "nowhere") == []


@pytest.mark.usefixtures("api")
def test_entries_are_shown_as_a_table_of_what_happened() -> None:
    told = run("show", "--tail", "100").stdout
    assert "All is served from east." in told
    assert "site:west up→down" in told
