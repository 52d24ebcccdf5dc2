from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.journal.tree import (
    EMPTY_ROOT,
    StoredHash,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "journal" / "rfc6962.json").read_text())
LEAVES = [leaf_hash(bytes.fromhex(each)) for each in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(each) for each in VECTORS["roots"]]


def hashes(proof: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(each) for each in proof)


def grown(leaves: Sequence[bytes]) -> tuple[Tree, StoredHash]:
    tree, nodes = Tree().grow(leaves)
    table = {(node.level, node.index): node.hash for node in nodes}
    return tree, lambda level, index: table[level, index]


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(defined_root(leaves[:half]), defined_root(leaves[half:]))


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def test_roots_are_those_of_the_published_vectors() -> None:
    assert [grown(LEAVES[:size])[0].root() for size in range(9)] == ROOTS


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=str)
def test_inclusion_proofs_are_those_of_the_published_vectors(vector: dict) -> None:
    index, size, proof = vector["index"], vector["size"], hashes(vector["proof"])
    assert proof == inclusion_proof(index, size, grown(LEAVES)[1])
    assert verify_inclusion(LEAVES[index], index, size, ROOTS[size], proof)


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=str)
def test_consistency_proofs_are_those_of_the_published_vectors(vector: dict) -> None:
    first, second, proof = vector["first"], vector["second"], hashes(vector["proof"])
    assert proof == consistency_proof(first, second, grown(LEAVES)[1])
    assert verify_consistency(first, second, ROOTS[first], ROOTS[second], proof)


@given(st.integers(0, 300), st.integers(0, 300))
def test_growing_in_two_parts_is_growing_at_once(first: int, more: int) -> None:
    leaves = leaves_of(first + more)
    part, _ = Tree().grow(leaves[:first])
    whole, _ = part.grow(leaves[first:])
    assert (defined_root(leaves), first + more) == (whole.root(), whole.size)


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_tree_is_opened_at_any_size_from_its_stored_hashes(size: int, more: int) -> None:
    leaves = leaves_of(size + more)
    assert grown(leaves[:size])[0] == tree_of(size, grown(leaves)[1])


@given(st.integers(1, 130), st.data())
def test_every_inclusion_proof_holds_and_for_no_other_leaf(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    tree, stored = grown(leaves)
    proof = inclusion_proof(index, size, stored)
    assert verify_inclusion(leaves[index], index, size, tree.root(), proof)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, tree.root(), proof)
    for other in {index - 1, index + 1}:
        assert not verify_inclusion(leaves[index], other, size, tree.root(), proof)


@given(st.integers(0, 130), st.integers(0, 130), st.data())
def test_every_consistency_proof_holds_and_for_no_other_root(first: int, more: int, data: st.DataObject) -> None:
    second = first + more
    leaves = leaves_of(second)
    tree, stored = grown(leaves)
    old = tree_of(first, stored).root()
    proof = consistency_proof(first, second, stored)
    assert verify_consistency(first, second, old, tree.root(), proof)
    forged = leaf_hash(b"forged")
    assert not verify_consistency(first, second, forged, tree.root(), proof)
    if first:
        assert not verify_consistency(first, second, old, forged, proof)
    assert not verify_consistency(first, second, old, tree.root(), (*proof, forged))
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not verify_consistency(first, second, old, tree.root(), proof[:place] + proof[place + 1 :])
        altered = (*proof[:place], forged, *proof[place + 1 :])
        assert not verify_consistency(first, second, old, tree.root(), altered)


@given(st.integers(2, 100), st.data())
def test_no_proof_shows_that_a_forked_log_extends_the_old_one(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second - 1))
    leaves = leaves_of(second)
    fork = [*leaves[: first - 1], leaf_hash(b"other"), *leaves[first:]]
    old = grown(leaves[:first])[0].root()
    forked, stored = grown(fork)
    assert not verify_consistency(first, second, old, forked.root(), consistency_proof(first, second, stored))


def test_appending_one_leaf_stores_two_hashes_on_average() -> None:
    _, nodes = Tree().grow(leaves_of(1024))
    assert len(nodes) == 2 * 1024 - 1


@pytest.mark.parametrize(("index", "size"), [(1, 1), (-1, 3), (0, 0)])
def test_a_proof_of_what_is_not_in_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(index, size, grown(LEAVES)[1])
