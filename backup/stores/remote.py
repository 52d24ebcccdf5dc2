"""A store on a host's file system, worked over SSH with PostgreSQL's own tools.

``<root>/<dataset>/<point>/{data,wal,point.json}``; a job's copy grows in ``<root>/<dataset>/.partial-<job>`` and
becomes a point by one rename. Restored copies run in ``<root>/.scratch/<token>``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Protocol

import structlog

from backup.ports import POINT_FILE, BaseBackup, CopyDamaged, Origin
from backup.stores import scripts
from backup.stores.scratch import Scratch, configuration, socket_folder
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import DatasetId
from ncia.core.base.lsn import lsn_number, lsn_text
from ncia.core.estate.model import Host
from ncia.core.journal.entries import BackupFinished
from ncia.core.journal.entries_care import SetAside
from ncia.core.work.remote import TAIL_CHARACTERS, Outcome, Pipes, Remote, Streams

QUICK_SECONDS_MAX = 60.0
BYTES_SECONDS_MAX = 6 * 3600.0  # whatever moves a whole copy
WAL_SECONDS_MAX = 600.0
WAL_ATTEMPTS_MAX = 4
WAL_PAUSE_SECONDS = 0.25
SCRATCH = ".scratch"
HINT_DAMAGED = "take a new backup; keep this one until it is known what happened to it"
BE_NICE = ("nice", "-n", "10")

_log = structlog.get_logger()


@dataclass(frozen=True)
class StoreSite:
    """Where a store is: its host, its root there, PostgreSQL's tools there."""

    host: Host
    root: PurePosixPath
    tools: PurePosixPath


class Hosts(Remote, Pipes, Streams, Protocol):
    """Commands on hosts, from one to the other, and from and to here."""


class RemoteStore:
    """A :class:`backup.ports.Store` on a host that we reach by commands only; ``peer`` is the other site's."""

    def __init__(self, remote: Hosts, site: StoreSite, peer: StoreSite | None = None) -> None:
        self.remote = remote
        self._site = site
        self._peer = peer

    def take(self, job: str, origin: Origin, slot: str) -> BaseBackup:
        place = self._partial(job, origin.dataset)
        what = f"back up {origin.dataset} from {origin.server}"
        self._script("backup.no-place", what, scripts.MAKE_PLACE, place, stdin=origin.passfile.encode())
        copy = [self._tool("pg_basebackup"), "-D", f"{place}/data", "-X", "stream", "-S", slot, "-c", "fast"]
        copy += ["--manifest-checksums=SHA256", "--no-sync", "-d", _connection(origin), "--no-password"]
        # Not synced file by file: publish syncs the file system once, in a third of the time, before the point exists.
        self._run("backup.copy-failed", what, [*_with_passfile(place), *copy], BYTES_SECONDS_MAX)
        self._verify(f"{place}/data", what)
        told = self._script("backup.copy-unreadable", what, scripts.MEASURE, f"{place}/data").text
        return _measured(told, what)

    def join_wal(self, job: str, origin: Origin, slot: str, end_lsn: str) -> None:
        place = self._partial(job, origin.dataset)
        receive = [self._tool("pg_receivewal"), "-D", f"{place}/wal", "-S", slot, "--no-loop"]
        receive += [f"--endpos={_before(end_lsn)}", "-d", _connection(origin), "--no-password"]
        what = f"take {origin.dataset}'s WAL up to {end_lsn} from {origin.server}"
        command = [*BE_NICE, *_with_passfile(place), *receive]
        for attempt in range(1, WAL_ATTEMPTS_MAX + 1):
            told = self.remote.run(self._site.host, command, timeout_seconds=WAL_SECONDS_MAX)
            if told.exit == 0 or attempt == WAL_ATTEMPTS_MAX:
                told.demand("backup.no-wal", what)
                return
            time.sleep(WAL_PAUSE_SECONDS)  # the base backup's own stream may still be leaving the slot

    def publish(self, job: str, dataset: DatasetId, point: str, description: bytes) -> str:
        path = f"{dataset}/{point}"
        what = f"keep the copy of {dataset} as {point}"
        arguments = (self._partial(job, dataset), f"{self._site.root}/{path}", POINT_FILE)
        self._script("backup.not-kept", what, scripts.PUBLISH, *arguments, stdin=description)
        return path

    def fetch(self, job: str, point: BackupFinished) -> str:
        what = f"copy {point.path} from {point.store_site}'s store"
        _demand_own_name(point, what)
        source, place = self._peer, self._partial(job, DatasetId(point.dataset))
        if source is None:
            raise NciaError("backup.no-second-store", what, "site.yaml names no store of the other site", "peer_store")
        send = [*BE_NICE, "sh", "-euc", scripts.SEND, "ncia", f"{source.root}/{_inside(point.path)}", POINT_FILE]
        receive = [*BE_NICE, "sh", "-euc", scripts.RECEIVE, "ncia", place]
        sent, received = self.remote.pipe(
            source.host, send, self._site.host, receive, timeout_seconds=BYTES_SECONDS_MAX
        )
        received.demand("backup.not-copied", what)
        sent.demand("backup.not-copied", what)
        self._keep(place, point, what)
        return point.path

    def read(self, point: BackupFinished, take: Callable[[bytes], object]) -> None:
        place, what = f"{self._site.root}/{_inside(point.path)}", f"read {point.path} out of the store"
        command = [*BE_NICE, "sh", "-euc", scripts.PRINT, "ncia", place, POINT_FILE]
        told = self.remote.read(self._site.host, command, take, timeout_seconds=BYTES_SECONDS_MAX)
        told.demand("backup.not-read", what)

    def put_back(self, job: str, point: BackupFinished, archive: Iterable[bytes]) -> bool:
        what, place = f"put {point.path} back into the store", self._partial(job, DatasetId(point.dataset))
        _demand_own_name(point, what)
        receive = [*BE_NICE, "sh", "-euc", scripts.RECEIVE, "ncia", place]
        told = self.remote.feed(self._site.host, receive, archive, timeout_seconds=BYTES_SECONDS_MAX)
        told.demand("backup.not-copied", what)
        damaged = bool(self.present([point.path])) and not self.is_whole(point)
        if damaged:
            kept, aside = f"{self._site.root}/{point.path}", f"{self._site.root}/{point.dataset}/.damaged-{point.point}"
            self._script("backup.not-kept", what, scripts.ASIDE, kept, aside)
        self._keep(place, point, what)
        return damaged

    def is_whole(self, point: BackupFinished) -> bool:
        what = f"look whether {point.path} is in the store"
        _demand_own_name(point, what)
        kept = f"{self._site.root}/{point.path}"
        described = ["test", "-f", f"{kept}/{POINT_FILE}"]  # without it: half removed, or never whole
        if self.remote.run(self._site.host, described, timeout_seconds=QUICK_SECONDS_MAX).exit != 0:
            return False
        try:
            self._check_whole(f"{kept}/data", point.manifest_sha256, what)
        except CopyDamaged:
            return False
        return True

    def _keep(self, place: str, point: BackupFinished, what: str) -> None:
        """Make a whole copy in the place of a job that point, unless an earlier attempt has."""
        self._check_whole(f"{place}/data", point.manifest_sha256, what)
        kept = f"{self._site.root}/{_inside(point.path)}"
        if self._script("backup.not-kept", what, scripts.KEEP, place, kept, POINT_FILE).text:
            self._check_whole(f"{kept}/data", point.manifest_sha256, what)

    def _check_whole(self, data: str, manifest_sha256: str, what: str) -> None:
        self._check_manifest(data, manifest_sha256, what)
        self._verify(data, what)

    def discard(self, job: str, dataset: DatasetId) -> None:
        self._delete(self._partial(job, dataset))

    def remove(self, path: str) -> None:
        place = f"{self._site.root}/{_inside(path)}"
        what = f"delete {place}"
        self._script("backup.not-deleted", what, scripts.REMOVE, place, POINT_FILE, seconds=WAL_SECONDS_MAX)

    def present(self, paths: Sequence[str]) -> tuple[str, ...]:
        if not paths:
            return ()
        places = {f"{self._site.root}/{_inside(path)}": path for path in paths}
        told = self._script("backup.not-listed", "look which points are in the store", scripts.PRESENT, *places)
        return tuple(places[line] for line in told.text.splitlines())

    def holds_points(self) -> bool:
        what = "look whether any point is in the store"
        return bool(self._script("backup.not-listed", what, scripts.HOLDS_POINTS, str(self._site.root)).text)

    def aside(self) -> tuple[SetAside, ...]:
        what = "look for what is kept aside in the store"
        told = self._script("backup.not-listed", what, scripts.ASIDES, str(self._site.root)).text
        return tuple(each for line in told.splitlines() if (each := _set_aside(line)))

    @contextmanager
    def restore(self, job: str, path: str, database: str, lsn: str, manifest_sha256: str) -> Iterator[Scratch]:
        point = f"{self._site.root}/{_inside(path)}"
        folder = f"{self._site.root}/{SCRATCH}/{_token(job)}"
        what = f"restore {path} on scratch"
        socket_folder(folder)
        try:
            self._check_whole(f"{point}/data", manifest_sha256, what)
            told = self._script(
                "proof.copy-failed", what, scripts.COPY_TO_SCRATCH, point, folder, self._tool("pg_controldata")
            )
            text = configuration(told.text, f"{point}/wal", folder, lsn)
            start = [scripts.START_SCRATCH, folder, self._tool("pg_ctl")]
            self._script("proof.not-started", what, *start, stdin=text.encode(), seconds=WAL_SECONDS_MAX)
            scratch = Scratch(self.remote, self._site.host, self._tool("psql"), folder, database)
            scratch.wait_for(lsn)
            yield scratch
        finally:
            self._clear(folder)

    def abandon(self, job: str) -> None:
        self._clear(f"{self._site.root}/{SCRATCH}/{_token(job)}")

    def reread(self, path: str, manifest_sha256: str) -> None:
        self._check_whole(f"{self._site.root}/{_inside(path)}/data", manifest_sha256, f"read {path} again")

    def sweep(self, kept: Callable[[], Collection[str]]) -> tuple[str, ...]:
        what = "look for what crashed jobs left"
        root = str(self._site.root)
        found = self._script("backup.not-swept", what, scripts.LEFTOVERS, root).text.splitlines()
        names = kept() if found else ()
        gone = tuple(each for each in found if not any(name in PurePosixPath(each).name for name in names))
        for each in gone:
            if each.startswith(f"{root}/{SCRATCH}/"):
                self._script("backup.not-swept", f"clear {each}", scripts.CLEAR_SCRATCH, each, self._tool("pg_ctl"))
            else:
                self._delete(each)
        return gone

    def _check_manifest(self, data: str, wanted: str, what: str) -> None:
        """The manifest vouches for the files; the journal vouches for the manifest."""
        told = self.remote.run(
            self._site.host, ["sha256sum", f"{data}/backup_manifest"], timeout_seconds=QUICK_SECONDS_MAX
        )
        if told.exit != 0:
            raise CopyDamaged("proof.copy-damaged", what, "its manifest cannot be read", HINT_DAMAGED)
        if told.text.split()[0] != wanted:
            why = "its manifest is not the one that was journalled when it was taken"
            raise CopyDamaged("proof.copy-damaged", what, why, HINT_DAMAGED)

    def _verify(self, data: str, what: str) -> None:
        verify = [*BE_NICE, self._tool("pg_verifybackup"), data]
        told = self.remote.run(self._site.host, verify, timeout_seconds=BYTES_SECONDS_MAX)
        if told.exit == 1:  # its word for a difference; another status says that it could not look
            why = told.stderr.decode("utf-8", "replace").strip()[:TAIL_CHARACTERS]
            raise CopyDamaged("proof.copy-damaged", what, why, HINT_DAMAGED)
        told.demand("proof.not-verified", what)

    def _clear(self, folder: str) -> None:
        """Nothing that goes wrong here may hide what the proof found; the next sweep tries again."""
        try:
            self._script("proof.not-cleared", f"clear {folder}", scripts.CLEAR_SCRATCH, folder, self._tool("pg_ctl"))
        except NciaError as error:
            _log.warning("proof.scratch-left", folder=folder, why=str(error))

    def _delete(self, place: str) -> None:
        self._run("backup.not-deleted", f"delete {place}", ["rm", "-rf", "--", place], WAL_SECONDS_MAX)

    def _partial(self, job: str, dataset: DatasetId) -> str:
        return f"{self._site.root}/{_inside(dataset)}/.partial-{job}"

    def _tool(self, name: str) -> str:
        return str(self._site.tools / name)

    def _script(
        self, code: str, what: str, script: str, *arguments: str, stdin: bytes = b"", seconds: float = BYTES_SECONDS_MAX
    ) -> Outcome:
        return self._run(code, what, ["sh", "-euc", script, "ncia", *arguments], seconds, stdin=stdin)

    def _run(
        self, code: str, what: str, argv: Sequence[str], seconds: float, *, stdin: bytes = b"", hint: str = ""
    ) -> Outcome:
        told = self.remote.run(self._site.host, [*BE_NICE, *argv], timeout_seconds=seconds, stdin=stdin)
        return told.demand(code, what, hint)


def _connection(origin: Origin) -> str:
    """libpq's words for the source; a wire that swallows is given up after ten seconds."""
    return (
        f"host={origin.server.host} port={origin.server.port} user={origin.user} application_name='ncia backup' "
        "connect_timeout=5 tcp_user_timeout=10000 keepalives_idle=5 keepalives_interval=2 keepalives_count=3"
    )


def _before(lsn: str) -> str:
    """One byte less: ``pg_receivewal`` ends beyond its end position, and at rest no WAL comes that would be beyond."""
    return lsn_text(lsn_number(lsn) - 1)


def _with_passfile(place: str) -> tuple[str, ...]:
    return ("env", f"PGPASSFILE={place}/pgpass")


def _measured(told: str, what: str) -> BaseBackup:
    """What MEASURE printed: files and bytes, the manifest's hash, the manifest's end with its WAL ranges."""
    try:
        counts, digest, *rest = told.splitlines()
        files, size = counts.split()
        found = re.search(r'"WAL-Ranges":\s*(\[.*?\])', "\n".join(rest), re.DOTALL)
        ranges = json.loads(found.group(1)) if found else []
        start, stop = str(ranges[0]["Start-LSN"]), str(ranges[-1]["End-LSN"])
    except (ValueError, IndexError, KeyError) as error:
        raise NciaError("backup.copy-unreadable", what, f"its manifest tells no WAL range: {told[-200:]!r}") from error
    return BaseBackup(int(size), int(files), start, stop, digest.split()[0])


def _set_aside(line: str) -> SetAside | None:
    """A line of ASIDES; None of a name that spans two."""
    since, _, rest = line.partition(" ")
    size, _, path = rest.partition(" ")
    if not since.isdigit() or not path:
        return None
    at = to_text(datetime.fromtimestamp(int(since), UTC))
    return SetAside(path=path, size_bytes=int(size) if size.isdigit() else -1, since=at)


def _inside(path: str) -> str:
    """A path under the root, and nothing else: what follows deletes by it."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or path.startswith("/") or ".." in parts:
        raise NciaError("backup.bad-path", f"work on {path!r} in the store", "it is not below a dataset's folder")
    return path


def _demand_own_name(point: BackupFinished, what: str) -> None:
    """The other site says where its point lies; here it may lie nowhere but under its own name."""
    name = point.point
    if point.path != f"{point.dataset}/{name}" or not name or name.startswith(".") or "/" in name:
        why = f"its journal names {point.path!r} as the place of {name!r}"
        raise NciaError("backup.bad-path", what, why, "look at the other site's controller")


def _token(job: str) -> str:
    """A short name: a socket's path must fit into 107 bytes."""
    return job.rsplit("-", 1)[-1]
