"""Key files: the master key sealed under a password (scrypt). Any one of them opens the repository.

A key file is plain JSON and bears the SHA-256 of its bytes as its name. A repository has as many as it has holders: one
is added by whoever can open another, and removing one takes that password's way in, not what it was used to read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll
from nacl.exceptions import CryptoError as NaClError

from backup.repository.faults import Damaged
from backup.repository.format.bounds import KEY_BYTES_MAX, bounded
from backup.repository.format.seal import KEY_BYTES, Key, Sealer
from backup.repository.format.times import moment_text
from backup.repository.ports import Kind, Missing, Store
from ncia.core.base.errors import NciaError, Refusal

SALT_BYTES = 64
KEYS_TRIED_MAX = 200  # each costs half a second; more than anybody has holders, and junk shuts them out late
MEMORY_BYTES_MAX = 1 << 30  # a key file may ask for no more: it was written by whoever can write


@dataclass(frozen=True)
class Scrypt:
    """What a password costs whoever guesses it: memory is ``128 · n · r`` bytes."""

    n: int = 32768
    r: int = 8
    p: int = 5


@dataclass(frozen=True)
class KeyFile:
    """What a key file tells without its password."""

    name: str
    created: str
    username: str
    hostname: str


@dataclass(frozen=True)
class Holder:
    """Whom a new key file is for, in its own words."""

    username: str
    hostname: str


def add_key(store: Store, master: Key, password: str, holder: Holder, now: datetime, cost: Scrypt | None = None) -> str:
    """One more way in; returns its name. It is read back and opened before it counts."""
    text = seal_key(master, password, holder, now, cost or Scrypt())
    name = hashlib.sha256(text).hexdigest()
    store.save(Kind.KEYS, name, text)
    if open_key(store.load(Kind.KEYS, name), password) != master:
        raise Damaged(f"read key {name[:8]} back", "the store holds something else")
    return name


def load_key(store: Store, name: str) -> bytes:
    """The bytes of a key file; raises :class:`Missing`, and :class:`Damaged` where they are more than one has."""
    return bounded(store.load(Kind.KEYS, name, 0, KEY_BYTES_MAX + 1), KEY_BYTES_MAX, f"read key {name[:8]}")


def list_keys(store: Store) -> Iterator[KeyFile]:
    for stored in store.names(Kind.KEYS):
        told = _fields(load_key(store, stored.name), stored.name)
        words = (str(told.get(field, "")) for field in ("created", "username", "hostname"))
        yield KeyFile(stored.name, *words)


def remove_key(store: Store, name: str, opened_by: str) -> None:
    """Take one way in away; refused for the one that opened the repository just now."""
    if name == opened_by:
        why = "it is the key that opens the repository just now"
        raise Refusal("repository.key-in-use", f"remove key {name[:8]}", why, "open it with another password first")
    store.remove(Kind.KEYS, name)


def find_key(store: Store, password: str) -> tuple[str, Key]:
    """The first key file that the password opens, and what is in it. A damaged one is passed over."""
    what = "open the repository"
    tried = 0
    damaged: list[Damaged] = []
    names = sorted(each.name for each in store.names(Kind.KEYS))
    for name in names:
        try:
            text = load_key(store, name)
            if (key := open_key(text, password)) is not None:
                return name, key
        except Missing:  # removed since it was listed
            continue
        except Damaged as error:  # half of one that was never finished, or junk, shuts nobody out and costs no try
            damaged.append(error)
            continue
        tried += 1
        if tried == KEYS_TRIED_MAX:
            break
    if damaged and not tried:
        raise damaged[0]
    of = f"its first {tried} of {len(names)} key files" if tried == KEYS_TRIED_MAX else f"its {tried} keys"
    why = f"the password opens none of {of}" if tried else "there is no key file in it"
    if damaged:
        why += f", and {len(damaged)} more cannot be read"
    hint = "is this the password file of this repository?"
    if not tried:
        hint = "ncia repo repair --from its twin brings them back, or ncia repo key recover, where it is in escrow"
    raise NciaError("repository.wrong-password", what, why, hint)


def seal_key(master: Key, password: str, holder: Holder, now: datetime, cost: Scrypt) -> bytes:
    """The bytes of a key file."""
    salt = os.urandom(SALT_BYTES)
    sealed = Sealer(_derived(password, salt, cost)).seal(json.dumps(master.as_json()).encode())
    fields = {
        "created": moment_text(now),
        "username": holder.username,
        "hostname": holder.hostname,
        "kdf": "scrypt",
        "N": cost.n,
        "r": cost.r,
        "p": cost.p,
        "salt": base64.b64encode(salt).decode(),
        "data": base64.b64encode(sealed).decode(),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def open_key(text: bytes, password: str) -> Key | None:
    """The master key, or None where the password is another one."""
    what = "read a key file"
    told = _fields(text, "")
    try:
        cost = Scrypt(int(told["N"]), int(told["r"]), int(told["p"]))
        salt, sealed = (base64.b64decode(told[field], validate=True) for field in ("salt", "data"))
        if told["kdf"] != "scrypt":
            raise Damaged(what, f"it asks for {told['kdf']!r} instead of scrypt")
        derived = _derived(password, salt, cost)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise Damaged(what, f"it is not of the expected form ({error})") from error
    try:
        plain = Sealer(derived).open(sealed, what)
    except Damaged:
        return None
    return Key.of_json(json.loads(plain))


def _derived(password: str, salt: bytes, cost: Scrypt) -> Key:
    if 128 * cost.n * cost.r * cost.p > MEMORY_BYTES_MAX * 4 or 128 * cost.n * cost.r > MEMORY_BYTES_MAX:
        raise ValueError("it asks for more than a gigabyte of memory")
    memory = MEMORY_BYTES_MAX + (1 << 26)
    try:  # two thirds of the time that OpenSSL takes
        raw = crypto_pwhash_scryptsalsa208sha256_ll(
            password.encode(), salt, cost.n, cost.r, cost.p, dklen=KEY_BYTES, maxmem=memory
        )
    except NaClError as error:
        raise ValueError(str(error) or "scrypt refuses its parameters") from error
    return Key.of_bytes(raw)


def _fields(text: bytes, name: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"read key {name[:8]}".strip(), "it is not JSON") from error
    if not isinstance(told, dict):
        raise Damaged(f"read key {name[:8]}".strip(), "it is not a JSON object")
    return told
