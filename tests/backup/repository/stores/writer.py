"""``python -m tests.backup.repository.stores.writer FOLDER COUNT BYTES [MOMENT]``: saves packs until it is done, or
killed: from outside, or by itself at the MOMENT-th of those before and after each call that makes something durable or
gives a file its name.

What it saves follows from its number, so that another process can do the same again; each is told on a line of its own
once it is kept, and a fault by its code. At last it tells how many moments there were.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec

from backup.repository.ports import Kind
from backup.repository.stores.folder import FolderStore, sync
from ncia.core.base.errors import NciaError

P = ParamSpec("P")


def packs(count: int, size: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        content = hashlib.shake_256(str(number).encode()).digest(size)
        yield hashlib.sha256(content).hexdigest(), content


class Moments:
    """Counts them, and ends the process at one of them as a power button would: nothing is cleaned up."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def around(self, call: Callable[P, None]) -> Callable[P, None]:
        def called(*args: P.args, **kwargs: P.kwargs) -> None:
            self._pass()
            call(*args, **kwargs)
            self._pass()

        return called

    def _pass(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, count: int, size: int, last: int) -> None:
    moments = Moments(last)
    store = FolderStore(folder, moments.around(sync), moments.around(os.link))
    store.create()
    store.save(Kind.CONFIG, "", b"a configuration")
    for name, content in packs(count, size):
        try:
            store.save(Kind.DATA, name, content)
        except NciaError as error:
            tell(f"fault {error.code}: {error}")
            return
        tell(name)
    tell(f"moments {moments.count}")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(each) for each in [*sys.argv[2:], "0"][:3]))
