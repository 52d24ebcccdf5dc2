"""The SSH adapter against a real SSH server on a port of its own."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ncia.app.ssh import SshRemote, remote_command
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate.model import Address, Estate, Host, Services, Site, SiteKind
from ncia.core.work.remote import OUTPUT_BYTES_MAX
from tests.lab_apps.world import eventually

SITE = SiteId("here")


class Sshd:
    """A real SSH server in a thread of its own; commands run under ``/bin/sh -c``, as on any host."""

    def __init__(self, port: int = 0) -> None:
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = Ed25519PrivateKey.generate()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = self._call(self._listen(port))
        self.port = int(self._acceptor.get_port())

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _close(self) -> None:
        self._acceptor.close()
        await asyncio.sleep(0)

    async def _listen(self, port: int) -> asyncssh.SSHAcceptor:
        openssh = serialization.PublicFormat.OpenSSH
        public = self.client_key.public_key().public_bytes(serialization.Encoding.OpenSSH, openssh)
        ours = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
                ours.connections += 1

        return await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=Server,
            server_host_keys=[self.host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(public.decode()),
            process_factory=_run,
            encoding=None,
        )

    def secrets(self, folder: Path, *, known: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        form = serialization.PrivateFormat.OpenSSH
        text = self.client_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (folder / "ssh_key").write_bytes(text)
        public = self.host_key.export_public_key().decode().strip()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n" if known else "")
        return folder


async def _run(process: asyncssh.SSHServerProcess) -> None:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    assert child.stderr

    async def feed() -> None:
        while block := await process.stdin.read(65536):
            child.stdin.write(block)
        child.stdin.close()

    async def pump(source, target) -> None:  # type: ignore[no-untyped-def]
        while block := await source.read(65536):
            target.write(block)
            await target.drain()

    feeding = asyncio.ensure_future(feed())
    try:
        await asyncio.gather(pump(child.stdout, process.stdout), pump(child.stderr, process.stderr))
        process.exit(await child.wait())
    finally:
        feeding.cancel()


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    server = Sshd()
    yield server
    server.stop()


def estate_of(port: int) -> tuple[Estate, Host]:
    site = Site(SITE, "Here", SiteKind.CENTRE, "UTC", "127.0.0.0/24", {}, Services())
    host = Host(HostId("store1"), SITE, Address("127.0.0.1", port), "ncia", ("store",))
    return Estate("test", "", {SITE: site}, {host.id: host}, (), {}, {}, {}, {}), host


@pytest.fixture
def dialled(sshd: Sshd, tmp_path: Path) -> Iterator[tuple[SshRemote, Host]]:
    estate, host = estate_of(sshd.port)
    remote = SshRemote(estate, SITE, sshd.secrets(tmp_path / "secrets"))
    yield remote, host
    remote.close()


def test_a_command_answers_its_status_and_both_streams(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    told = remote.run(host, ["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_seconds=10)
    assert (told.exit, told.stdout, told.stderr) == (3, b"out\n", b"err\n")


def test_a_pipe_carries_every_byte_from_one_command_to_the_other(
    dialled: tuple[SshRemote, Host], tmp_path: Path
) -> None:
    remote, host = dialled
    (tmp_path / "from").write_bytes(bytes(range(256)) * 40_000)
    write = ["sh", "-c", 'cat > "$1"; echo written', "sh", str(tmp_path / "to")]
    sent, received = remote.pipe(host, ["cat", str(tmp_path / "from")], host, write, timeout_seconds=30)
    assert (sent.exit, received.exit, received.text) == (0, 0, "written\n")
    assert (tmp_path / "to").read_bytes() == (tmp_path / "from").read_bytes()


def test_a_reader_that_fails_in_a_pipe_is_told_and_the_writer_ends(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    read = ["sh", "-c", "echo half; echo disk gone >&2; exit 5"]
    sent, received = remote.pipe(host, read, host, ["cat"], timeout_seconds=10)
    assert (sent.exit, sent.stderr, received.exit, received.stdout) == (5, b"disk gone\n", 0, b"half\n")


def test_a_writer_that_ends_early_says_why_and_the_next_command_works(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    write = ["sh", "-c", "echo no room >&2; exit 9"]
    _, received = remote.pipe(host, ["head", "-c", "50000000", "/dev/zero"], host, write, timeout_seconds=10)
    assert (received.exit, received.stderr) == (9, b"no room\n")
    assert remote.run(host, ["echo", "well"], timeout_seconds=10).text == "well\n"


def test_a_pipe_that_does_not_end_is_given_up(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    sent, _ = remote.pipe(host, ["sleep", "30"], host, ["cat"], timeout_seconds=0.3)
    assert sent.exit == 124


def test_what_a_command_prints_is_handed_over_piece_by_piece(dialled: tuple[SshRemote, Host], tmp_path: Path) -> None:
    remote, host = dialled
    content = bytes(range(256)) * 40_000  # more than a command's output may be
    (tmp_path / "from").write_bytes(content)
    pieces: list[bytes] = []
    told = remote.read(host, ["cat", str(tmp_path / "from")], pieces.append, timeout_seconds=30)
    assert (told.exit, told.stdout, b"".join(pieces) == content, len(pieces) > 10) == (0, b"", True, True)
    told = remote.read(host, ["sh", "-c", "printf half; echo gone >&2; exit 7"], pieces.append, timeout_seconds=10)
    assert (told.exit, told.stderr, pieces[-1]) == (7, b"gone\n", b"half")


def test_whoever_takes_may_refuse_and_the_next_command_works(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled

    def refuse(piece: bytes) -> None:
        raise NciaError("test.enough", "take it", "enough")

    with pytest.raises(NciaError, match="enough"):
        remote.read(host, ["head", "-c", "50000000", "/dev/zero"], refuse, timeout_seconds=5)
    assert remote.run(host, ["true"], timeout_seconds=10).exit == 0


def test_a_command_is_fed_pieces_and_then_the_end_of_its_input(dialled: tuple[SshRemote, Host], tmp_path: Path) -> None:
    remote, host = dialled
    pieces = [bytes([n]) * 100_003 for n in range(50)]
    write = ["sh", "-c", f"cat > {tmp_path}/to; wc -c < {tmp_path}/to"]
    told = remote.feed(host, write, pieces, timeout_seconds=30)
    assert (told.exit, told.text.strip(), (tmp_path / "to").read_bytes()) == (0, "5000150", b"".join(pieces))


def test_a_fed_command_that_ends_early_says_why(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    pieces = (bytes(1 << 20) for _ in range(50))
    told = remote.feed(host, ["sh", "-c", "echo full >&2; exit 4"], pieces, timeout_seconds=10)
    assert (told.exit, told.stderr) == (4, b"full\n")


def test_a_source_that_fails_never_ends_the_input_it_was_feeding(
    dialled: tuple[SshRemote, Host], tmp_path: Path
) -> None:
    """Else half an archive would look like a whole one."""
    remote, host = dialled

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise NciaError("test.broken", "read it", "it is damaged")

    with pytest.raises(NciaError, match="it is damaged"):
        remote.feed(host, ["sh", "-c", f"cat > {tmp_path}/to && touch {tmp_path}/ended"], pieces(), timeout_seconds=10)
    assert remote.run(host, ["true"], timeout_seconds=10).exit == 0


def test_a_stream_from_a_command_that_does_not_end_is_given_up(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    assert remote.read(host, ["sleep", "30"], lambda piece: None, timeout_seconds=0.3).exit in (124, 137)


def test_a_pipe_ends_when_its_remote_is_closed(dialled: tuple[SshRemote, Host], tmp_path: Path) -> None:
    remote, host = dialled
    begun = tmp_path / "begun"
    read = ["sh", "-c", f"touch {begun}; exec sleep 8"]
    with ThreadPoolExecutor(1) as pool:
        piping = pool.submit(remote.pipe, host, read, host, ["cat"], timeout_seconds=90)
        eventually(begun.exists)
        remote.close()
        with pytest.raises(Unreachable):
            piping.result(5)
    with pytest.raises(Unreachable, match="ending"):
        remote.pipe(host, ["true"], host, ["cat"], timeout_seconds=1)


def test_arguments_arrive_as_they_are_whatever_they_hold(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    nasty = ["a b", "$(reboot)", "it's", "", "한글", 'x"; rm -rf /', "*", "new\nline"]
    told = remote.run(host, ["printf", "%s|", *nasty], timeout_seconds=10)
    assert told.text == "".join(f"{part}|" for part in nasty)


def test_stdin_arrives_whole_and_a_command_without_one_sees_its_end(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    sent = bytes(range(256)) * 2000
    assert remote.run(host, ["cat"], timeout_seconds=10, stdin=sent).stdout == sent
    assert remote.run(host, ["cat"], timeout_seconds=10).stdout == b""


def test_much_output_on_both_streams_arrives_whole(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    script = "head -c 3500000 /dev/zero >&2 & head -c 3500000 /dev/zero; wait"
    told = remote.run(host, ["sh", "-c", script], timeout_seconds=30)
    assert (told.exit, len(told.stdout), len(told.stderr)) == (0, 3_500_000, 3_500_000)


def test_output_is_bounded(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    with pytest.raises(NciaError, match="printed more than"):
        remote.run(host, ["head", "-c", str(OUTPUT_BYTES_MAX + 100_000), "/dev/zero"], timeout_seconds=30)
    with suppress(
        Unreachable
    ):  # a host like this one may end a connection for a word about a channel that it has closed
        remote.run(host, ["true"], timeout_seconds=10)
    assert remote.run(host, ["true"], timeout_seconds=10).exit == 0


def test_a_command_that_overstays_is_killed_on_the_host(dialled: tuple[SshRemote, Host], tmp_path: Path) -> None:
    remote, host = dialled
    mark = tmp_path / "mark"
    with pytest.raises(Unreachable, match="killed there after") as raised:
        remote.run(host, ["sh", "-c", f"sleep 30; touch {mark}"], timeout_seconds=0.3)
    assert raised.value.code == "remote.timed-out"
    assert not mark.exists()


def test_a_command_that_a_signal_killed_has_a_status(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    assert remote.run(host, ["sh", "-c", "kill -SEGV $$"], timeout_seconds=10).exit == 128 + 11


def test_many_threads_share_one_connection(sshd: Sshd, dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    before = sshd.connections
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda n: remote.run(host, ["echo", str(n)], timeout_seconds=20).text, range(60)))
    assert told == [f"{n}\n" for n in range(60)]
    assert sshd.connections - before == 1


def test_commands_are_quick_on_a_kept_connection(dialled: tuple[SshRemote, Host]) -> None:
    remote, host = dialled
    remote.run(host, ["true"], timeout_seconds=10)
    began = time.monotonic()
    for _ in range(20):
        remote.run(host, ["true"], timeout_seconds=10)
    assert time.monotonic() - began < 4  # with Nagle's algorithm and delayed acknowledgements it takes longer


def test_an_unknown_host_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    estate, host = estate_of(sshd.port)
    remote = SshRemote(estate, SITE, sshd.secrets(tmp_path / "secrets", known=False))
    with pytest.raises(NciaError) as raised:
        remote.run(host, ["true"], timeout_seconds=5)
    assert raised.value.code == "remote.unknown-host"


def test_a_host_with_another_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    estate, host = estate_of(sshd.port)
    secrets = sshd.secrets(tmp_path / "secrets")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    (secrets / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    with pytest.raises(NciaError) as raised:
        SshRemote(estate, SITE, secrets).run(host, ["true"], timeout_seconds=5)
    assert raised.value.code == "remote.other-host"


def test_a_key_that_the_host_does_not_know_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    estate, host = estate_of(sshd.port)
    secrets = sshd.secrets(tmp_path / "secrets")
    (secrets / "ssh_key").write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    with pytest.raises(NciaError) as raised:
        SshRemote(estate, SITE, secrets).run(host, ["true"], timeout_seconds=5)
    assert raised.value.code == "remote.refused"


def test_a_broken_connection_is_made_anew_for_the_next_command(tmp_path: Path) -> None:
    first = Sshd()
    estate, host = estate_of(first.port)
    remote = SshRemote(estate, SITE, first.secrets(tmp_path / "secrets"))
    assert remote.run(host, ["true"], timeout_seconds=5).exit == 0
    assert remote._lines[host.id]._client is not None
    remote._lines[host.id]._client.get_transport().sock.close()  # type: ignore[union-attr]
    with_retry = None
    for _ in range(2):  # the break may be seen by this command or by the next one
        try:
            with_retry = remote.run(host, ["echo", "again"], timeout_seconds=5).text
            break
        except Unreachable:
            continue
    assert with_retry == "again\n"
    remote.close()
    first.stop()


def test_a_host_that_is_not_there_is_unreachable(sshd: Sshd, tmp_path: Path) -> None:
    estate, host = estate_of(1)
    remote = SshRemote(estate, SITE, sshd.secrets(tmp_path / "secrets"))
    with pytest.raises(Unreachable, match="reach host store1"):
        remote.run(host, ["true"], timeout_seconds=5)


def test_the_line_for_the_host_has_a_limit_and_counts_stdin_off() -> None:
    assert remote_command(["cat", "a b"], 2.5, 0) == "timeout -k 5 2.5 cat 'a b' </dev/null; exit $?"
    assert remote_command(["cat"], 2, 7) == "head -c 7 | timeout -k 5 2 cat; exit $?"
