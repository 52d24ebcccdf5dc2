from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged
from backup.repository.format.seal import OVERHEAD_BYTES, Key, Sealer

KEY = Key.of_bytes(bytes(range(64)))
PLAIN = b"what the agency may not lose"


@given(st.binary(max_size=2000))
def test_what_is_sealed_opens_to_the_same(plain: bytes) -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(plain)
    assert len(sealed) == len(plain) + OVERHEAD_BYTES
    assert bytes(Sealer(KEY).open(sealed, "open")) == plain


@given(st.data(), st.binary(max_size=100))
def test_one_bit_that_is_another_is_found(data: st.DataObject, plain: bytes) -> None:
    sealed = bytearray(Sealer(KEY).seal(plain))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged, match="authenticator"):
        Sealer(KEY).open(sealed, "open")


@given(st.integers(0, OVERHEAD_BYTES - 1))
def test_what_is_too_short_to_be_sealed_is_damaged(length: int) -> None:
    with pytest.raises(Damaged, match="too few"):
        Sealer(KEY).open(bytes(length), "open")


def test_a_sealed_text_is_what_the_design_document_says() -> None:
    """Against an independent way: the authenticator by the arithmetic of the Poly1305-AES paper, no library's."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    sealed = Sealer(KEY).seal(PLAIN)
    nonce, body, tag = sealed[:16], sealed[16:-16], sealed[-16:]
    stream = Cipher(algorithms.AES(KEY.encrypt), modes.CTR(nonce)).decryptor()
    assert stream.update(body) == PLAIN
    mask = Cipher(algorithms.AES(KEY.mac_k), modes.ECB()).encryptor().update(nonce)  # noqa: S305
    r = int.from_bytes(KEY.mac_r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    sum_ = 0
    for at in range(0, len(body), 16):
        sum_ = (sum_ + int.from_bytes(body[at : at + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    assert tag == ((sum_ + int.from_bytes(mask, "little")) % (1 << 128)).to_bytes(16, "little")


def test_no_text_is_sealed_the_same_way_twice() -> None:
    sealer = Sealer(KEY)
    assert len({sealer.seal(PLAIN) for _ in range(50)}) == 50


def test_a_key_survives_json_and_is_never_shown() -> None:
    assert Key.of_json(KEY.as_json()) == KEY
    assert "000102" not in repr(KEY)
    assert repr(KEY) == "Key(…)"
