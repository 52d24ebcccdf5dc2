"""A repository that is open: its store, its key, its index; files and blobs read and checked on the way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from backup.repository.faults import Damaged
from backup.repository.format.bounds import FILE_BYTES_MAX, KEY_BYTES_MAX, PACK_BYTES_MAX, bounded, demand_bytes
from backup.repository.format.compression import Compression, Squeezer, pack_file, unpack_file
from backup.repository.format.index import Index, Mark, Pack, Where, index_marks, index_packs
from backup.repository.format.keys import Holder, Scrypt, add_key, find_key
from backup.repository.format.packs import Blob, pack_bytes, plain_of
from backup.repository.format.seal import Key, Sealer
from backup.repository.format.settings import Config, config_of
from backup.repository.format.snapshots import Snapshot, snapshot_of
from backup.repository.ports import Kind, Missing, Store, StoreFault
from backup.repository.windows import Windows
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT


class Repository:
    """Safe for several threads: what is not (ciphers, compressors) each thread has for itself."""

    def __init__(self, store: Store, key: Key, config: Config, key_name: str = "") -> None:
        self.store = store
        self.key = key
        self.config = config
        self.key_name = key_name
        self.index = Index()
        self.marked = Index()  # what packs hold that are marked for removal: read where needed, counted on by nobody
        self.damaged: list[str] = []  # files that were passed over, for they cannot be read
        self.unread: set[str] = set()  # those of them that are snapshots, by name
        self.compression = Compression.AUTO  # of blobs that are kept from now on
        self._windows = Windows()
        self._own = threading.local()

    @property
    def sealer(self) -> Sealer:
        """This thread's."""
        if not hasattr(self._own, "sealer"):
            self._own.sealer = Sealer(self.key)
        sealer: Sealer = self._own.sealer
        return sealer

    @property
    def squeezer(self) -> Squeezer:
        """This thread's."""
        if not hasattr(self._own, "squeezer"):
            self._own.squeezer = Squeezer.new(self.compression)
        squeezer: Squeezer = self._own.squeezer
        return squeezer

    def load_file(self, kind: Kind, name: str) -> bytes:
        """The plain text of an index, snapshot or lock; raises :class:`Missing` and :class:`Damaged`."""
        return self.open_file(kind, name, self._load(kind, name))

    def load_sealed(self, kind: Kind, name: str) -> bytes:
        """A file as it lies there, with the hash that is its name; raises :class:`Missing` and :class:`Damaged`."""
        sealed = self._load(kind, name)
        if hashlib.sha256(sealed).hexdigest() != name:
            what = f"read {'pack' if kind is Kind.DATA else kind.value} {name[:SHORT]}"
            raise Damaged(what, "its bytes do not have the hash that is its name")
        return sealed

    def _load(self, kind: Kind, name: str) -> bytes:
        """A whole file, of no more bytes than one of its kind can have."""
        if kind is not Kind.DATA:
            content = self.store.load(kind, name, 0, FILE_BYTES_MAX + 1)
            return bounded(content, FILE_BYTES_MAX, f"read {kind.value} {name[:SHORT]}")
        demand_bytes(self.store.size(kind, name), PACK_BYTES_MAX, f"read pack {name[:SHORT]}")
        return self.store.load(kind, name)

    def load_pack(self, name: str) -> memoryview:
        """A pack's bytes, whatever they are; raises :class:`Missing` and :class:`Damaged`."""
        return memoryview(self._load(Kind.DATA, name))

    def open_file(self, kind: Kind, name: str, sealed: bytes) -> bytes:
        """The plain text of such a file's bytes."""
        what = f"read {kind.value} {name[:SHORT]}"
        if hashlib.sha256(sealed).hexdigest() != name:
            raise Damaged(what, "its bytes do not have the hash that is its name")
        return unpack_file(self.sealer.open(sealed, what), what)

    def save_file(self, kind: Kind, plain: bytes) -> str:
        """Seal and keep one file; returns its name. What was sealed is looked at after it was sent."""
        name, sealed = self.sealed(kind, plain)
        self.keep(kind, name, sealed)
        return name

    def sealed(self, kind: Kind, plain: bytes) -> tuple[str, bytes]:
        """A file's name and its bytes, which were opened again."""
        sealed = self.sealer.seal(pack_file(plain))
        name = hashlib.sha256(sealed).hexdigest()
        what = f"verify {kind.value} {name[:SHORT]} before it is kept"
        if unpack_file(self.sealer.open(sealed, what), what) != plain:
            raise Damaged(what, "it is not what was sealed: look at this machine's memory")
        return name, sealed

    def keep(self, kind: Kind, name: str, content: bytes | memoryview) -> None:
        """Save, and look whether it is there: a store may answer that it took what it did not keep."""
        self.store.save(kind, name, content)
        what = f"save {kind.value} {name[:SHORT]}"
        try:
            size = self.store.size(kind, name)
        except Missing as error:
            why = "the store took it, and does not have it"
            raise StoreFault("repository.not-kept", what, why, "look at the store") from error
        if size != len(content):
            why = f"the store has {size} bytes of it instead of {len(content)}"
            raise StoreFault("repository.not-kept", what, why, "look at the store")

    def load_index(self, there: Mapping[bytes, int] | None = None) -> None:
        """Read every index file into :attr:`index`. A damaged one costs what it alone names, and is told in
        :attr:`damaged`: a backup keeps that anew, a restore names what it misses. The same of packs that are not
        ``there`` or have another length, where that is given."""
        marks: list[Mark] = []
        for _, packs, marked in self.index_wholes():
            for pack, blobs in packs:
                if there is None or there.get(pack) == pack_bytes(blobs):
                    self.index.add(pack, blobs)
                else:
                    self.damaged.append(f"pack {pack.hex()[:SHORT]} is not there as an index tells of it")
            marks += marked
        self.load_marks(marks)

    def packs_there(self) -> dict[bytes, int]:
        """The packs that the store has, and their lengths."""
        return {bytes.fromhex(each.name): each.size for each in self.store.names(Kind.DATA)}

    def load_marks(self, marks: Iterable[Mark]) -> None:
        """What is marked and in no index beside: a prune that was stopped leaves packs that are both."""
        left = {mark.pack: mark for mark in marks}
        for pack in self.index.packs() if left else ():
            left.pop(pack, None)
        for mark in left.values():
            self.marked.add(mark.pack, mark.blobs)

    def index_files(self) -> Iterator[tuple[str, list[Pack]]]:
        yield from ((name, packs) for name, packs, _ in self.index_wholes())

    def index_wholes(self) -> Iterator[tuple[str, list[Pack], list[Mark]]]:
        """Each index that can be read: its name, what it tells, what it marks."""
        for stored in list(self.store.names(Kind.INDEX)):
            try:
                yield stored.name, *self.index_whole(stored.name)
            except Missing:  # replaced since it was listed
                continue
            except Damaged as error:
                self.damaged.append(f"{error.what}: {error.why}")

    def index_file(self, name: str) -> list[Pack]:
        return self.index_whole(name)[0]

    def index_whole(self, name: str) -> tuple[list[Pack], list[Mark]]:
        text, what = self.load_file(Kind.INDEX, name), f"read index {name[:SHORT]}"
        return index_packs(text, what), index_marks(text, what)

    def snapshots(self) -> list[Snapshot]:
        """All of them that can be read, oldest first; the others are told in :attr:`damaged`."""
        found = []
        for stored in list(self.store.names(Kind.SNAPSHOTS)):
            try:
                found.append(self.snapshot(stored.name))
            except Missing:  # forgotten since it was listed
                continue
            except Damaged as error:
                self.damaged.append(f"{error.what}: {error.why}")
                self.unread.add(stored.name)
        return sorted(found, key=lambda each: (each.time, each.id))

    def snapshot(self, name: str) -> Snapshot:
        return snapshot_of(self.load_file(Kind.SNAPSHOTS, name), name)

    def load_blob(self, id_: bytes, tree: bool) -> bytes:
        """A blob's plain bytes, with the hash that is its id."""
        where = self.demand(id_, tree)
        if tree:
            sealed, before = self._windows.load(self.store, where)
            try:
                return self.open_blob(where.blob, sealed)
            except Damaged:
                self._windows.forget(where.pack)
                if not before:
                    raise  # else it may have been mended since
        sealed = self.store.load(Kind.DATA, where.pack.hex(), where.blob.offset, where.blob.length)
        return self.open_blob(where.blob, sealed)

    def where(self, id_: bytes, tree: bool) -> Where | None:
        """For whoever reads: also from a pack that is marked, as long as it is there."""
        return self.index.where(id_, tree) or self.marked.where(id_, tree)

    def has_tree(self, id_: bytes) -> bool:
        return self.where(id_, tree=True) is not None

    def demand(self, id_: bytes, tree: bool) -> Where:
        where = self.where(id_, tree)
        if where is None:
            raise Damaged(f"read {'tree' if tree else 'blob'} {id_.hex()[:SHORT]}", "no index tells where it is")
        return where

    def open_blob(self, blob: Blob, sealed: bytes | memoryview) -> bytes:
        """The plain bytes of a sealed blob, verified."""
        return bytes(self.verify_blob(blob, sealed))

    def verify_blob(self, blob: Blob, sealed: bytes | memoryview) -> bytes | memoryview:
        """The same, for a look: what it returns stays as it is until this thread's next blob."""
        return plain_of(blob, sealed, self.sealer, self.squeezer)

    def close(self) -> None:
        self.store.close()


def create(
    store: Store,
    password: str,
    holder: Holder,
    now: datetime,
    cost: Scrypt | None = None,
    twin: Repository | None = None,
) -> Repository:
    """A new, empty repository. Refuses where there is one: its key would be lost with it.

    One made as the ``twin`` of another has its id and its master key, under a password of its own: files of either are
    files of the other, byte for byte, so that each can heal the other."""
    what = "make a repository"
    if any(True for _ in store.names(Kind.CONFIG)):
        raise NciaError("repository.exists", what, "there is one already", "ncia repo snapshots reads it")
    store.create()
    if any(True for _ in store.names(Kind.KEYS)):
        why = "there are keys of another one, whose making or removal did not end"
        raise NciaError("repository.exists", what, why, "choose another place, or empty that one")
    key, config = (twin.key, twin.config) if twin else (Key.new(), Config.new())
    name = add_key(store, key, password, holder, now, cost)
    store.save(Kind.CONFIG, "", Sealer(key).seal(config.as_json()))
    return Repository(store, key, config, name)


def open_repository(
    store: Store, password: str, meanwhile: Callable[[Callable[[], bool]], None] | None = None
) -> Repository:
    """Open with a password; the index is not read yet.

    To derive a key takes half a second of one processor, by intent. ``meanwhile`` may use the others until what it is
    given tells that this is over."""
    if meanwhile is None:
        return _opened(store, password)
    with ThreadPoolExecutor(1, "repository key") as opening:
        opened = opening.submit(_opened, store, password)
        meanwhile(opened.done)
        return opened.result()


def _opened(store: Store, password: str) -> Repository:
    what = "open the repository"
    try:
        sealed = store.load(Kind.CONFIG, "", 0, KEY_BYTES_MAX)
    except Missing as error:
        raise NciaError("repository.none", what, "there is none at this place", "ncia repo init makes one") from error
    name, key = find_key(store, password)
    return Repository(store, key, config_of(Sealer(key).open(sealed, "read the repository's config")), name)
