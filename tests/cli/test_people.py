"""`ncia login`, `token`, `people` against the real routes, over both doors."""

from __future__ import annotations

import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from click.testing import Result
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from ncia.api.doors import TCP, UNIX, Door
from ncia.app.web import unix_socket
from ncia.cli.people import app
from ncia.core.base.clock import SystemClock
from tests.api.world import World, estate, keys
from tests.demand import demand


@dataclass
class Desk:
    world: World
    folder: Path
    tcp: str

    def run(self, *words: str, door: str = "tcp", **environment: str) -> Result:
        api = self.tcp if door == "tcp" else f"unix:{self.folder / 'api.sock'}"
        told = {"NCIA_API": api, "NCIA_SESSIONS": str(self.folder / "sessions.json"), "COLUMNS": "160", **environment}
        return CliRunner().invoke(app, list(words), env=told)

    def told(self, *words: str, **how: str) -> str:
        result = self.run(*words, **how)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def key(self, person: str) -> str:
        file = self.folder / person
        file.write_bytes(keys()[person].private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        file.chmod(0o600)
        return str(file)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    world = World(tmp_path, clock=SystemClock())
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    servers = []
    for door, at in ((TCP, listener), (UNIX, unix_socket(tmp_path / "api.sock"))):
        config = uvicorn.Config(Door(world.application, door), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        servers.append((server, thread))
    while not all(server.started for server, _ in servers):
        time.sleep(0.01)
    yield Desk(world, tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
    for server, thread in servers:
        server.should_exit = True
        thread.join()
    world.journal.close()


def test_a_person_signs_in_is_known_by_the_next_command_and_signs_out(desk: Desk) -> None:
    told = desk.told("login", "--key", desk.key("kim"))
    assert told.startswith("kim (on-call, SHA256:")
    assert desk.told("whoami").startswith("kim, on-call, sees the whole estate, until ")
    assert desk.told("logout") == "kim is signed out\n"
    assert desk.run("whoami").exception.code == "api.no-credential"


def test_the_session_file_is_readable_by_nobody_else_and_refused_where_it_is(desk: Desk) -> None:
    desk.told("login", "--key", desk.key("kim"))
    file = desk.folder / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert desk.run("whoami").exception.code == "cli.session-file"


def test_a_session_is_shown_to_the_address_that_gave_it_only(desk: Desk) -> None:
    desk.told("login", "--key", desk.key("choi"))
    assert desk.told("whoami", door="unix").startswith("local, local")


def test_a_strangers_key_is_refused_with_what_to_try(desk: Desk) -> None:
    refused = desk.run("login", "--key", desk.key("stranger")).exception
    assert "is not known" in refused.why
    assert "people.yaml" in refused.hint


def test_the_key_of_an_agent_signs_in(desk: Desk, tmp_path: Path) -> None:
    agent, add = (demand(tool, "apt-get install openssh-client") for tool in ("ssh-agent", "ssh-add"))
    demand("ssh-keygen", "apt-get install openssh-client")
    sock = tmp_path / "agent.sock"
    running = subprocess.Popen([agent, "-D", "-a", str(sock)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not sock.exists():
            time.sleep(0.01)
        environment = {"SSH_AUTH_SOCK": str(sock)}
        subprocess.run([add, "-q", desk.key("kim")], env=environment, check=True)
        (tmp_path / "kim").unlink()  # the agent alone has it now
        line = next(p.public_key for p in estate().people.values() if p.id == "kim")
        (tmp_path / "kim.pub").write_text(line + " kim\n")
        assert desk.told("login", "--key", str(tmp_path / "kim.pub"), **environment).startswith("kim (on-call")
    finally:
        running.terminate()
        running.wait()


def test_a_browser_address_is_printed_and_opens_a_session(desk: Desk) -> None:
    told = desk.told("login", "--key", desk.key("kim"), "--browser").splitlines()
    assert told[1].startswith(f"{desk.tcp}/sign-in#")
    again = desk.told("login", "--browser").splitlines()  # signed in already: no key needed
    assert again[0].startswith(f"{desk.tcp}/sign-in#")
    code = again[0].partition("#")[2]
    assert desk.world.accounts.exchange(code, "10.0.0.1").person == "kim"


def test_without_a_key_it_says_how(desk: Desk) -> None:
    assert "no key was named" in desk.run("login").exception.why


def test_a_token_is_issued_once_listed_and_revoked(desk: Desk) -> None:
    desk.told("login", "--key", desk.key("jung"))
    issued = desk.run("token", "issue", "graphs", "--role", "auditor", "--days", "1")
    secret = issued.stdout.strip()
    assert secret.startswith("ncia_t_")
    assert desk.told("whoami", NCIA_TOKEN=secret).startswith("token:graphs, auditor")
    listed = desk.told("token", "list")
    assert ("graphs" in listed, "good" in listed, secret in listed) == (True, True, False)
    token = issued.stderr.split(":")[0]
    assert desk.told("token", "revoke", token, "--reason", "no more graphs") == f"{token} revoked\n"
    assert desk.run("whoami", NCIA_TOKEN=secret).exception.code == "api.signed-out"


def test_an_account_is_suspended_and_restored_with_a_reason(desk: Desk) -> None:
    told = desk.told("people", "suspend", "park", "--reason", "on leave", "--by", "jung", door="unix")
    assert told == "park suspended\n"
    assert "suspended: on leave" in desk.told("people", "list", door="unix")
    desk.told("people", "restore", "park", "--reason", "back", "--by", "jung", door="unix")
    assert "suspended" not in desk.told("people", "list", door="unix")


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_file_that_is_no_key_is_told(desk: Desk, content: str) -> None:
    (desk.folder / "bad").write_text(content)
    refused = desk.run("login", "--key", str(desk.folder / "bad")).exception
    assert refused.code == "approval.bad-key"
