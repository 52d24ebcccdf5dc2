"""A file of 65,000 names, and a sparse one of a terabyte with a little in it: kept, brought back, compared.

Its holes are neither read nor written: the terabyte takes the time of the 131,072 chunks of zeros that a tree names.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backup.repository.repository import create, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.benchmarks.result import Bar, Result

SUMMARY = "odd: 65,000 hard links and a sparse file of 1 TB, there and back"
SOAK = True
LINKS = 65_000
SPARSE_BYTES = int(os.environ.get("NCIA_SOAK_SPARSE_BYTES", str(1 << 40)))
HELD = ((0, b"begin"), (SPARSE_BYTES // 3, b"middle" * 1000), (SPARSE_BYTES - 3, b"end"))


def measure() -> Result:
    with tempfile.TemporaryDirectory(prefix="ncia-odd-") as name:
        top = Path(name)
        links = there_and_back(top / "links", make_links)
        sparse = there_and_back(top / "sparse", make_sparse)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    figures = {
        **{f"links: {key}": value for key, value in links.items()},
        **{f"sparse: {key}": value for key, value in sparse.items()},
        "sparse bytes": SPARSE_BYTES,
        "most memory, MB": round(memory),
    }
    wrong = links["wrong"] + sparse["wrong"]
    return Result("odd", figures, (Bar("things that did not come back", "<= 0", wrong),))


def make_links(source: Path) -> None:
    (source / "0").write_bytes(b"one file\n")
    for number in range(1, LINKS):
        os.link(source / "0", source / str(number))


def make_sparse(source: Path) -> None:
    with (source / "disk").open("wb") as file:
        file.truncate(SPARSE_BYTES)
        for offset, content in HELD:
            os.pwrite(file.fileno(), content, offset)


def there_and_back(top: Path, make: Callable[[Path], None]) -> dict[str, float]:
    source, root, target = top / "source", top / "repository", top / "target"
    source.mkdir(parents=True)
    make(source)
    create(FolderStore(root), PASSWORD, HOLDER, NOW, CHEAP)
    began = time.monotonic()
    saved = save(open_repository(FolderStore(root), PASSWORD), Request((str(source),), HOLDER), SystemClock())
    kept = time.monotonic()
    repository = open_repository(FolderStore(root), PASSWORD)
    repository.load_index()
    with Restoring(repository) as restoring:
        told = restoring.run(saved.snapshot, target, Way(whole=True))
    back = time.monotonic()
    wrong = sum(told.losses.counts.values()) + differing(source, target / source.relative_to("/"))
    held = {seen.st_ino: seen.st_blocks * 512 for seen in (path.lstat() for path in target.rglob("*")) if seen.st_size}
    shutil.rmtree(target)
    return {
        "backup s": round(kept - began, 1),
        "restore s": round(back - kept, 1),
        "bytes held": sum(held.values()),
        "wrong": wrong,
    }


def files(folder: Path) -> int:
    return len({path.stat().st_ino for path in folder.iterdir()})


def differing(source: Path, back: Path) -> int:
    """How many names are not there, or not of the same file, or not of the same length and content where it has any."""
    names, found = sorted(os.listdir(source)), sorted(os.listdir(back))
    wrong = len(set(names) ^ set(found))
    wrong += abs(files(source) - files(back))
    for each in {(source / each).stat().st_ino: each for each in names}.values():
        one, other = source / each, back / each
        wrong += one.stat().st_size != other.stat().st_size
        with one.open("rb") as first, other.open("rb") as second:
            for offset, content in HELD if one.stat().st_size == SPARSE_BYTES else ((0, b"one file\n"),):
                read = [os.pread(file.fileno(), len(content) + 10, offset) for file in (first, second)]
                wrong += read[0] != read[1] or not read[0].startswith(content)
    return wrong
