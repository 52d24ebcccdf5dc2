from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.format.quoting import json_text, name_json, quote, unquote


@given(st.binary(max_size=300))
def test_any_name_comes_back_byte_for_byte(name: bytes) -> None:
    assert unquote(quote(name)) == name
    assert unquote(json.loads(name_json(name))) == name


@given(st.text(max_size=300))
def test_the_quick_way_spells_as_the_long_way(text: str) -> None:
    name = text.encode("utf-8", "surrogateescape" if text.isprintable() else "replace")
    assert name_json(name) == json_text(quote(name))


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        (b"plain-1.txt", '"plain-1.txt"'),
        (b"a\xffb", r'"a\\xffb"'),
        (b'say "so"\\', r'"say \\\"so\\\"\\\\"'),
        (b"<&>", r'"\u003c\u0026\u003e"'),
        (b"\n\t\a", r'"\\n\\t\\a"'),
        (b"\x01\x7f", r'"\\x01\\x7f"'),
        ("한글".encode(), '"한글"'),
        ("\u2028\u00ad\U000e0001".encode(), r'"\\u2028\\u00ad\\U000e0001"'),
    ],
)
def test_names_are_spelt_as_go_spells_them(name: bytes, spelt: str) -> None:
    assert name_json(name) == spelt


@pytest.mark.parametrize("text", [r"\q", "\\", r"\x1", r"\u12", r"\U00110000", r"\ud800"])
def test_what_go_would_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unquote(text)


def test_every_spelling_that_go_reads_is_read() -> None:
    assert unquote(r"\x41\101\u0041\U00000041\'\"") == b"AAAA'\""


def test_what_is_no_text_is_replaced_as_go_does() -> None:
    assert json_text("raw\udcff<") == r'"raw\ufffd\u003c"'
