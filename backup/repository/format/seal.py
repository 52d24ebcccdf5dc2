"""Sealing: AES-256 in counter mode, authenticated by Poly1305-AES ("Keys, Encryption and MAC" in restic's design).

A sealed text is ``nonce[16] | ciphertext | authenticator[16]``. The authenticator covers the ciphertext; its one-time
key is ``r | AES-128(k, nonce)``. OpenSSL clamps ``r`` itself.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from backup.repository.faults import Damaged

NONCE_BYTES = 16
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
ENCRYPT_BYTES, MAC_BYTES = 32, 16
KEY_BYTES = ENCRYPT_BYTES + 2 * MAC_BYTES


@dataclass(frozen=True)
class Key:
    """What seals: the cipher's key, and the authenticator's two. ``repr`` shows none of it."""

    encrypt: bytes
    mac_k: bytes
    mac_r: bytes

    def __post_init__(self) -> None:
        if (len(self.encrypt), len(self.mac_k), len(self.mac_r)) != (ENCRYPT_BYTES, MAC_BYTES, MAC_BYTES):
            raise Damaged("read a key", "its parts have not 32, 16 and 16 bytes")

    @classmethod
    def new(cls) -> Key:
        return cls.of_bytes(os.urandom(KEY_BYTES))

    @classmethod
    def of_bytes(cls, raw: bytes) -> Key:
        return cls(raw[:32], raw[32:48], raw[48:])

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Key:
        try:
            mac = told["mac"]
            return cls(*(base64.b64decode(text, validate=True) for text in (told["encrypt"], mac["k"], mac["r"])))
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged("read the master key", "it is not of the form {mac: {k, r}, encrypt}") from error

    def as_json(self) -> dict[str, Any]:
        k, r, encrypt = (base64.b64encode(raw).decode() for raw in (self.mac_k, self.mac_r, self.encrypt))
        return {"mac": {"k": k, "r": r}, "encrypt": encrypt}

    def __repr__(self) -> str:
        return "Key(…)"


class Sealer:
    """Seals and opens with one key. Holds cipher contexts, so each thread has its own."""

    def __init__(self, key: Key) -> None:
        self._r = key.mac_r
        self._room = memoryview(bytearray())
        self._mask = Cipher(algorithms.AES(key.mac_k), modes.ECB()).encryptor()  # noqa: S305 - one block: Poly1305-AES
        self._stream = Cipher(algorithms.AES(key.encrypt), modes.CTR(bytes(16))).encryptor()

    def seal(self, plain: bytes | memoryview) -> bytes:
        """``plain`` sealed under a fresh nonce."""
        target = bytearray(len(plain) + OVERHEAD_BYTES)
        self.seal_into(plain, memoryview(target))
        return bytes(target)

    def seal_into(self, plain: bytes | memoryview, target: memoryview) -> None:
        """``plain`` sealed into all of ``target``, which is ``OVERHEAD_BYTES`` longer."""
        nonce = os.urandom(NONCE_BYTES)
        target[:NONCE_BYTES] = nonce
        body = target[NONCE_BYTES:-TAG_BYTES]
        self._stream.reset_nonce(nonce)
        self._stream.update_into(plain, body)
        target[-TAG_BYTES:] = Poly1305.generate_tag(self._r + self._mask.update(nonce), body)

    def open(self, sealed: bytes | memoryview, what: str) -> bytes:
        """The plain text; raises :class:`Damaged`, naming ``what`` was being done, where one bit is another."""
        return bytes(self.look(sealed, what))

    def look(self, sealed: bytes | memoryview, what: str) -> memoryview:
        """The same, for a look: it stays as it is until the next one. No memory is taken for it, which would be given
        back and taken anew for each blob."""
        size = len(sealed) - OVERHEAD_BYTES
        if size < 0:
            raise Damaged(what, f"{len(sealed)} bytes are too few for anything sealed")
        nonce, body = bytes(sealed[:NONCE_BYTES]), memoryview(sealed)[NONCE_BYTES:-TAG_BYTES]
        try:
            Poly1305.verify_tag(self._r + self._mask.update(nonce), body, bytes(sealed[-TAG_BYTES:]))
        except InvalidSignature:
            raise Damaged(what, "the authenticator does not fit: the bytes are not those that were written") from None
        if size > len(self._room):
            self._room = memoryview(bytearray(size))
        plain = self._room[:size]
        self._stream.reset_nonce(nonce)
        self._stream.update_into(body, plain)
        return plain
