"""What a command writes, kept as one file: whole, or not at all, for a command that fails leaves no snapshot."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from backup.repository.format.snapshots import Snapshot
from backup.repository.format.times import moment_text, ns_of
from backup.repository.format.trees import FILE, Node, go_mode, node_text, shown, tree_text
from backup.repository.locks import Lock, at_work
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.save.cutting import Cutter
from backup.repository.save.pipeline import Packing
from backup.repository.save.reading import Figures
from backup.repository.save.saving import Request, Saved, summary
from backup.repository.save.scan import Losses
from backup.repository.strays import name_strays
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError

MODE = 0o644
END_SECONDS_MAX = 10


def save_output(repository: Repository, request: Request, command: Sequence[str], clock: Clock) -> Saved:
    """Run ``command`` and keep its standard output as the file that the request's one path names, at the root."""
    name = _demand_name(request.paths)
    repository.compression = request.compression
    with Lock(repository, at_work(request.holder), clock, patience=request.patience) as lock:
        started = clock.now()
        there = repository.packs_there()
        repository.load_index(there)
        recovered = name_strays(repository, there, lock.demand_there)
        packing = Packing(repository, request.verify, lock.demand_there)
        try:
            tree, size = _keep(repository, packing, request, name, command, started)
            packing.finish()
        finally:
            packing.abandon()
        figures = Figures(files=1, new=1, bytes=size, recovered=recovered)
        made = Snapshot(
            time=started,
            tree=tree,
            paths=(os.fsdecode(b"/" + name),),
            hostname=request.holder.hostname,
            username=request.holder.username,
            uid=os.getuid(),
            gid=os.getgid(),
            tags=request.tags,
            program_version=request.program,
            summary=summary(figures, packing.added, started, clock.now()),
        )
        lock.demand_there()
        id_ = repository.save_file(Kind.SNAPSHOTS, made.as_json())
    return Saved(replace(made, id=id_), figures, packing.added, Losses())


def _demand_name(paths: tuple[str, ...]) -> bytes:
    name = os.fsencode(paths[0]).strip(b"/") if len(paths) == 1 else b""
    if not name or b"/" in name or name in (b".", b".."):
        why = f"{shown(os.fsencode(' '.join(paths)))} is no name of one file"
        raise NciaError("repository.bad-name", "keep a command's output", why, "such as database.sql")
    return name


def _keep(
    repository: Repository, packing: Packing, request: Request, name: bytes, command: Sequence[str], now: datetime
) -> tuple[bytes, int]:
    """The root's tree and the length of what the command wrote, once it has ended well."""
    with ThreadPoolExecutor(request.workers or os.cpu_count() or 1, "backup worker") as workers:

        def keep(chunk: memoryview) -> Future[bytes]:
            return workers.submit(packing.keep, chunk)

        chunks, size = _written(Cutter(repository.config.chunker_polynomial, keep), command)
        ids = tuple(chunk if isinstance(chunk, bytes) else chunk.result() for chunk in chunks)
    at = ns_of(moment_text(now))
    mode = go_mode(stat.S_IFREG | MODE)
    node = Node(name, FILE, mode, at, at, at, os.getuid(), os.getgid(), size=size, links=1, content=ids)
    return packing.keep(tree_text([node_text(node)]), tree=True), size


def _written(cutter: Cutter, command: Sequence[str]) -> tuple[list[Future[bytes] | bytes], int]:
    """The chunks of what a command writes to its end; raises where it did not end with 0."""
    what = f"keep the output of {command[0] if command else 'a command'}"
    try:
        process = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except (OSError, ValueError, IndexError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise NciaError("repository.command-failed", what, f"it cannot be started: {why}") from error
    with process:
        try:
            if process.stdout is None:
                raise NciaError("repository.command-failed", what, "it has no output")
            found = cutter.cut(process.stdout.fileno())
        except BaseException:  # Ctrl-C too: the command must not outlive us; raised again at once
            process.kill()  # nobody reads what it would still write
            raise
        code = process.wait()
    if code:
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "what it had written by then is in no snapshot"
        raise NciaError("repository.command-failed", what, f"it ended with {ended}", hint)
    return found
