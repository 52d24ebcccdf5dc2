"""Checkpoints: a log's head, signed by its site, as a C2SP signed note.

The text is ``origin``, size and base64 root, a line each, then a blank line and one line per signature
(https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note). Further signature lines are cosignatures (``cosign``),
kept as they came.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.tree import HASH_BYTES

ORIGIN = "ncia/journal/"
ED25519 = b"\x01"  # the signed note's algorithm byte
SIGNATURE_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<value>[A-Za-z0-9+/]+=*)")
NOTE_BYTES_MAX = 16_384

Keyring = Mapping[SiteId, Ed25519PublicKey]


@dataclass(frozen=True)
class Signature:
    """One signature line: the signer's name, the first 4 bytes of its key's hash, and the signature itself."""

    name: str
    key_hash: bytes
    value: bytes

    def line(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_hash + self.value).decode()}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The head of ``site``'s log at ``size``; ``cosignatures`` are other parties', valid or not."""

    site: SiteId
    size: int
    root: bytes
    signature: Signature
    cosignatures: tuple[Signature, ...] = ()

    @property
    def origin(self) -> str:
        return origin_of(self.site)

    def text(self) -> str:
        """What is signed."""
        return head_text(self.site, self.size, self.root)

    def with_cosignatures(self, cosignatures: Iterable[Signature]) -> Checkpoint:
        """The same head with these lines too; of one cosigner the last line counts."""
        by_name = {(each.name, each.key_hash): each for each in (*self.cosignatures, *cosignatures)}
        return replace(self, cosignatures=tuple(by_name[key] for key in sorted(by_name)))

    def note(self) -> str:
        """The whole signed note."""
        return self.text() + "\n" + "".join(each.line() for each in (self.signature, *self.cosignatures))


class Signer:
    """A site's Ed25519 key, which signs the heads of its own log; ``cosign`` has it vouch for the peer's."""

    def __init__(self, site: SiteId, key: Ed25519PrivateKey) -> None:
        self.site = site
        self.public_key = key.public_key()
        self._key = key
        self._key_hash = key_hash(origin_of(site), self.public_key)

    def sign(self, size: int, root: bytes) -> Checkpoint:
        value = self._key.sign(head_text(self.site, size, root).encode())
        return Checkpoint(self.site, size, root, Signature(origin_of(self.site), self._key_hash, value))


def origin_of(site: SiteId) -> str:
    return f"{ORIGIN}{site}"


def head_text(site: SiteId, size: int, root: bytes) -> str:
    return f"{origin_of(site)}\n{size}\n{base64.b64encode(root).decode()}\n"


def key_hash(name: str, key: Ed25519PublicKey, algorithm: bytes = ED25519) -> bytes:
    return sha256(name.encode() + b"\n" + algorithm + raw_key(key)).digest()[:4]


def raw_key(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def checkpoint_from_note(note: str) -> Checkpoint:
    """Read a signed note; nothing is verified. Raises :class:`NciaError` where it is not one of ours."""
    text, blank, lines = note.partition("\n\n")
    head = text.split("\n")
    signatures = [SIGNATURE_LINE.fullmatch(line) for line in lines.splitlines()]
    if len(note) > NOTE_BYTES_MAX or not blank or len(head) < 3 or not head[0].startswith(ORIGIN):
        raise _unreadable("it is not a checkpoint of a journal")
    if len(head) > 3:
        raise _unreadable("it has extension lines, which nothing here writes")
    try:
        size, root = int(head[1]), base64.b64decode(head[2], validate=True)
        found = [_signature(each) for each in signatures]
    except (ValueError, binascii.Error) as error:
        raise _unreadable(str(error)) from error
    own = [each for each in found if each.name == head[0]]
    if size < 0 or str(size) != head[1] or len(root) != HASH_BYTES or len(own) != 1:
        raise _unreadable("its size, root or own signature is malformed")
    others = tuple(each for each in found if each.name != head[0])
    return Checkpoint(SiteId(head[0].removeprefix(ORIGIN)), size, root, own[0], others)


def signed_by(checkpoint: Checkpoint, keys: Keyring) -> bool:
    """Whether the checkpoint's own signature is its site's; false too where the site's key is not known."""
    key = keys.get(checkpoint.site)
    if key is None or checkpoint.signature.key_hash != key_hash(checkpoint.origin, key):
        return False
    try:
        key.verify(checkpoint.signature.value, checkpoint.text().encode())
    except InvalidSignature:
        return False
    return True


def load_signer(site: SiteId, path: Path) -> Signer:
    """The site's signer from its PEM file (``secrets/journal_key``)."""
    return Signer(site, load_key(path))


def load_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        what = f"read the journal's key {path}"
        raise NciaError("journal.no-key", what, type(error).__name__, "an Ed25519 key in PEM, mode 0600") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NciaError("journal.no-key", f"read the journal's key {path}", "it is not Ed25519", "make an Ed25519 key")
    return key


def load_keyring(path: Path) -> dict[SiteId, Ed25519PublicKey]:
    """The signers' public keys from ``peer_keys.yaml``: site to base64 of the raw key."""
    what = f"read the journal signers' keys {path}"
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            SiteId(site): Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
            for site, key in listed.items()
        }
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        hint = "a map of site to base64 of its raw Ed25519 public key"
        raise NciaError("journal.no-keyring", what, str(error), hint) from error


def signature_from_line(line: str) -> Signature:
    """One signature line, without its end; raises :class:`NciaError` where it is not one."""
    try:
        return _signature(SIGNATURE_LINE.fullmatch(line))
    except (ValueError, binascii.Error) as error:
        raise _unreadable(str(error)) from error


def _signature(match: re.Match[str] | None) -> Signature:
    if match is None:
        raise ValueError("a signature line is malformed")
    value = base64.b64decode(match["value"], validate=True)
    return Signature(match["name"], value[:4], value[4:])


def _unreadable(why: str) -> NciaError:
    return NciaError("journal.bad-checkpoint", "read a checkpoint", why, "fetch it again from its site")
