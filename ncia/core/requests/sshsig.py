"""Signatures as ``ssh-keygen -Y sign`` makes them (OpenSSH, PROTOCOL.sshsig), so that a person signs with the key
they have: a file, an agent's, or one that never leaves a hardware authenticator.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ncia.core.estate.keys import HARDWARE, PLAIN, SshKey, key_of_blob, string, take

MAGIC = b"SSHSIG"
VERSION = (1).to_bytes(4, "big")
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
CHARACTERS_MAX = 4096  # an Ed25519 signature has some 300
USER_PRESENT = 0x01  # the flag that an authenticator sets when it was touched
FLAGS_AND_COUNTER_BYTES = 5


@dataclass(frozen=True)
class Signed:
    """What a signature says of itself, before anybody has checked it."""

    key: SshKey
    namespace: str
    hash_name: bytes
    kind: str
    signature: bytes
    flags_and_counter: bytes  # of hardware keys


def sign(key: Ed25519PrivateKey, message: bytes, namespace: str) -> str:
    """``message`` signed for one purpose, as armoured text."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    public = string(PLAIN.encode()) + string(raw)
    signature = string(PLAIN.encode()) + string(key.sign(_to_sign(namespace, b"sha512", message)))
    parts = (public, namespace.encode(), b"", b"sha512", signature)
    encoded = base64.b64encode(MAGIC + VERSION + b"".join(string(part) for part in parts)).decode("ascii")
    return "\n".join([BEGIN, *textwrap.wrap(encoded, 70), END, ""])


def verify(armoured: str, message: bytes, namespace: str, keys: Iterable[SshKey]) -> SshKey:
    """Which of ``keys`` signed ``message`` for ``namespace``; ``ValueError`` in one clause where none did."""
    signed = parse(armoured)
    if signed.namespace != namespace:
        raise ValueError(f"it was made for {signed.namespace[:40]!r}, not for {namespace!r}")
    key = next((key for key in keys if key.blob == signed.key.blob), None)
    if key is None:
        raise ValueError(f"its key {signed.key.fingerprint} is not known")
    if signed.kind != key.kind:
        raise ValueError("key and signature are of different kinds")
    covered = _to_sign(namespace, signed.hash_name, message)
    if key.kind == HARDWARE:
        covered = _by_hardware(key, signed, covered)
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signed.signature, covered)
    except InvalidSignature:
        raise ValueError("it is not this key's signature over what was to be signed") from None
    return key


def parse(armoured: str) -> Signed:
    """Take an armoured signature apart; ``ValueError`` where it is none."""
    text = armoured.strip()
    if len(text) > CHARACTERS_MAX:
        raise ValueError(f"it is longer than {CHARACTERS_MAX} characters")
    if not (text.startswith(BEGIN) and text.endswith(END)):
        raise ValueError(f"it does not begin with {BEGIN}")
    blob = base64.b64decode("".join(text[len(BEGIN) : -len(END)].split()), validate=True)
    if not blob.startswith(MAGIC + VERSION):
        raise ValueError("it is no SSH signature of version 1")
    public, rest = take(blob[len(MAGIC + VERSION) :])
    namespace, rest = take(rest)
    _, rest = take(rest)  # reserved
    hash_name, rest = take(rest)
    inner, rest = take(rest)
    if rest or hash_name not in HASHES:
        raise ValueError("its hash is unknown, or something follows it")
    kind, inner = take(inner)
    signature, tail = take(inner)
    if len(tail) != (FLAGS_AND_COUNTER_BYTES if kind == HARDWARE.encode() else 0):
        raise ValueError("its length is not that of its kind")
    return Signed(key_of_blob(public), namespace.decode("utf-8"), hash_name, kind.decode("utf-8"), signature, tail)


def _to_sign(namespace: str, hash_name: bytes, message: bytes) -> bytes:
    parts = (namespace.encode(), b"", hash_name, HASHES[hash_name](message).digest())
    return MAGIC + b"".join(string(part) for part in parts)


def _by_hardware(key: SshKey, signed: Signed, covered: bytes) -> bytes:
    """What an authenticator signs of it (OpenSSH, PROTOCOL.u2f); a person must have touched it."""
    if not signed.flags_and_counter[0] & USER_PRESENT:
        raise ValueError("nobody touched the authenticator")
    application = hashlib.sha256(key.application.encode()).digest()
    return application + signed.flags_and_counter + hashlib.sha256(covered).digest()
