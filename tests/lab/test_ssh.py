"""An SSH host of the lab, as the platform's own client library meets it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from dataclasses import fields
from pathlib import Path

import asyncssh
import paramiko
import pytest

from backup.clients.transport import Transport
from ncia.core.base.ids import HostId, SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate.model import Address, Host
from ncia.lab import secrets
from ncia.lab.attack import Guesser, Order
from ncia.lab.attack import log_in as guess_at
from ncia.lab.door import without_ignores
from ncia.lab.file_root import FileRoot
from ncia.lab.secrets import Ed25519PrivateKey
from ncia.lab.ssh import open_host
from tests.ports import free_port

USER = "ncia"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """(host, its folder, its site's folder, the client's key), served from a thread."""
    site = tmp_path_factory.mktemp("site")
    folder = site / "hosts" / "h1"
    folder.mkdir(parents=True)
    client, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    secrets.write(folder / "host_key", secrets.openssh_private(own))
    secrets.write(folder / "authorized_keys", secrets.openssh_public(client) + " test\n")
    secrets.write(site / "client_key", secrets.openssh_private(client))
    secrets.write(site / "stranger_key", secrets.openssh_private(Ed25519PrivateKey.generate()))
    made = Host(HostId("h1"), SiteId("east"), Address("127.0.0.1", free_port()), USER, ("database",))
    known = f"[127.0.0.1]:{made.ssh.port} {secrets.openssh_public(own)}\n"
    secrets.write(site / "known_hosts", known)
    given = {"file": site / "site.yaml", "site": SiteId("east"), "journal_url": "", "jobs_url": "", "logs": ()}
    unused = {field.name: site for field in fields(SiteSettings) if field.name not in given}
    settings = SiteSettings(**given, **unused)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(open_host(made, settings, folder), loop).result(30)
    yield made, site
    loop.call_soon_threadsafe(acceptor.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def connect(host, key: str = "client_key", user: str = USER) -> paramiko.SSHClient:
    made, site = host
    client = paramiko.SSHClient()
    client.load_host_keys(str(site / "known_hosts"))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    found = paramiko.Ed25519Key.from_private_key_file(str(site / key))
    client.connect(made.ssh.host, made.ssh.port, user, pkey=found, look_for_keys=False, allow_agent=False, timeout=20)
    return client


@pytest.fixture
def client(host):
    with connect(host) as made:
        yield made


def run(client: paramiko.SSHClient, command: str) -> tuple[int, bytes]:
    channel = client.get_transport().open_session(timeout=20)
    channel.exec_command(command)
    told = b"".join(iter(lambda: channel.recv(65536), b""))
    return channel.recv_exit_status(), told


def test_a_command_works_in_the_sites_folder_and_tells_its_exit_status(host, client):
    assert run(client, "pwd; exit 7") == (7, f"{host[1]}\n".encode())


def test_large_outputs_arrive_whole(client):
    status, told = run(client, "head -c 5000000 /dev/zero | tr '\\0' x")
    assert (status, len(told), hashlib.sha256(told).digest()) == (
        0,
        5_000_000,
        hashlib.sha256(b"x" * 5_000_000).digest(),
    )


def test_many_commands_share_one_connection(client):
    assert [run(client, f"echo {i}")[1] for i in range(20)] == [f"{i}\n".encode() for i in range(20)]


def test_what_the_caller_writes_reaches_the_command(client):
    stdin, stdout, _ = client.exec_command("cat")
    stdin.write("a line\n")
    stdin.channel.shutdown_write()
    assert stdout.read() == b"a line\n"


def test_files_are_written_by_sftp_below_the_file_root_and_nowhere_else(host, client):
    with client.open_sftp() as sftp:
        with sftp.open("/../written", "wb") as file:
            file.write(b"bytes" * 1000)
        assert sftp.listdir("/") == ["written"]
    assert (host[1] / "files" / "written").read_bytes() == b"bytes" * 1000


def test_a_command_goes_on_when_its_caller_goes_away(host):
    done = host[1] / "done"
    made = connect(host)
    channel = made.get_transport().open_session(timeout=20)
    channel.exec_command(f"echo begun; read unused; sleep 0.3; touch {done}")
    assert channel.recv(100) == b"begun\n"
    made.close()
    appears(done)


def appears(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("key", "user"), [("stranger_key", USER), ("client_key", "root")], ids=["key", "user"])
def test_another_key_or_user_is_refused(host, key, user):
    with pytest.raises(paramiko.AuthenticationException):
        connect(host, key, user)


def test_a_password_is_not_even_asked_for(host):
    made, _ = host
    transport = paramiko.Transport((made.ssh.host, made.ssh.port))
    transport.start_client(timeout=20)
    with pytest.raises(paramiko.BadAuthenticationType):
        transport.auth_password(USER, "password")
    transport.close()


# --- a host that is set up badly, and what it writes -----------------------------------------------------------------


@pytest.fixture
def badly(host):
    """The host while an attack is tried: it asks for passwords, and one account has a weak one."""
    file = host[1] / "hosts" / "h1" / "weak_account"
    secrets.write(file, json.dumps({"user": "test", "password": "test1234"}))
    yield host
    file.unlink()


def log_in(host, user: str, password: str) -> paramiko.Transport:
    transport = paramiko.Transport((host[0].ssh.host, host[0].ssh.port))
    transport.start_client(timeout=20)
    transport.auth_password(user, password)
    return transport


def logged_in_time(host, wanted: str, start: int = 0) -> list[str]:
    """The lines from ``start`` on, once ``wanted`` is in one: the host answers first and writes then."""
    deadline = time.monotonic() + 20
    while not any(wanted in line for line in logged(host)[start:]):
        assert time.monotonic() < deadline, logged(host)[start:]
        time.sleep(0.01)
    return logged(host)[start:]


def logged(host) -> list[str]:
    text = (host[1] / "hosts" / "h1" / "auth.log").read_text()
    return [line.partition("]: ")[2] for line in text.splitlines()]


def test_a_refused_password_and_a_right_one_are_logged_as_openssh_does(badly):
    before = len(logged(badly))
    with pytest.raises(paramiko.AuthenticationException):
        log_in(badly, "root", "wrong")
    transport = log_in(badly, "test", "test1234")
    port = transport.sock.getsockname()[1]
    transport.close()
    told = logged_in_time(badly, f"Accepted password for test from 127.0.0.1 port {port} ssh2", before)
    of_root = [line for line in told if "invalid user root" in line or "Invalid user root" in line]
    assert of_root[0].startswith("Invalid user root from 127.0.0.1 port ")
    assert of_root[1].startswith("Failed password for invalid user root from 127.0.0.1 port ")


def test_whoever_comes_in_by_the_weak_account_can_do_nothing(badly):
    transport = log_in(badly, "test", "test1234")
    channel = transport.open_session(timeout=20)
    channel.exec_command("id")
    assert (channel.recv_exit_status(), channel.recv(100)) == (127, b"")
    with pytest.raises(paramiko.ChannelException):
        transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 2), timeout=20)
    with pytest.raises((paramiko.SSHException, EOFError, OSError)):
        paramiko.SFTPClient.from_transport(transport).listdir("/")
    transport.close()


def test_after_six_refused_passwords_the_host_hangs_up(badly):
    order = Order(badly[0].ssh.host, badly[0].ssh.port, "127.0.0.1", guesses=20, enter=False)
    guesser = Guesser(["wrong"] * 20)
    with pytest.raises(asyncssh.Error):
        asyncio.run(guess_at(order, "root", guesser))
    assert guesser.offered == 6
    told = logged_in_time(badly, "Too many authentication failures [preauth]")
    assert len([line for line in told if line.startswith("Failed password for invalid user root")]) >= 6


def test_the_platforms_own_login_is_logged_with_its_key(host, client):
    assert run(client, "true")[0] == 0
    told = logged_in_time(host, "Accepted publickey for ncia from 127.0.0.1 port ")
    accepted = [line for line in told if line.startswith("Accepted publickey for ncia from 127.0.0.1 port ")]
    assert " ssh2: ED25519 SHA256:" in accepted[-1]


class Wire:
    """What a connection of the library sends, as it would."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def send_packet(self, kind: int, *words: bytes, handler: object = None) -> None:
        if kind != asyncssh.constants.MSG_IGNORE:
            self.send_packet(asyncssh.constants.MSG_IGNORE, b"")
        self.sent.append(kind)


def test_no_empty_message_goes_before_each_that_says_something():
    wire = Wire()
    without_ignores(wire)
    wire.send_packet(asyncssh.constants.MSG_CHANNEL_DATA, b"a word", handler=None)
    assert wire.sent == [asyncssh.constants.MSG_CHANNEL_DATA]


def test_a_packet_needs_no_mac_beside_its_cipher(host):
    made, site = host
    transport = Transport(socket.create_connection((made.ssh.host, made.ssh.port)))
    try:
        transport.start_client(timeout=20)
        transport.auth_publickey(USER, paramiko.Ed25519Key.from_private_key_file(str(site / "client_key")))
        assert {transport.remote_cipher, transport.local_cipher} == {"aes128-gcm@openssh.com"}
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("path", "outside"),
    [(b"/a/b", False), (b"/new/b", False), (b"/out/b", True), (b"/a/out/b", True), (b"/out", False)],
)
def test_a_path_through_a_link_leads_nowhere_but_a_link_may_be_renamed_itself(tmp_path, path, outside):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    for link in (root / "out", root / "a" / "out"):
        link.symlink_to(tmp_path)
    files = FileRoot(Channel(), root)
    if outside:
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            files.map_path(path)
    else:
        assert files.map_path(path) == bytes(root) + path


class Channel:
    """As much of a channel as a server of files looks at."""

    def get_connection(self) -> object:
        return self

    def get_extra_info(self, name: str) -> str:
        return USER

    @property
    def logger(self) -> Channel:
        return self

    def get_child(self, *_: object) -> Channel:
        return self
