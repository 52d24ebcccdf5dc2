"""A small world of backups, prunes, crashes and clocks over one store in memory, and what must hold in it at any time.

``World`` is moved by whoever drives it: Hypothesis, or a seed. What was kept and not forgotten is held beside the
store, in plain text; after every move all of it is read back.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from backup.repository.care.checking import STRUCTURE_ONLY, Checking
from backup.repository.care.pruning import Pruned, Wish, prune
from backup.repository.format.index import Mark, Pack, index_text
from backup.repository.format.keys import Holder
from backup.repository.format.layout import path_of
from backup.repository.format.packs import Blob, seal_header
from backup.repository.format.parsing import tree_nodes
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import DIR, FILE, Node, node_text, tree_text
from backup.repository.locks import Lock, clear_locks
from backup.repository.ports import Kind, Store, StoreFault
from backup.repository.repository import Repository, open_repository
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.faults import Call, Fault, FaultyStore, Killed
from tests.backup.repository.sample import NOW, PASSWORD, new
from tests.fakes.repository import FakeStore

GRACE = timedelta(days=7)
WRITER_HOURS_MAX = 24 * 5  # so long may one be away that had no lock
SKEW_HOURS_MAX = 24
_NOISE = random.Random(1)
_DIFFERENT = tuple(_NOISE.randbytes(size) for size in (1, 60, 300, 300, 900, 2000, 2000, 5000, 9000))
CONTENTS = (*_DIFFERENT, _DIFFERENT[5])  # the last is one of them: a pack may hold a blob twice
FAULTS = tuple(fault for fault in Fault if fault not in (Fault.NONE, Fault.HALF))
ELSEWHERE = Holder("officer", "elsewhere")

Files = dict[str, tuple[int, ...]]  # a name, and which contents it is made of


@dataclass
class HandClock:
    """Moved by hand; ``skew`` is of the time of day alone."""

    seconds: float = 0.0
    skew: float = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds + self.skew)

    def boottime_ns(self) -> int:
        return int(self.seconds * 1e9)


@dataclass
class Writer:
    """A backup under way, by somebody who has no lock: frozen, overtaken, or never had one."""

    repository: Repository
    since: float
    files: Files = field(default_factory=dict)
    unnamed: list[Pack] = field(default_factory=list)


class Meanwhile(FakeStore):
    """A store at whose ``at``-th call somebody else does something first."""

    def __init__(self, below: FakeStore, at: int, do: Callable[[], object]) -> None:
        self._below, self._left, self._do = below, at, do

    def __getattribute__(self, name: str) -> Any:
        if name not in ("save", "load", "size", "names", "remove"):
            return super().__getattribute__(name)
        self._left -= 1
        if self._left == 0:
            self._do()
        return getattr(self._below, name)


class Still(Lock):
    """A lock that no thread keeps fresh: it is held for no time at all, and threads take most of a life's."""

    def take(self) -> None:
        self._refuse_if_taken()
        self._tell()
        self._refuse_if_taken()


class Remembering(Repository):
    """A reader that has opened each file and blob once: names are digests, so what is there is what it was."""

    seen: dict[object, Any]

    def index_whole(self, name: str) -> tuple[list[Pack], list[Mark]]:
        return self._once((Kind.INDEX, name), "", lambda: super(Remembering, self).index_whole(name))

    def snapshot(self, name: str) -> Snapshot:
        return self._once((Kind.SNAPSHOTS, name), "", lambda: super(Remembering, self).snapshot(name))

    def load_blob(self, id_: bytes, tree: bool) -> bytes:
        at = (Kind.DATA, self.demand(id_, tree).pack.hex())
        return self._once(at, (id_, tree), lambda: super(Remembering, self).load_blob(id_, tree))

    def _once(self, at: tuple[Kind, str], what: object, read: Callable[[], Any]) -> Any:
        if at not in self.store.held or (at, what) not in self.seen:
            self.seen[at, what] = read()
        return self.seen[at, what]


class World:
    """Everything in it is real but the disk and the clock."""

    def __init__(self) -> None:
        self.clock, self.officers = HandClock(), HandClock()
        self.store = FakeStore()
        made = new(self.store)
        self._key, self._config = made.key, made.config
        self.kept: dict[str, Files] = {}
        self.writers: list[Writer] = []
        self.prunes: list[Pruned] = []
        self._judged: tuple[object, ...] = ()
        self._seen: dict[object, Any] = {}

    @classmethod
    def over(cls, other: World) -> World:
        """A copy of it, to which something else may happen."""
        made = cls()
        made.store.held = dict(other.store.held)
        made._key, made._config, made.kept = other._key, other._config, dict(other.kept)
        made.clock, made.officers = replace(other.clock), replace(other.officers)
        return made

    def damaged(self) -> bool:
        repository = self.opened()
        repository.load_index()
        return bool(repository.damaged)

    def opened(self, store: Store | None = None) -> Repository:
        return Repository(store or self.store, self._key, self._config)

    def begin(self) -> None:
        repository = self.opened()
        repository.load_index()
        self.writers.append(Writer(repository, self.clock.seconds))

    def put(self, writer: Writer, name: str, contents: tuple[int, ...]) -> None:
        """A file; its blobs are durable and named when this returns, as those of each minute of a backup are."""
        self.lay(writer, name, contents)
        self._name(writer)

    def lay(self, writer: Writer, name: str, contents: tuple[int, ...]) -> None:
        """A file; its blobs are in a pack that is durable, and that no index names yet."""
        self._pack(writer, [CONTENTS[number] for number in dict.fromkeys(contents)], tree=False)
        writer.files[name] = contents

    def end(self, writer: Writer) -> None:
        """The snapshot: half of the files lie in a folder."""
        self.writers.remove(writer)
        below = [(name, writer.files[name]) for name in sorted(writer.files) if name > "c"]
        above = [(name, writer.files[name]) for name in sorted(writer.files) if name <= "c"]
        folder = tree_text([node_text(self._file(*each)) for each in below])
        last = Node(b"z", DIR, 0, 0, 0, 0, 0, 0, subtree=hashlib.sha256(folder).digest())
        root = tree_text([node_text(each) for each in (*(self._file(*each) for each in above), last)])
        self._pack(writer, [folder, root], tree=True)
        self._name(writer)
        made = Snapshot(self.clock.now(), hashlib.sha256(root).digest(), ("/srv",), "host", "somebody")
        self.kept[writer.repository.save_file(Kind.SNAPSHOTS, made.as_json())] = dict(writer.files)

    def _pack(self, writer: Writer, plains: list[bytes], tree: bool) -> None:
        """What is new of them in a pack, without the threads of a real backup."""
        repository, pack, blobs = writer.repository, bytearray(), []
        for plain in plains:
            id_ = hashlib.sha256(plain).digest()
            if not repository.index.has(id_, tree):
                sealed = repository.sealer.seal(plain)
                blobs.append(Blob(id_, tree, len(pack), len(sealed), 0))
                pack += sealed
        if blobs:
            whole = bytes(pack) + seal_header(blobs, repository.sealer)
            found = hashlib.sha256(whole).digest()
            repository.keep(Kind.DATA, found.hex(), whole)
            repository.index.add(found, blobs)
            writer.unnamed.append((found, blobs))

    def _name(self, writer: Writer) -> None:
        if writer.unnamed:
            writer.repository.save_file(Kind.INDEX, index_text(writer.unnamed))
            writer.unnamed = []

    def kill(self, writer: Writer) -> None:
        self.writers.remove(writer)

    def backup(self, files: Files) -> None:
        """A whole one, at once."""
        self.begin()
        writer = self.writers[-1]
        for name, contents in files.items():
            self.put(writer, name, contents)
        self.end(writer)

    def broken_backup(self, files: Files, fault: Fault, at: int) -> None:
        """One that meets a fault: what it had kept by then stays; a snapshot that is there counts."""
        faulty = FaultyStore(self.store, fault, at)
        before, kept = {each.name for each in self.store.names(Kind.SNAPSHOTS)}, dict(self.kept)
        repository = self.opened(faulty)
        writer = Writer(repository, self.clock.seconds)
        self.writers.append(writer)
        with suppress(NciaError, Killed):
            repository.load_index()
            for name, contents in files.items():
                self.put(writer, name, contents)
            self.end(writer)
        if writer in self.writers:
            self.kill(writer)
        faulty.heal()
        faulty.arrive()
        self.kept = kept
        for each in {each.name for each in self.store.names(Kind.SNAPSHOTS)} - before:
            self.kept[each] = dict(files)

    def forget(self, ids: list[str]) -> None:
        for each in ids:
            self.store.remove(Kind.SNAPSHOTS, each)
            del self.kept[each]

    def prune(
        self,
        share: float = 0.0,
        grace: timedelta = GRACE,
        fault: Fault = Fault.NONE,
        at: int = 0,
        do: Callable[[], object] | None = None,
    ) -> bool:
        """Whether it went to its end. It may be refused only for the lock that a dead prune left, and for a snapshot
        that came while it was at work: by ``do``, at a call of its own."""
        faulty = FaultyStore(Meanwhile(self.store, at, do) if do else self.store, fault, at)
        try:
            repository = self.opened(faulty)
            with self._alone(faulty) as lock:
                self.prunes.append(prune(repository, lock, self.officers.now(), Wish(grace, share, empty=True)))
        except Refusal as refusal:
            if refusal.code not in ("repository.locked", *(("repository.not-alone",) if do else ())):
                raise
            return False
        except (StoreFault, Killed):
            assert fault is not Fault.NONE
            return False
        finally:
            faulty.heal()
            faulty.arrive()
        return True

    def calls(self, share: float, grace: timedelta = GRACE) -> int:
        return len(self.called(share, grace))

    def called(self, share: float, grace: timedelta = GRACE) -> list[Call]:
        """What such a prune asks of the store; of a copy."""
        below = FakeStore()
        below.held = dict(self.store.held)
        counting = FaultyStore(below)
        with suppress(Refusal), self._alone(counting) as lock:
            prune(self.opened(counting), lock, self.officers.now(), Wish(grace, share, empty=True))
        return counting.calls

    def advance(self, hours: float) -> None:
        for clock in (self.clock, self.officers):
            clock.seconds += hours * 3600
        late = [each for each in self.writers if self.clock.seconds - each.since > WRITER_HOURS_MAX * 3600]
        for each in late:
            self.kill(each)

    def judge(self, pruned: bool = False) -> None:
        """Everything that was kept is read back whole; after a prune by what indexes name alone, as restic reads."""
        held = (pruned, *(each for each in self.store.held if each[0] is not Kind.LOCKS))
        if held == self._judged:
            return
        self._judged = held
        checked = Checking(self._reader(), STRUCTURE_ONLY, workers=1).run()
        assert checked.faults == []
        repository = self._reader()
        repository.load_index()
        if pruned:
            repository.marked = type(repository.marked)()
        assert {each.name for each in self.store.names(Kind.SNAPSHOTS)} == self.kept.keys()
        for snapshot in repository.snapshots():
            assert dict(self._read(repository, snapshot.tree)) == self._plain(self.kept[snapshot.id])

    @contextmanager
    def _alone(self, store: Store) -> Iterator[Lock]:
        repository = self.opened(store)
        with Still(repository, ELSEWHERE, self.officers, exclusive=True) as lock:
            clear_locks(repository, ELSEWHERE, self.officers.now())
            yield lock

    def _reader(self) -> Remembering:
        repository = Remembering(self.store, self._key, self._config)
        repository.seen = self._seen
        return repository

    def settle(self) -> None:
        """With nobody at work and all grace over, nothing is left that nobody needs."""
        for writer in tuple(self.writers):
            self.kill(writer)
        self.officers.skew = 0.0
        self.advance(SKEW_HOURS_MAX + 1)  # a lock of a prune that died may be dated ahead
        assert self.prune()
        self.judge(pruned=True)
        self.advance(24 * (7 + 2))  # two more: a mark may have been made a day ahead
        assert self.prune()
        self.advance(24 * 8)
        assert self.prune()
        self.judge(pruned=True)
        repository = self.opened()
        needed = {CONTENTS[number] for files in self.kept.values() for each in files.values() for number in each}
        named: dict[bytes, tuple[Blob, ...]] = {}
        for _, packs, marks in repository.index_wholes():
            assert marks == []
            named |= {pack: tuple(blobs) for pack, blobs in packs}
        assert {pack.hex() for pack in named} == {each.name for each in self.store.names(Kind.DATA)}
        data = [blob.id for blobs in named.values() for blob in blobs if not blob.tree]
        assert len(data) == len(needed), "a blob that nobody needs, or one that is kept twice"

    def lay_down(self, folder: Path) -> None:
        """As files, for restic."""
        for (kind, name), content in self.store.held.items():
            path = folder / path_of(kind, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert open_repository(self.store, PASSWORD).config.id == self._config.id

    def _file(self, name: str, contents: tuple[int, ...]) -> Node:
        ids = tuple(hashlib.sha256(CONTENTS[number]).digest() for number in contents)
        size = sum(len(CONTENTS[number]) for number in contents)
        return Node(name.encode(), FILE, 0o644, 0, 0, 0, 0, 0, size=size, content=ids)

    def _read(self, repository: Repository, tree: bytes) -> Iterator[tuple[str, bytes]]:
        for node in tree_nodes(repository.load_blob(tree, tree=True), "read a tree"):
            if node.type == DIR:
                yield from self._read(repository, node.subtree)
            else:
                yield node.name.decode(), b"".join(repository.load_blob(id_, tree=False) for id_ in node.content or ())

    @staticmethod
    def _plain(files: Files) -> dict[str, bytes]:
        return {name: b"".join(CONTENTS[number] for number in contents) for name, contents in files.items()}


def chance_files(chance: random.Random) -> Files:
    names = chance.sample("abcdef", chance.randrange(1, 4))
    return {name: tuple(chance.choices(range(len(CONTENTS)), k=chance.randrange(0, 4))) for name in names}


def live(seed: int, moves: int = 25) -> World:
    """One life of a world, all of it from the seed."""
    chance, world = random.Random(seed), World()

    def writer() -> Writer | None:
        return chance.choice(world.writers) if world.writers else None

    def put() -> None:
        if (one := writer()) is not None:
            for name, contents in chance_files(chance).items():
                world.put(one, name, contents)

    def end() -> None:
        if (one := writer()) is not None:
            world.end(one)

    def kill() -> None:
        if (one := writer()) is not None:
            world.kill(one)

    def forget() -> None:
        world.forget(chance.sample(sorted(world.kept), min(len(world.kept), chance.randrange(1, 3))))

    def broken_prune() -> None:
        """Half of them in the last calls, where things are removed."""
        share = chance.choice((0.0, 0.05, 0.5))
        grace = GRACE if world.writers or chance.random() < 0.8 else timedelta(0)
        last = world.calls(share, grace)
        at = chance.randrange(1 if chance.random() < 0.5 else max(1, last - 8), last + 1)
        world.prune(share, grace, chance.choice(FAULTS), at)

    def broken_backup() -> None:
        world.broken_backup(chance_files(chance), chance.choice(FAULTS), chance.randrange(1, 25))

    def lay() -> None:
        if (one := writer()) is not None:
            for name, contents in chance_files(chance).items():
                world.lay(one, name, contents)

    def overtaken() -> None:
        """What it counts on is forgotten, marked, and nearly removed before its snapshot tells that it is needed."""
        files = chance_files(chance)
        world.backup(files)
        last = next(reversed(world.kept))
        world.begin()
        one = world.writers[-1]
        world.forget([last])
        world.prune(chance.choice((0.0, 0.5)))
        world.advance(chance.choice((1, 100)))
        for name, contents in files.items():
            world.lay(one, name, contents)
        if one in world.writers:
            world.end(one)
        world.judge()
        world.advance(chance.choice((1, 100, 200)))

    def meanwhile() -> None:
        one = writer()
        moves = (lambda: world.end(one), lambda: world.lay(one, "d", (chance.randrange(len(CONTENTS)),)))
        if one is not None:
            share = chance.choice((0.0, 0.5))
            world.prune(share, do=chance.choice(moves), at=chance.randrange(1, world.calls(share) + 1))

    def whole_prune() -> None:
        if world.prune(chance.choice((0.0, 0.05, 0.5))):
            world.judge(pruned=True)

    def at_once() -> None:
        if not world.writers and world.prune(grace=timedelta(0)):
            world.judge(pruned=True)

    def skew() -> None:
        world.officers.skew = chance.uniform(-SKEW_HOURS_MAX, SKEW_HOURS_MAX) * 3600

    ways: tuple[tuple[Callable[[], object], int], ...] = (
        (lambda: world.backup(chance_files(chance)), 5),
        (world.begin, 4),
        (put, 3),
        (lay, 4),
        (overtaken, 2),
        (meanwhile, 3),
        (end, 4),
        (kill, 1),
        (forget, 4),
        (whole_prune, 5),
        (broken_prune, 5),
        (broken_backup, 2),
        (at_once, 1),
        (skew, 1),
        (lambda: world.advance(chance.choice((0.1, 1, 30, 100, 200))), 5),
    )
    for _ in range(moves):
        (move,) = chance.choices([way for way, _ in ways], [weight for _, weight in ways])
        move()
        world.judge()
    world.settle()
    return world
