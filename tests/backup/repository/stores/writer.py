"""``python -m tests.backup.repository.stores.writer FOLDER COUNT BYTES``: saves packs until it is done, or stopped.

What it saves follows from its number, so that another process can do the same again; each is told on a line of its own
once it is kept, and a fault by its code.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from backup.repository.ports import Kind
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError


def packs(count: int, size: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        content = hashlib.shake_256(str(number).encode()).digest(size)
        yield hashlib.sha256(content).hexdigest(), content


def main(folder: Path, count: int, size: int) -> None:
    store = FolderStore(folder)
    store.create()
    store.save(Kind.CONFIG, "", b"a configuration")
    for name, content in packs(count, size):
        try:
            store.save(Kind.DATA, name, content)
        except NciaError as error:
            tell(f"fault {error.code}: {error}")
            return
        tell(name)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
