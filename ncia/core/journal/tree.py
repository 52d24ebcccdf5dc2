"""The Merkle tree of RFC 6962 (section 2.1): roots, proofs and their verification.

A log stores the hash of every complete subtree once: ``(level, index)`` covers the leaves ``index * 2**level`` up to
``(index + 1) * 2**level``. Appending then costs O(log n) hashes, opening a log of any length reads only its peaks,
and each proof reads O(log n) stored hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32

StoredHash = Callable[[int, int], bytes]  # (level, index) -> the hash of that complete subtree


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Node:
    """The hash of a complete subtree."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True)
class Tree:
    """A log's shape: its size and its peaks, the hashes of the complete subtrees it splits into, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = node_hash(peak, found)
        return found

    def grow(self, leaves: Iterable[bytes]) -> tuple[Tree, tuple[Node, ...]]:
        """The tree with ``leaves`` (leaf hashes) appended, and every subtree that became complete, leaves included."""
        size, peaks, born = self.size, list(self.peaks), []
        for leaf in leaves:
            level, index, found = 0, size, leaf
            born.append(Node(level, index, found))
            while index & 1:
                level, index, found = level + 1, index >> 1, node_hash(peaks.pop(), found)
                born.append(Node(level, index, found))
            peaks.append(found)
            size += 1
        return Tree(size, tuple(peaks)), tuple(born)


def peaks_of(size: int) -> tuple[tuple[int, int], ...]:
    """Where the peaks of a tree of ``size`` leaves are stored, largest first."""
    places, covered = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            places.append((level, covered >> level))
            covered += 1 << level
    return tuple(places)


def tree_of(size: int, stored: StoredHash) -> Tree:
    """The tree as it was at ``size``."""
    return Tree(size, tuple(stored(level, index) for level, index in peaks_of(size)))


def inclusion_proof(index: int, size: int, stored: StoredHash) -> tuple[bytes, ...]:
    """RFC 6962 2.1.1: the audit path of leaf ``index`` in the tree of ``size`` leaves."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return tuple(_path(index, 0, size, stored))


def consistency_proof(first: int, second: int, stored: StoredHash) -> tuple[bytes, ...]:
    """RFC 6962 2.1.2: that the tree of ``second`` leaves begins with the tree of ``first``; empty where trivial."""
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} cannot begin with {first}")
    if first in (0, second):
        return ()
    return tuple(_subproof(first, 0, second, True, stored))


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 2.1.3.2: whether ``proof`` shows the leaf hash ``leaf`` at ``index`` under ``root``."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(each, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, each)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 2.1.4.2: whether ``proof`` shows that the tree of ``second`` leaves extends the tree of ``first``."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    if not proof:
        return False
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for each in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(each, old), node_hash(each, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, each)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _path(index: int, start: int, end: int, stored: StoredHash) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle, stored), _range_hash(middle, end, stored)]
    return [*_path(index, middle, end, stored), _range_hash(start, middle, stored)]


def _subproof(first: int, start: int, end: int, whole: bool, stored: StoredHash) -> list[bytes]:
    """``whole`` tells that the subtree's root is known to the verifier, so it need not be sent."""
    if first == end - start:
        return [] if whole else [_range_hash(start, end, stored)]
    half = _split(end - start)
    middle = start + half
    if first <= half:
        return [*_subproof(first, start, middle, whole, stored), _range_hash(middle, end, stored)]
    return [*_subproof(first - half, middle, end, False, stored), _range_hash(start, middle, stored)]


def _range_hash(start: int, end: int, stored: StoredHash) -> bytes:
    """The Merkle hash of leaves ``start``..``end``; ``start`` always lies on a boundary of the split's size."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return stored(level, start >> level)
    middle = start + _split(width)
    return node_hash(_range_hash(start, middle, stored), _range_hash(middle, end, stored))


def _split(width: int) -> int:
    """The largest power of two below ``width``."""
    return 1 << (width - 1).bit_length() - 1
