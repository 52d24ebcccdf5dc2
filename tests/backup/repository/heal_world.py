"""Two twins that are damaged at random and heal each other, from a seed, with a crash now and then in the middle.

What must hold: whatever blob, snapshot or index one of them could still read, both read afterwards; what is told to be
lost is what neither had; where nothing is lost, both check.
"""

from __future__ import annotations

import copy
import hashlib
import random
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from backup.repository.care.checking import Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.care.reaching import Lacks
from backup.repository.care.repairing import Repaired, Repairing
from backup.repository.care.repairing_access import Opening
from backup.repository.care.repairing_snapshots import Rewriting
from backup.repository.faults import Damaged
from backup.repository.format.keys import find_key
from backup.repository.format.packs import Blob, header_span, open_header
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from backup.repository.save.saving import Request, save
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

Held = dict[tuple[Kind, str], bytes]
Key = tuple[bytes, bool]
DAMAGES_MAX = 8
CRASHES = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.IO_ERROR, Fault.LOST, Fault.KEEPS_NOTHING)


@dataclass
class Life:
    """One seed's story, for whoever has to look at it."""

    seed: int
    damages: list[str] = field(default_factory=list)
    lost: int = 0
    crashes: int = 0
    stores: tuple[FakeStore, ...] = ()


@cache
def base() -> tuple[Held, Held]:
    """Four snapshots of a small tree, at both places."""
    one = new()
    with tempfile.TemporaryDirectory(prefix="ncia-heal-") as folder:
        source = Path(folder) / "source"
        (source / "below").mkdir(parents=True)
        for number in range(4):
            (source / f"file{number}").write_bytes(noise(number, 900))
            (source / "below" / f"file{number}").write_bytes(noise(10 + number, 700))
            save(reopened(one), Request((str(source),), HOLDER, workers=1), SystemClock())
    two = twin_of(one)
    Copying(reopened(one), reopened(two), lambda: None).run()
    return one.store.held, two.store.held


def live(seed: int) -> Life:
    rng, told = random.Random(seed), Life(seed)
    stores = FakeStore(), FakeStore()
    for store, held in zip(stores, base(), strict=True):
        store.held = copy.copy(held)
    for _ in range(rng.randint(1, DAMAGES_MAX)):
        _damage(rng, stores, told)
    alive = _alive(stores)
    kept = {key for store in stores for key, content in store.held.items() if _is_whole(key, content)}
    last: dict[int, Repaired] = {}
    for number in (0, 1, 0):
        last[number] = _repair(rng, stores[number], stores[1 - number], told)
    told.lost = last[0].lost_count
    for number, store in enumerate(stores):
        try:
            _judge(store, alive, kept, last[number])
        except (AssertionError, NciaError) as error:
            raise AssertionError(f"{error} at {number}: {told.damages}, {told.crashes} crashes, {last}") from error
    told.stores = stores
    return told


def lay_down(store: FakeStore, root: Path) -> None:
    """As files, without what is lost for good."""
    found = reopened(open_repository(store, PASSWORD))
    Rewriting(found, lambda: None).run(forget=True)
    folder = FolderStore(root)
    folder.create()
    for (kind, name), content in store.held.items():
        folder.save(kind, name, content)


def _damage(rng: random.Random, stores: tuple[FakeStore, FakeStore], told: Life) -> None:
    number = rng.randrange(2)
    held = stores[number].held
    kind = rng.choice((Kind.DATA, Kind.DATA, Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS, Kind.CONFIG, Kind.KEYS))
    names = [name for each, name in held if each is kind]  # as they were written: names are different in each run
    if not names or (kind in (Kind.CONFIG, Kind.KEYS) and number == 1):  # one place must open
        return
    name = rng.choice(names)
    content = held[kind, name]
    how = rng.choice(("flip", "flip", "cut", "gone", "zeros"))
    told.damages.append(f"{how} {kind} {name[:8]} at {number}")
    if how == "gone":
        del held[kind, name]
    elif how == "cut":
        held[kind, name] = content[: rng.randrange(len(content))]
    elif how == "zeros":
        held[kind, name] = bytes(len(content))
    else:
        at = rng.randrange(len(content))
        held[kind, name] = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _repair(rng: random.Random, store: FakeStore, twin: FakeStore, told: Life) -> Repaired:
    """With a crash at some call in every third one; then again to the end."""
    if rng.random() < 1 / 3:
        faulty = FaultyStore(store, rng.choice(CRASHES), rng.randint(1, 80))
        try:
            _repaired(faulty, twin)
        except (NciaError, Killed):
            told.crashes += 1
    return _repaired(store, twin)


def _repaired(store: FakeStore | FaultyStore, twin: FakeStore) -> Repaired:
    other = open_repository(twin, PASSWORD)
    repository = Opening(store, PASSWORD, other).run(HOLDER, NOW, CHEAP)
    return Repairing(repository, other, lambda: None, Share()).run()


def _reader(store: FakeStore) -> Repository:
    """With the key of the place that was left whole in that."""
    return Repository(store, find_key(_opens(), PASSWORD)[1], open_repository(_opens(), PASSWORD).config)


@cache
def _opens() -> FakeStore:
    store = FakeStore()
    store.held = dict(base()[1])
    return store


def _alive(stores: tuple[FakeStore, FakeStore]) -> set[Key]:
    """Blobs that either place still has, and that something there or at the other one tells where to find."""
    told: dict[bytes, set[Blob]] = {}
    for store in stores:
        reader = _reader(store)
        for _, packs in reader.index_files():
            for pack, blobs in packs:
                told.setdefault(pack, set()).update(blobs)
        for (kind, name), content in store.held.items():
            if kind is Kind.DATA:
                told.setdefault(bytes.fromhex(name), set()).update(_header(reader, content))
    found: set[Key] = set()
    for store in stores:
        reader = _reader(store)
        for (kind, name), content in store.held.items():
            if kind is Kind.DATA:
                for blob in told[bytes.fromhex(name)]:
                    try:
                        reader.verify_blob(blob, memoryview(content)[blob.offset : blob.offset + blob.length])
                        found.add((blob.id, blob.tree))
                    except Damaged:
                        continue
    return found


def _header(reader: Repository, content: bytes) -> tuple[Blob, ...]:
    try:
        offset, length = header_span(content[-4:], len(content), "read a header")
        return open_header(content[offset : offset + length], reader.sealer, "read a header")
    except Damaged:
        return ()


def _is_whole(key: tuple[Kind, str], content: bytes) -> bool:
    return key[0] is Kind.SNAPSHOTS and hashlib.sha256(content).hexdigest() == key[1]


def _judge(store: FakeStore, alive: set[Key], kept: set[tuple[Kind, str]], repaired: Repaired) -> None:
    assert kept <= store.held.keys(), "a snapshot that one place could read is not at both"
    repository = open_repository(store, PASSWORD)
    repository.load_index()
    for id_, tree in alive:
        assert repository.load_blob(id_, tree), "a blob that one place could read is not at both"
    snapshots = repository.snapshots()
    lacks = Lacks(repository, repository.index.has)
    lost = {lack.id for each in snapshots for lack in lacks.below(each.tree)}
    assert not {id_ for id_, _ in alive} & lost
    checked = Checking(open_repository(store, PASSWORD), Share()).run()
    assert bool(lost) <= bool(repaired.lost), "something is lost, and was not told"
    assert checked.holds or lost or repaired.lost, checked.faults
    assert all("no index tells where" in fault or "hash that is its name" in fault for fault in checked.faults)
