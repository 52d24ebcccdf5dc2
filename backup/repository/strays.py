"""Packs that no index names: what an interrupted backup had kept by then. They tell themselves what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from backup.repository.faults import Damaged
from backup.repository.format.index import Pack, index_text
from backup.repository.format.packs import Blob, header_span, open_header, pack_bytes
from backup.repository.ports import Kind, Missing
from backup.repository.repository import Repository
from ncia.core.base.ids import SHORT

TAIL_BYTES = 4  # the length of a pack's header
STRAYS_MAX = 4096  # that are looked into: 64 GiB; a copy that is under way may have left very many
READERS = 8
INDEX_BLOBS_MAX = 40_000


def header_of(repository: Repository, pack: bytes, size: int) -> tuple[Blob, ...]:
    """What a pack says is in it; nothing where it was never finished."""
    name, what = pack.hex(), f"read the header of pack {pack.hex()[:SHORT]}"
    try:
        tail = repository.store.load(Kind.DATA, name, max(0, size - TAIL_BYTES))
        offset, length = header_span(tail, size, what)
        return open_header(repository.store.load(Kind.DATA, name, offset, length), repository.sealer, what)
    except (Damaged, Missing):
        return ()


def name_strays(repository: Repository, there: Mapping[bytes, int], guard: Callable[[], None]) -> int:
    """Name the packs that are ``there``, whole, and in no index, so that their blobs are not kept again; returns how
    many. The index is loaded. What is marked for removal is left so, and what holds nothing new."""
    known = {*repository.index.packs(), *repository.marked.packs()}
    strays = sorted(pack for pack in there if pack not in known)[:STRAYS_MAX]
    if not strays:
        return 0
    found: list[Pack] = []
    with ThreadPoolExecutor(READERS, "pack headers") as pool:
        for pack, blobs in zip(
            strays, pool.map(lambda pack: header_of(repository, pack, there[pack]), strays), strict=True
        ):
            whole = blobs and pack_bytes(blobs) == there[pack]
            if whole and not all(repository.index.has(blob.id, blob.tree) for blob in blobs):
                repository.index.add(pack, blobs)
                found.append((pack, blobs))
    part: list[Pack] = []
    for each in found:
        part.append(each)
        if sum(len(blobs) for _, blobs in part) >= INDEX_BLOBS_MAX or each is found[-1]:
            guard()
            repository.save_file(Kind.INDEX, index_text(part))
            part = []
    return len(found)
