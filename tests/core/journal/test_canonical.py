from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.errors import NciaError
from ncia.core.journal.canonical import canonical, parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_was_spelt_is_read_back_and_spelt_the_same(value: object) -> None:
    spelt = canonical(value)
    assert value == parse(spelt)
    assert spelt == canonical(parse(spelt))


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_the_order_in_which_keys_were_put_does_not_matter(value: dict[str, object]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_keys_are_sorted_spaces_left_out_and_text_is_utf_8() -> None:
    assert '{"a":[1,2.5,true,null],"ㄱ":"재난"}'.encode() == canonical({"ㄱ": "재난", "a": (1, 2.5, True, None)})


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"bytes", {1: "x"}, {"a": {3}}, datetime(2026, 1, 1), [object()], "\ud800"],
    ids=["nan", "infinity", "bytes", "number as key", "set", "moment", "object", "lone surrogate"],
)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(NciaError) as refused:
        canonical({"deep": [value]})
    assert refused.value.code == "journal.not-canonical"


def test_nesting_is_bounded() -> None:
    deep: object = 0
    for _ in range(100):
        deep = [deep]
    with pytest.raises(NciaError):
        canonical(deep)


def test_what_is_plain_lies_no_deeper_than_a_list_may() -> None:
    deepest: object = 0
    for _ in range(64):
        deepest = [deepest]
    assert canonical(deepest) == b"[" * 64 + b"0" + b"]" * 64
    for deeper in ([deepest], {"a": deepest}):
        with pytest.raises(NciaError, match="nested deeper"):
            canonical(deeper)


@pytest.mark.parametrize("told", ['{"a":1,"a":2}', "NaN", "-Infinity", "{", "[" * 100_000])
def test_json_is_read_strictly(told: str) -> None:
    with pytest.raises(NciaError):
        parse(told)
