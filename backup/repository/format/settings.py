"""The file ``config``: what is the same for the whole life of a repository. Sealed JSON, never compressed."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass

from backup.repository.faults import Damaged
from ncia.core.base.errors import NciaError

VERSION = 2
DEGREE = 53
HEX_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Config:
    """``chunker_polynomial`` is irreducible over GF(2), of degree 53. restic cuts by it, and it is the seed of our
    cuts: so the lengths of chunks tell nobody without the key which files these are."""

    id: str
    chunker_polynomial: int

    @classmethod
    def new(cls) -> Config:
        return cls(secrets.token_hex(32), new_polynomial())

    def as_json(self) -> bytes:
        fields = {"version": VERSION, "id": self.id, "chunker_polynomial": f"{self.chunker_polynomial:x}"}
        return json.dumps(fields, separators=(",", ":")).encode()


def config_of(text: bytes | bytearray) -> Config:
    """Raises :class:`Damaged`, or says which version it is that we cannot read."""
    what = "read the repository's config"
    try:
        told = json.loads(text)
        version, id_, polynomial = told["version"], str(told["id"]), int(told["chunker_polynomial"], 16)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise Damaged(what, "it is not of the form {version, id, chunker_polynomial}") from error
    if version != VERSION:
        hint = "restic migrate upgrade_repo_v2" if version == 1 else ""
        raise NciaError("repository.version", what, f"its format is version {version}; ours is {VERSION}", hint)
    if not HEX_ID.fullmatch(id_):
        raise Damaged(what, f"its id is {id_!r}")
    return Config(id_, polynomial)


def new_polynomial() -> int:
    """A random irreducible polynomial of degree 53; about one in 27 odd ones is."""
    for _ in range(10_000):
        candidate = (1 << DEGREE) | secrets.randbits(DEGREE) | 1
        if irreducible(candidate):
            return candidate
    raise NciaError("repository.polynomial", "make a repository", "no irreducible polynomial was found in 10,000 tries")


def irreducible(polynomial: int) -> bool:
    """Ben-Or's test over GF(2): no common factor with ``x^(2^i) - x`` up to half of the degree."""
    power = 2  # the polynomial x
    for _ in range((polynomial.bit_length() - 1) // 2):
        power = _rest(_square(power), polynomial)
        if _common(polynomial, power ^ 2) != 1:
            return False
    return True


def _square(a: int) -> int:
    return int(bin(a)[2:], 4)  # squaring over GF(2) puts a zero between any two bits


def _rest(a: int, b: int) -> int:
    width = b.bit_length()
    while (over := a.bit_length() - width) >= 0:
        a ^= b << over
    return a


def _common(a: int, b: int) -> int:
    while b:
        a, b = b, _rest(a, b)
    return a
