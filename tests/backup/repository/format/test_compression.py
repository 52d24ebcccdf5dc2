from __future__ import annotations

import random

import pytest

from backup.repository.faults import Damaged
from backup.repository.format.compression import SMALL_BYTES, Compression, Squeezer

WORDS = [random.Random(7).randbytes(4).hex() for _ in range(5000)]


def text(length: int) -> bytes:
    chance = random.Random(length)
    return " ".join(chance.choices(WORDS, k=length // 9 + 1)).encode()[:length]


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("length", [1, SMALL_BYTES, SMALL_BYTES + 1, 1 << 20])
def test_what_was_compressed_expands_to_itself(compression: Compression, length: int) -> None:
    squeezer = Squeezer.new(compression)
    plain = text(length)
    packed = squeezer.squeeze(plain)
    assert (packed is plain) is (compression is Compression.OFF or length == 1)
    if packed is not plain:
        assert squeezer.expand(packed, length, "a test") == plain


def test_whoever_asks_for_more_gets_less() -> None:
    plain = text(1 << 20)
    wanted = (Compression.OFF, Compression.FASTEST, Compression.AUTO, Compression.BETTER, Compression.MAX)
    lengths = [len(Squeezer.new(each).squeeze(plain)) for each in wanted]
    assert lengths == sorted(lengths, reverse=True)


def test_what_does_not_get_shorter_stays_as_it_is() -> None:
    noise = random.Random(1).randbytes(100_000)
    assert Squeezer.new().squeeze(noise) is noise


def test_a_frame_that_expands_to_something_else_than_was_told_is_damaged() -> None:
    squeezer = Squeezer.new()
    packed = squeezer.squeeze(text(1 << 20))
    for told in (1, (1 << 20) - 1, (1 << 20) + 1):
        with pytest.raises(Damaged):
            squeezer.expand(packed, told, "a test")
