"""Where each blob lies: index files as JSON, and all of them in memory in packed arrays.

In memory a blob takes 46 bytes in one of 65,536 byte arrays, chosen by the first two bytes of its id and searched as
text: nothing is sorted, and adding is appending. (A dict of tuples takes six times as much.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec

from backup.repository.faults import Damaged
from backup.repository.format.bounds import BLOB_BYTES_MAX
from backup.repository.format.packs import Blob, runs_of
from backup.repository.format.seal import OVERHEAD_BYTES
from backup.repository.format.times import moment_of, moment_text

SHARDS = 1 << 16
RECORD = struct.Struct("<30sIIII")
TREE_BIT = 1 << 31  # of the pack's number
WORD_MAX = (1 << 32) - 1
MARKED = "packs_to_delete"

Pack = tuple[bytes, Sequence[Blob]]  # its id, and what is in it


Word = Annotated[int, msgspec.Meta(ge=0, le=WORD_MAX)]


class ToldBlob(msgspec.Struct, gc=False):
    """A blob, as an index file tells of it."""

    id: str
    type: Literal["data", "tree"]
    offset: Word
    length: Annotated[int, msgspec.Meta(ge=OVERHEAD_BYTES, le=BLOB_BYTES_MAX)]
    uncompressed_length: Annotated[int, msgspec.Meta(ge=0, le=BLOB_BYTES_MAX)] = 0


class ToldPack(msgspec.Struct, gc=False):
    id: str
    blobs: list[ToldBlob]


class ToldMark(msgspec.Struct, gc=False):
    id: str
    blobs: list[ToldBlob] | None = None
    time: str | None = None


class ToldIndex(msgspec.Struct):
    packs: list[ToldPack] | None
    packs_to_delete: list[ToldMark] | None = None


TOLD = msgspec.json.Decoder(ToldIndex)


class Where(NamedTuple):
    """A blob's place."""

    pack: bytes
    blob: Blob


def runs_needed(places: Iterable[Where]) -> list[tuple[bytes, list[Blob]]]:
    """What is to be read of these places: a pack, and blobs that lie side by side in it, each once."""
    packs: dict[bytes, dict[Blob, None]] = {}
    for pack, blob in places:
        packs.setdefault(pack, {})[blob] = None
    return [(pack, run) for pack, blobs in packs.items() for run in runs_of(blobs)]


class Index:
    """All blobs that durable packs hold. Reading is safe while one other thread adds."""

    def __init__(self) -> None:
        self._shards: list[bytearray | None] = [None] * SHARDS
        self._packs: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pack: bytes, blobs: Iterable[Blob]) -> None:
        number = len(self._packs)
        self._packs.append(pack)
        for id_, tree, offset, length, plain in blobs:
            record = RECORD.pack(id_[2:], number | TREE_BIT if tree else number, offset, length, plain)
            at = id_[0] << 8 | id_[1]
            shard = self._shards[at]
            if shard is None:
                self._shards[at] = bytearray(record)
            else:
                shard += record
            self._count += 1

    def has(self, id_: bytes, tree: bool) -> bool:
        return self._find(id_, tree) is not None

    def where(self, id_: bytes, tree: bool) -> Where | None:
        """One place of a blob (the first that was told), or None."""
        found = self._find(id_, tree)
        if found is None:
            return None
        shard, at = found
        _, number, offset, length, plain = RECORD.unpack_from(shard, at)
        return Where(self._packs[number & ~TREE_BIT], Blob(id_, tree, offset, length, plain))

    def packs(self) -> tuple[bytes, ...]:
        return tuple(self._packs)

    def _find(self, id_: bytes, tree: bool) -> tuple[bytearray, int] | None:
        shard = self._shards[id_[0] << 8 | id_[1]]
        if shard is None:
            return None
        needle = id_[2:]
        at = shard.find(needle)
        while at >= 0:
            # bit 7 of the number's last byte is the type
            if at % RECORD.size == 0 and bool(shard[at + 33] & 0x80) is tree:
                return shard, at
            at = shard.find(needle, at + 1)
        return None


class Mark(NamedTuple):
    """A pack that nobody needed at ``at``; None where its file does not tell."""

    pack: bytes
    blobs: Sequence[Blob]
    at: datetime | None


def index_text(packs: Iterable[Pack], marks: Iterable[Mark] = ()) -> bytes:
    """An index file's JSON. What is marked stands in a field that restic passes over and rustic knows."""
    named = ",".join(_pack_text(id_, blobs) for id_, blobs in packs)
    marked = ",".join(_pack_text(pack, blobs, at) for pack, blobs, at in marks)
    rest = f',"{MARKED}":[{marked}]' if marked else ""
    return f'{{"packs":[{named}]{rest}}}'.encode()


def index_packs(text: bytes, what: str) -> list[Pack]:
    """The packs that an index file tells; raises :class:`Damaged`."""
    try:
        return [(_pack_id(pack.id), _blobs(pack.blobs)) for pack in TOLD.decode(text).packs or ()]
    except (RecursionError, ValueError) as error:
        raise Damaged(what, f"it is not of the form {{packs: [{{id, blobs}}]}} ({error})") from error


def index_marks(text: bytes, what: str) -> list[Mark]:
    """The packs that an index file marks for removal; raises :class:`Damaged`."""
    if MARKED.encode() not in text:
        return []
    try:
        return [
            Mark(_pack_id(pack.id), _blobs(pack.blobs or []), moment_of(pack.time) if pack.time else None)
            for pack in TOLD.decode(text).packs_to_delete or ()
        ]
    except (RecursionError, ValueError) as error:
        raise Damaged(what, f"what it marks is not of the form [{{id, blobs, time}}] ({error})") from error


def _pack_id(text: str) -> bytes:
    id_ = bytes.fromhex(text)
    if len(id_) != 32:
        raise ValueError(f"no pack: {text[:200]!r}")
    return id_


def _pack_text(id_: bytes, blobs: Sequence[Blob], at: datetime | None = None) -> str:
    texts = []
    for blob, tree, offset, length, plain in blobs:
        # a plain length of zero would be read as that of a compressed blob
        end = f',"uncompressed_length":{plain}}}' if plain else "}"
        kind = "tree" if tree else "data"
        texts.append(f'{{"id":"{blob.hex()}","type":"{kind}","offset":{offset},"length":{length}{end}')
    time = "" if at is None else f',"time":"{moment_text(at)}"'
    return f'{{"id":"{id_.hex()}","blobs":[{",".join(texts)}]{time}}}'


def _blobs(told: list[ToldBlob]) -> tuple[Blob, ...]:
    raw = bytes.fromhex
    found = tuple(
        [Blob(raw(each.id), each.type == "tree", each.offset, each.length, each.uncompressed_length) for each in told]
    )
    for blob in found:
        if len(blob.id) != 32:
            raise ValueError(f"a blob's id is {blob.id.hex()[:80]}")
    return found
