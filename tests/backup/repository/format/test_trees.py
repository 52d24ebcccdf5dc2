from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged, Hostile
from backup.repository.format.parsing import tree_nodes
from backup.repository.format.trees import (
    HEAD_END,
    Node,
    go_mode,
    head_text,
    node_text,
    node_texts,
    shown,
    told,
    told_raw,
    tree_text,
)

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not set(b"/\0") & set(name) and name not in (b".", b"..")
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.integers(0, 2**64 - 1)
MOMENTS = st.integers(-(10**18), 10**19)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    type_ = draw(st.sampled_from(["file", "dir", "symlink", "chardev", "fifo"]))
    return Node(
        draw(NAMES),
        type_,
        draw(st.integers(0, 2**32 - 1)),
        draw(MOMENTS),
        draw(MOMENTS),
        draw(MOMENTS),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, 2**32 - 1)),
        draw(WORDS),
        draw(WORDS),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.binary(min_size=1, max_size=50)) if type_ == "symlink" else b"",
        tuple(draw(st.lists(st.tuples(WORDS, st.binary(max_size=20)), max_size=3))),
        draw(NUMBERS),
        tuple(draw(st.lists(st.binary(min_size=32, max_size=32), max_size=3))) if type_ == "file" else None,
        draw(st.binary(min_size=32, max_size=32)) if type_ == "dir" else b"",
    )


@given(st.lists(nodes(), max_size=6, unique_by=lambda node: node.name))
def test_a_tree_comes_back_and_so_does_the_text_of_each_node(found: list[Node]) -> None:
    ordered = tuple(sorted(found))
    text = tree_text(map(node_text, ordered))
    assert tree_nodes(text, "read") == ordered
    assert list(node_texts(text)) == [node_text(node) for node in ordered]
    assert [each.partition(HEAD_END)[0] for each in node_texts(text)] == [head_text(node) for node in ordered]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\\x00b", "..\\x2fetc"])
def test_a_name_that_no_folder_can_hold_is_hostile(name: str) -> None:
    with pytest.raises(Hostile, match="holds an entry named"):
        tree_nodes(tree_of(name), "read tree")


@pytest.mark.parametrize(("names", "why"), [(("a", "a"), "twice"), (("b", "a"), "out of order")])
def test_a_tree_that_is_not_in_order_is_hostile(names: tuple[str, ...], why: str) -> None:
    with pytest.raises(Hostile, match=why):
        tree_nodes(tree_of(*names), "read tree")


@pytest.mark.parametrize(
    "change",
    [
        {"type": "portal"},
        {"mode": -1},
        {"inode": 1.5},
        {"size": 2**64},
        {"content": ["ab"]},
        {"content": ["x" * 64]},
        {"content": ["A" * 64]},
        {"content": ["a " * 32]},
        {"user": 5},
        {"links": True},
        {"mtime": "yesterday"},
        {"name": "\\q"},
        {"type": "dir"},
    ],
)
def test_a_node_of_another_shape_is_damaged(change: dict[str, object]) -> None:
    told = json.loads(tree_of("a"))
    told["nodes"][0] |= change
    with pytest.raises(Damaged):
        tree_nodes(json.dumps(told).encode(), "read tree")


def test_what_a_node_leaves_open_is_nothing() -> None:
    """As Go reads it: null is as good as no word."""
    told = json.loads(tree_of("a"))
    told["nodes"][0] |= dict.fromkeys(("mtime", "user", "group", "linktarget", "extended_attributes", "subtree"))
    assert tree_nodes(json.dumps(told).encode(), "read tree") == tree_nodes(tree_of("a"), "read tree")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"nodes":5}', b'{"nodes":[5]}', b"\xff"])
def test_a_text_that_is_no_tree_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        tree_nodes(text, "read tree")


@given(st.integers(0, 0o7777))
def test_all_twelve_permission_bits_come_back(bits: int) -> None:
    node = Node(b"a", "file", go_mode(stat.S_IFREG | bits), 0, 0, 0, 0, 0)
    assert node.permissions == bits


def tree_of(*names: str) -> bytes:
    return json.dumps({"nodes": [{"name": name, "type": "file", "content": []} for name in names]}).encode()


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_two_names_never_look_the_same(one: bytes, other: bytes) -> None:
    assert (shown(one) == shown(other)) == (one == other)
    assert shown(one).isprintable()


@pytest.mark.parametrize(
    ("name", "look"),
    [
        (b"plain \xc3\xa9", "plain \u00e9"),
        (rb"bad\xff", r"bad\xff"),
        (b"bad\xff", r"'bad\xff'"),
        (b"back\\and\n", r"'back\\and\n'"),
        (b"\xc3\xa9\n", "'\u00e9\\n'"),
        ("\u200b\x85".encode(), r"'\U0000200b\U00000085'"),
        (b"it's", "it's"),
        (b"it's\n", r"'it\'s\n'"),
        (rb"'bad\xff'", r"'\'bad\\xff\''"),
        (b"", "''"),
    ],
)
def test_a_name_that_is_not_plain_is_in_quotes(name: bytes, look: str) -> None:
    assert shown(name) == look


@given(st.binary(max_size=20))
def test_what_is_told_of_a_name_in_json_is_the_whole_of_it(name: bytes) -> None:
    answer = json.loads(json.dumps(told("path", name), ensure_ascii=False).encode())
    assert told_raw("path", answer) == name


def test_a_name_that_is_no_text_has_its_bytes_beside_it() -> None:
    assert told("path", b"/a\\n\n") == {"path": "/a\\n\n"}
    assert told("path", b"/a\xff") == {"path": "/a\ufffd", "path_base64": "L2H/"}
