"""Processes of our own that do a part of a backup or restore: one interpreter does one thing at a time."""

from __future__ import annotations

import mmap
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from backup.repository.format.seal import Key
from ncia.core.base.errors import NciaError

ROOT = str(Path(__file__).resolve().parents[2])  # where this package lies
END_SECONDS_MAX = 10
GONE_SECONDS_MAX = 1


def begun(
    module: str, *arguments: str, files: Sequence[int] = (), errors: int | None = None
) -> subprocess.Popen[bytes]:
    """``python -m module``, with pipes to and from it, and open ``files``. Whoever interrupts us means us: it is in a
    group of its own, and ends when its pipes do."""
    return subprocess.Popen(
        # -P: nothing is loaded from the folder that we stand in; -S: where all is found is told, so that nobody looks
        [sys.executable, "-P", "-S", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        pass_fds=files,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*filter(None, sys.path), ROOT]))},
        process_group=0,
    )


class HelperProcess:
    """A process that holds a repository's key and a slab of memory that both share; asked by one thread at a time.

    It gets the key first on its standard input, then questions; it answers on its standard output, and ends when its
    input does."""

    def __init__(self, module: str, key: Key, slab_bytes: int, *arguments: str, files: Sequence[int] = ()) -> None:
        """``module`` is started with the slab's descriptor and the ``arguments``."""
        descriptor = os.memfd_create("slab", 0)
        try:
            os.ftruncate(descriptor, slab_bytes)
            self._slab = mmap.mmap(descriptor, slab_bytes)
            self._process = begun(module, str(descriptor), *arguments, files=(descriptor, *files))
        finally:
            os.close(descriptor)
        self.tell(key.encrypt + key.mac_k + key.mac_r)

    def demand_ready(self) -> None:
        """Raises where it has not come up; asked once, before all else."""

    @property
    def slab(self) -> memoryview:
        return memoryview(self._slab)

    def tell(self, content: bytes) -> None:
        pipe = self._process.stdin
        try:
            if pipe is None:
                raise BrokenPipeError
            pipe.write(content)
            pipe.flush()
        except BrokenPipeError as error:
            raise self.gone() from error

    def heard(self, length: int) -> bytes:
        content = self._process.stdout.read(length) if self._process.stdout is not None else b""
        if len(content) != length:
            raise self.gone()
        return content

    def gone(self) -> NciaError:
        with suppress(subprocess.TimeoutExpired):  # its pipes end a moment before it does
            self._process.wait(GONE_SECONDS_MAX)
        why = f"it ended with {self._process.poll()}"
        hint = "run it again; the kernel's log tells whether there was too little memory"
        return NciaError("repository.helper-gone", "ask a helper process", why, hint)

    def kill(self) -> None:
        """Whoever waits for its answer gets none."""
        self._process.kill()

    def close(self) -> None:
        """It ends when nobody can ask it any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


Member = TypeVar("Member", bound=HelperProcess)


class Crew(Generic[Member]):
    """Helper processes of one kind, begun as they are needed."""

    def __init__(self, begin: Callable[[], Member]) -> None:
        self._begin = begin
        self._idle: queue.SimpleQueue[Member] = queue.SimpleQueue()
        self._begun: list[Member] = []
        self.over = False  # no more of them are begun: none was to be had, or their work is of no use

    @contextmanager
    def member(self) -> Iterator[Member | None]:
        """One that is this thread's meanwhile; None where no process or memory is to be had for it."""
        member = self._taken()
        try:
            yield member
        finally:
            if member is not None:
                self._idle.put(member)

    def kill(self) -> None:
        """Their work is of no use any more."""
        self.over = True
        for member in list(self._begun):
            member.kill()

    def close(self) -> None:
        """End them; whoever asks them has ended before."""
        for member in self._begun:
            member.close()

    def _taken(self) -> Member | None:
        with suppress(queue.Empty):
            return self._idle.get_nowait()
        if self.over:
            return None
        try:
            member = self._begin()
            self._begun.append(member)
            if self.over:  # the others were killed meanwhile
                member.kill()
            member.demand_ready()
        except (OSError, NciaError):
            self.over = True
            return None
        return member
