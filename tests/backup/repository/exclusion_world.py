"""Seeded trees and patterns, backed up by us and by the real restic: both must keep the same entries."""

from __future__ import annotations

import os
import random
from pathlib import Path

from backup.repository.repository import Repository, create, open_repository
from backup.repository.restore.listing import entries
from backup.repository.save.excluding import CACHES, Exclusions
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import CHEAP, HOLDER, PASSWORD
from tests.restic import Restic

CLOCK = SystemClock()
NAMES = (
    b"a",
    b"b",
    b"A",
    b"ab",
    b"a.o",
    b"b.O",
    b"[x]",
    b"a*b",
    b"\\",
    b"x\xff",
    "한글".encode(),
    b"n\nl",
    b"-",
    "é".encode(),
)
PARTS = (
    *("a", "b", "A", "ab", "*", "?", "**", "*.o", "a*", "*b*", "??", "[a-b]", "[^a]*", "[ab][bx]", r"\[x]", r"a\*b"),
    *(r"\\", "x?", "x[^a]", "한*", "[가-힣]*", "*\n*", "[-]", r"[\-a]", "..", ".", "E", "É", "*[!a]"),
)
PARTS_SOUND = tuple(part for part in PARTS if part != "[-]")
SIZES = (0, 3, 1024, 1025, 5000)


class World:
    """A tree of ``seed``, and a repository of ours in which restic works as well."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.source = folder / "source"
        self.source.mkdir(parents=True)
        self._fill(os.fsencode(self.source), 0)
        others = self.chance.sample(sorted(self.source.iterdir()), self.chance.randrange(2))
        self.asked = (str(self.source), *map(str, others))
        self.root = folder / "repository"
        create(FolderStore(self.root), PASSWORD, HOLDER, CLOCK.now(), CHEAP)

    def exclusions(self) -> Exclusions:
        chance = self.chance
        patterns = tuple(self.pattern() for _ in range(chance.randrange(5)))
        insensitive = tuple(self.pattern().replace("!", "") for _ in range(chance.randrange(2)))
        tags = tuple(chance.sample(["a.o", "ab:xy", "A:", CACHES], chance.randrange(3)))
        larger = chance.choice([None, None, 1024, 0])
        return Exclusions(patterns, insensitive, tags, larger, chance.random() < 0.2)

    def pattern(self) -> str:
        chance = self.chance
        words = [chance.choice(PARTS_SOUND) for _ in range(chance.choice((1, 1, 2, 2, 3, 4)))]
        begin = chance.choice(("", "", "", "/", "/**/", f"{self.source}/", f"{self.source}/*/", "**/"))
        end = chance.choice(("", "", "", "/", "/**"))
        return chance.choice(("", "", "", "!")) + begin + "/".join(words) + end

    def ours(self, out: Exclusions) -> set[bytes]:
        repository = open_repository(FolderStore(self.root), PASSWORD)
        saved = save(repository, Request(self.asked, HOLDER, exclusions=out), CLOCK)
        return self.kept(repository, saved.snapshot.id)

    def restics(self, out: Exclusions, restic: Restic) -> set[bytes]:
        words: list[str] = []
        for pattern in out.patterns:
            words += ["--exclude", pattern]
        for pattern in out.insensitive:
            words += ["--iexclude", pattern]
        for tag in out.if_present:
            words += ["--exclude-if-present", tag]
        words += [] if out.larger_than is None else ["--exclude-larger-than", str(out.larger_than)]
        words += ["--one-file-system"] if out.one_file_system else []
        restic.run(self.root, "backup", "--force", *words, *self.asked, password=PASSWORD)
        repository = open_repository(FolderStore(self.root), PASSWORD)
        return self.kept(repository, repository.snapshots()[-1].id)

    def kept(self, repository: Repository, snapshot: str) -> set[bytes]:
        repository.load_index()
        tree = repository.snapshot(snapshot).tree
        top = os.fsencode(self.source)
        found = (entry.path for entry in entries(repository, tree, Way(whole=True)))
        return {path for path in found if path == top or path.startswith(top + b"/")}

    def _fill(self, folder: bytes, depth: int) -> None:
        for name in self.chance.sample(NAMES, self.chance.randrange(1, 7)):
            path = os.path.join(folder, name)
            kind = self.chance.random()
            if depth < 4 and kind < 0.5:
                os.mkdir(path)
                self._fill(path, depth + 1)
            elif kind < 0.6:
                os.symlink(b"x" * self.chance.choice((1, 1025)), path)
            else:
                size = self.chance.choice(SIZES)
                Path(os.fsdecode(path)).write_bytes(self.chance.choice((b"xyz", b"x")) * (size // 3))
        if self.chance.random() < 0.1:
            Path(os.fsdecode(os.path.join(folder, b"CACHEDIR.TAG"))).write_bytes(CACHES.partition(":")[2].encode())
