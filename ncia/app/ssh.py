"""SSH to the estate's hosts: strict host keys, one kept connection a host, many commands on it."""

from __future__ import annotations

import selectors
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paramiko

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate.model import Estate, Host
from ncia.core.work.remote import OUTPUT_BYTES_MAX, STDIN_BYTES_MAX, Outcome

CONNECT_SECONDS = 5.0
GRACE_SECONDS = 3.0  # beyond the command's own time, for its answer to arrive
KILL_AFTER_SECONDS = 5.0  # between SIGTERM and SIGKILL on the host
KEEPALIVE_SECONDS = 10
COMMANDS_AT_ONCE_MAX = 8  # a host's sshd allows 10 sessions on a connection by default
STALL_SECONDS = 120.0  # in which nothing passes through a pipe
TIMED_OUT = (124, 137)  # what timeout(1) ends with
BROKEN_PIPE = 141  # 128 + SIGPIPE
CHUNK_BYTES = 64 * 1024
WAKE_SECONDS = 0.25  # paramiko tells of two streams through one pipe, and may lose a word when both come at once


class SshRemote:
    """A :class:`~ncia.core.work.remote.Remote` over SSH, as seen from ``viewer``.

    ``secrets`` holds ``ssh_key`` (Ed25519) and ``known_hosts``; a host that is not in there, or shows another key, is
    refused. A connection that broke is made anew for the next command; a command is never sent twice.
    """

    def __init__(self, estate: Estate, viewer: SiteId, secrets: Path) -> None:
        self._estate = estate
        self._viewer = viewer
        self._secrets = secrets
        self._lock = threading.Lock()
        self._lines: dict[HostId, _Line] = {}
        self._piping: set[_Line] = set()
        self._closed = False

    def run(self, host: Host, argv: Sequence[str], *, timeout_seconds: float, stdin: bytes = b"") -> Outcome:
        if len(stdin) > STDIN_BYTES_MAX:
            raise NciaError("remote.too-much-input", f"run {argv[0]} on {host.id}", f"{len(stdin)} bytes of stdin")
        line = self._line(host)
        with line.slots:
            began = time.monotonic()
            channel = line.open()
            try:
                outcome = _converse(channel, host, argv, timeout_seconds, stdin)
            except (paramiko.SSHException, EOFError, OSError) as error:
                line.drop()
                raise _silent(host, argv[0], error) from error
            finally:
                channel.close()
        if outcome is None:
            line.drop()
            raise Unreachable(
                "remote.silent",
                f"run {argv[0]} on {host.id}",
                f"no answer within {timeout_seconds + GRACE_SECONDS:g} s; whether it acted is unknown",
                "look at the host, then ask again",
            )
        if outcome.exit in TIMED_OUT and time.monotonic() - began >= timeout_seconds:
            raise Unreachable(
                "remote.timed-out", f"run {argv[0]} on {host.id}", f"killed there after {timeout_seconds:g} s"
            )
        return outcome

    def pipe(
        self, source: Host, read: Sequence[str], target: Host, write: Sequence[str], *, timeout_seconds: float
    ) -> tuple[Outcome, Outcome]:
        """As :class:`~ncia.core.work.remote.Pipes` says; the bytes pass through this process, a piece at a time.

        On connections of its own: a command that ends while it is still being fed can take its connection along."""
        with ExitStack() as closing:
            channels = []
            for host in (source, target):
                line = self._for_pipe(host)
                closing.callback(self._done_with, line)
                channels.append(line.open())
            try:
                for channel, argv in zip(channels, (read, write), strict=True):
                    channel.settimeout(min(STALL_SECONDS, timeout_seconds + GRACE_SECONDS))
                    channel.exec_command(f"{_bounded(argv, timeout_seconds)}; exit $?")
                return _pass_on(*channels)
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise Unreachable(
                    "remote.broken-pipe",
                    f"run {read[0]} on {source.id} into {write[0]} on {target.id}",
                    str(error) or type(error).__name__,
                    "it can be asked for again",
                ) from error

    def read(
        self, host: Host, argv: Sequence[str], take: Callable[[bytes], object], *, timeout_seconds: float
    ) -> Outcome:
        """As :class:`~ncia.core.work.remote.Streams` says; on a connection of its own, as :meth:`feed`."""
        with self._streaming(host, argv, timeout_seconds) as channel:
            while piece := _received(channel, host, argv[0]):
                take(piece)
            return _told(channel, host, argv[0])

    def feed(self, host: Host, argv: Sequence[str], pieces: Iterable[bytes], *, timeout_seconds: float) -> Outcome:
        with self._streaming(host, argv, timeout_seconds) as channel:
            for piece in pieces:
                try:
                    channel.sendall(piece)
                except OSError as error:
                    if channel.exit_status_ready():
                        break
                    raise _broken(host, argv[0], error) from error
            else:
                channel.shutdown_write()
            return _told(channel, host, argv[0])

    @contextmanager
    def _streaming(self, host: Host, argv: Sequence[str], timeout_seconds: float) -> Iterator[paramiko.Channel]:
        line = self._for_pipe(host)
        try:
            channel = line.open()
            channel.settimeout(min(STALL_SECONDS, timeout_seconds + GRACE_SECONDS))
            try:
                channel.exec_command(f"{_bounded(argv, timeout_seconds)}; exit $?")
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise _broken(host, argv[0], error) from error
            yield channel
        finally:
            self._done_with(line)

    def close(self) -> None:
        """What is under way fails, pipes too, and nothing new is begun."""
        with self._lock:
            self._closed = True
            lines, self._lines = [*self._lines.values(), *self._piping], {}
        for line in lines:
            line.drop()

    def _for_pipe(self, host: Host) -> _Line:
        with self._lock:
            if self._closed:
                raise Unreachable("remote.closed", f"reach host {host.id}", "this process is ending")
            line = _Line(self._estate, host, self._viewer, self._secrets)
            self._piping.add(line)
        return line

    def _done_with(self, line: _Line) -> None:
        with self._lock:
            self._piping.discard(line)
        line.drop()

    def _line(self, host: Host) -> _Line:
        with self._lock:
            if host.id not in self._lines:
                self._lines[host.id] = _Line(self._estate, host, self._viewer, self._secrets)
            return self._lines[host.id]


def remote_command(argv: Sequence[str], timeout_seconds: float, stdin_bytes: int) -> str:
    """The line that the host's POSIX shell gets. The shell stays to the end: a command that a signal killed has a
    status then, and not only a signal's name, which paramiko does not tell.

    ``head`` counts our stdin off, so that the stream need never be closed: closing it races with the command's end
    and can take the whole connection down.
    """
    command = _bounded(argv, timeout_seconds)
    fed = f"head -c {stdin_bytes} | {command}" if stdin_bytes else f"{command} </dev/null"
    return f"{fed}; exit $?"


def _bounded(argv: Sequence[str], timeout_seconds: float) -> str:
    return shlex.join(["timeout", "-k", f"{KILL_AFTER_SECONDS:g}", f"{timeout_seconds:g}", *argv])


class _Line:
    """One host's connection, made on demand and kept."""

    def __init__(self, estate: Estate, host: Host, viewer: SiteId, secrets: Path) -> None:
        self.host = host
        self.slots = threading.BoundedSemaphore(COMMANDS_AT_ONCE_MAX)
        self._address = estate.seen(host.ssh, host.site, viewer)
        self._secrets = secrets
        self._lock = threading.Lock()
        self._client: paramiko.SSHClient | None = None

    def open(self) -> paramiko.Channel:
        """A session, on the kept connection or on a new one; raises :class:`Unreachable`.

        A kept connection may turn out to be dead only now. Nothing has been asked of the host yet, so that costs one
        more try."""
        transport, kept = self._transport()
        try:
            return self._session(transport)
        except Unreachable:
            if not kept:
                raise
        transport, _ = self._transport()
        return self._session(transport)

    def _session(self, transport: paramiko.Transport) -> paramiko.Channel:
        try:
            return transport.open_session(timeout=CONNECT_SECONDS)
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._drop_if(transport)
            raise _silent(self.host, "a session", error) from error

    def _transport(self) -> tuple[paramiko.Transport, bool]:
        """The connection, and whether it was kept from before."""
        with self._lock:
            transport = self._client.get_transport() if self._client is not None else None
            if transport is not None and transport.is_active():
                return transport, True
            self._hang_up()
            return self._connect(), False

    def _drop_if(self, transport: paramiko.Transport) -> None:
        """Unless another thread has a new connection by now."""
        with self._lock:
            if self._client is not None and self._client.get_transport() is transport:
                self._hang_up()

    def drop(self) -> None:
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> paramiko.Transport:
        what = f"connect to host {self.host.id} at {self._address}"
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.load_system_host_keys(str(self._secrets / "known_hosts"))
            key = paramiko.Ed25519Key.from_private_key_file(str(self._secrets / "ssh_key"))
        except (OSError, paramiko.SSHException, ValueError) as error:
            hint = "secrets/ssh_key (Ed25519, OpenSSH form) and secrets/known_hosts"
            raise NciaError("remote.no-keys", what, str(error), hint) from error
        try:
            wire = socket.create_connection((self._address.host, self._address.port), timeout=CONNECT_SECONDS)
        except OSError as error:
            raise _silent(self.host, "a connection", error) from error
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it, 20 times fewer commands a second
        try:
            client.connect(
                self._address.host,
                port=self._address.port,
                username=self.host.user,
                pkey=key,
                sock=wire,
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=CONNECT_SECONDS,
                channel_timeout=CONNECT_SECONDS,
                look_for_keys=False,
                allow_agent=False,
            )
        except paramiko.AuthenticationException as error:
            client.close()
            raise NciaError("remote.refused", what, f"it refused our key: {error}", "authorized_keys there") from error
        except paramiko.BadHostKeyException as error:
            client.close()
            hint = "find out who answers there before you change secrets/known_hosts"
            raise NciaError("remote.other-host", what, "it shows another key than known_hosts has", hint) from error
        except paramiko.SSHException as error:
            client.close()
            if "not found in known_hosts" in str(error):
                hint = "put its key into secrets/known_hosts by a way you trust"
                raise NciaError("remote.unknown-host", what, str(error), hint) from error
            raise _silent(self.host, "a connection", error) from error
        except (EOFError, OSError) as error:
            client.close()
            raise _silent(self.host, "a connection", error) from error
        transport = client.get_transport()
        assert transport is not None  # noqa: S101 - a connected client has one
        transport.set_keepalive(KEEPALIVE_SECONDS)
        self._client = client
        return transport


def _converse(
    channel: paramiko.Channel, host: Host, argv: Sequence[str], timeout_seconds: float, stdin: bytes
) -> Outcome | None:
    """Send the command and its stdin, gather what it prints; None where it did not end in time."""
    deadline = time.monotonic() + timeout_seconds + KILL_AFTER_SECONDS + GRACE_SECONDS
    channel.settimeout(timeout_seconds + GRACE_SECONDS)
    channel.exec_command(remote_command(argv, timeout_seconds, len(stdin)))
    if stdin:
        channel.sendall(stdin)
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        while True:
            ended = channel.eof_received or channel.closed  # asked before draining, so that nothing is left behind
            while channel.recv_ready():
                out += channel.recv(CHUNK_BYTES)
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(CHUNK_BYTES)
            if max(len(out), len(err)) > OUTPUT_BYTES_MAX:
                why = f"it printed more than {OUTPUT_BYTES_MAX} bytes"
                raise NciaError("remote.too-much-output", f"run {argv[0]} on {host.id}", why)
            left = deadline - time.monotonic()
            if ended or left <= 0:
                break
            selector.select(min(left, WAKE_SECONDS))
    channel.status_event.wait(max(left, 0.0))
    status = channel.exit_status
    return None if status < 0 else Outcome(status, bytes(out), bytes(err))


def _pass_on(reading: paramiko.Channel, writing: paramiko.Channel) -> tuple[Outcome, Outcome]:
    """Feed what one command prints to the other. A writer that ends before its input does says itself why."""
    try:
        while piece := reading.recv(CHUNK_BYTES):
            writing.sendall(piece)
    except OSError:
        if not writing.exit_status_ready():
            raise
        return Outcome(BROKEN_PIPE, b"", b"nobody took what it printed"), _ended(writing)
    writing.shutdown_write()
    return _ended(reading), _ended(writing)


def _received(channel: paramiko.Channel, host: Host, command: str) -> bytes:
    try:
        return channel.recv(CHUNK_BYTES)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _broken(host, command, error) from error


def _told(channel: paramiko.Channel, host: Host, command: str) -> Outcome:
    try:
        return _ended(channel)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _broken(host, command, error) from error


def _broken(host: Host, command: str, error: BaseException) -> Unreachable:
    why = str(error) or type(error).__name__
    return Unreachable("remote.broken-pipe", f"run {command} on {host.id}", why, "it can be asked for again")


def _ended(channel: paramiko.Channel) -> Outcome:
    """How its command ended; raises ``OSError`` where it does not end in the channel's time."""
    out, err = bytearray(), bytearray()
    for gathered, receive in ((out, channel.recv), (err, channel.recv_stderr)):
        while len(gathered) < OUTPUT_BYTES_MAX and (piece := receive(CHUNK_BYTES)):
            gathered += piece
    if not channel.status_event.wait(channel.gettimeout()) or channel.exit_status < 0:
        raise TimeoutError("a command does not end, or its host does not say how")
    return Outcome(channel.exit_status, bytes(out), bytes(err))


def _silent(host: Host, what: str, error: BaseException) -> Unreachable:
    why = str(error) or type(error).__name__
    return Unreachable("remote.unreachable", f"reach host {host.id} for {what}", why, f"is {host.ssh} up?")
