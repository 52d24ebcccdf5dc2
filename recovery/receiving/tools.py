"""PostgreSQL's own programs for a receiver: ``pg_receivewal`` and ``pg_waldump``, run on the database host itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.base.lsn import lsn_text
from ncia.core.estate.model import Address
from recovery.receiving.wal import joining_name, receiver_name, slot_name

RECEIVE, DUMP = "pg_receivewal", "pg_waldump"
END_SECONDS_MAX = 2.0
DUMP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01
CONNECT_SECONDS = 3
SILENT_MS_MAX = 5000  # a primary that is swallowed must not be waited for as long as TCP would
STATUS_SECONDS = 1  # its word to the primary; the breaker of an application calls two seconds silent
ROLE = "replicator"
SAID = "receiver.err"


@dataclass(frozen=True)
class Primary:
    """The server to receive from, as dialled from here, and the password file to do it with."""

    address: Address
    passfile: Path


class Program:
    """:class:`recovery.receiving.receiver.Child`: a child process, whose stderr goes to a file."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._said = folder / SAID
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS_MAX)

    def words(self) -> str:
        lines = self._said.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class PostgresTools:
    """:class:`recovery.receiving.receiver.Tools`. ``folder`` is the system's own; its programs work there, by which
    strays are known."""

    tools: Path
    folder: Path
    site: SiteId
    primary: Primary
    environment: Mapping[str, str] = field(default_factory=lambda: {"LANG": "C", "PATH": os.defpath, "TZ": "UTC"})

    def create_slot(self) -> Program:
        return self._receive(joining_name(self.site), "--create-slot", "--if-not-exists")

    def drop_slot(self) -> Program:
        return self._receive(joining_name(self.site), "--drop-slot")

    def stream(self, folder: Path, counted: bool) -> Program:
        name = receiver_name(self.site) if counted else joining_name(self.site)
        options = ("--synchronous", "--no-loop", f"--status-interval={STATUS_SECONDS}")
        return self._receive(name, *options, f"--directory={folder}")

    def end_strays(self) -> int:
        found = list(strays(self.folder))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS_MAX
        while any(True for _ in strays(self.folder)) and found:
            if time.monotonic() > deadline:
                for pid in strays(self.folder):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + END_SECONDS_MAX
            time.sleep(POLL_SECONDS)
        return len(found)

    def dump(self, folder: Path, timeline: int, start: int) -> Iterator[str]:
        """It always ends with an error at the end of the WAL: what it printed before that is its answer."""
        where = ["--timeline", str(timeline), "--start", lsn_text(start)]
        command = [self._tool(DUMP), "--path", str(folder), *where]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=DUMP_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired as error:
            what, why = f"read the WAL in {folder}", f"pg_waldump did not end within {DUMP_SECONDS_MAX:g} s"
            raise NciaError("receiver.unreadable", what, why, "look at it with pg_waldump") from error
        yield from done.stdout.splitlines()

    def _receive(self, name: str, *options: str) -> Program:
        address, passfile = self.primary.address, self.primary.passfile
        source = (
            f"host={address.host} port={address.port} user={ROLE} application_name={name} passfile='{passfile}'"
            f" connect_timeout={CONNECT_SECONDS} tcp_user_timeout={SILENT_MS_MAX}"
            " keepalives_idle=2 keepalives_interval=1 keepalives_count=3"
        )
        slot = f"--slot={slot_name(self.site)}"
        command = [self._tool(RECEIVE), "--no-password", slot, f"--dbname={source}", *options]
        return Program(command, self.folder, self.environment)

    def _tool(self, name: str) -> str:
        return str(self.tools / name)


def strays(folder: Path) -> Iterator[int]:
    """Every ``pg_receivewal`` that works in ``folder`` and is no zombie."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            program = Path(os.readlink(entry / "exe")).name
            here = program == RECEIVE and os.path.samefile(os.readlink(entry / "cwd"), folder)
        except OSError:  # it ended, or is not ours to look at
            continue
        if here:
            yield int(entry.name)
