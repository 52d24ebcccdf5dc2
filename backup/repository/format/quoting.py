"""Text as restic's program writes it: names, which are raw bytes, in Go's quotes, then JSON with Go's escapes."""

from __future__ import annotations

import json
import re

PLAIN = re.compile(rb"[ !#-%'-;=?-\[\]-~]*")  # what neither Go's quotes nor its JSON changes
SHORT = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
GO_JSON = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
HTML = re.compile(r"[<>&]")
LONE = re.compile("[\ud800-\udfff]")
ESCAPE = re.compile(
    rb"\\(?:(?P<short>[abfnrtv\\'\"])|x(?P<x>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    rb"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<bad>.?))",
    re.DOTALL,
)
LONG = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
STRAY = 0xDC00  # surrogateescape: byte b that is no UTF-8 is read as this plus b


def json_text(text: str) -> str:
    """A JSON string with its quotes, as Go's encoder writes it; what is no Unicode (a surrogate here) is U+FFFD."""
    spelt = json.dumps(text, ensure_ascii=False)
    return spelt if spelt.isascii() and not HTML.search(spelt) else LONE.sub(r"\\ufffd", spelt.translate(GO_JSON))


def name_json(name: bytes) -> str:
    """A node's name: quoted by Go's rules, then JSON."""
    if PLAIN.fullmatch(name):
        return f'"{name.decode("ascii")}"'
    return json_text(quote(name))


def quote(name: bytes) -> str:
    """Go's ``strconv.Quote`` without the outer quotes: what is no UTF-8 as ``\\xff``, what does not print escaped."""
    return "".join(map(_quoted, name.decode("utf-8", "surrogateescape")))


def unquote(text: str) -> bytes:
    """The inverse, for every spelling that Go accepts; raises ``ValueError``."""
    raw = text.encode("utf-8")
    return ESCAPE.sub(_unescaped, raw) if b"\\" in raw else raw


def _quoted(char: str) -> str:
    code = ord(char)
    if code in SHORT:
        return SHORT[code]
    if STRAY <= code <= STRAY + 0xFF:
        return f"\\x{code - STRAY:02x}"
    if char.isprintable():
        return char
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescaped(found: re.Match[bytes]) -> bytes:
    short, code = found["short"], found["x"] or found["octal"]
    if short is not None:
        return LONG.get(short, short)
    if code is not None:
        return bytes([int(code, 16 if found["x"] else 8)])
    if found["bad"] is not None:
        raise ValueError(f"no escape of Go's: {found[0]!r}")
    return chr(int(found["u"] or found["U"], 16)).encode("utf-8")
