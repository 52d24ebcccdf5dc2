"""Cosignatures: a witness' or the peer's word that a head extends every head it vouched for before.

A cosignature is a further line of the signed note: the key's hash, the time as 8 bytes, and an Ed25519 signature over
``cosignature/v1``, ``time N`` and the note's text (https://c2sp.org/tlog-cosignature). What is signed begins otherwise
than any note of ours, so a site may use one key for its own log's heads and for cosigning its peer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Keyring, Signature, Signer, key_hash

COSIGNER = "ncia/cosigner/"
ALGORITHM = b"\x04"  # the signed note's algorithm byte of cosignature/v1
TIME_BYTES = 8
SECONDS_MAX = 253_402_300_799  # the year 9999: what a datetime holds


@dataclass(frozen=True)
class Vouch:
    """``by`` saw the log of ``site`` at ``size`` (at ``at``), an extension of all that it had seen of it before."""

    by: SiteId
    site: SiteId
    size: int
    root: bytes
    at: datetime


class Cosigner:
    """A site's key as it vouches for the logs of others."""

    def __init__(self, site: SiteId, key: Ed25519PrivateKey) -> None:
        self.site = site
        self.public_key = key.public_key()
        self._key = key
        self._key_hash = key_hash(cosigner_of(site), self.public_key, ALGORITHM)

    @classmethod
    def of(cls, signer: Signer) -> Cosigner:
        return cls(signer.site, signer._key)

    def cosign(self, head: Checkpoint, at: datetime) -> Signature:
        """The line to add to ``head``. The caller has seen that it extends every head that it cosigned before."""
        seconds = int(at.timestamp())
        value = self._key.sign(_message(head, seconds))
        return Signature(cosigner_of(self.site), self._key_hash, seconds.to_bytes(TIME_BYTES, "big") + value)


def cosigner_of(site: SiteId) -> str:
    return f"{COSIGNER}{site}"


def vouches(head: Checkpoint, keys: Keyring) -> tuple[Vouch, ...]:
    """Everybody known whose cosignature of ``head`` holds."""
    judged = (_judged(head, each, keys) for each in head.cosignatures)
    return tuple(each for each in judged if isinstance(each, Vouch))


def forged(head: Checkpoint, keys: Keyring) -> tuple[SiteId, ...]:
    """Everybody known in whose name ``head`` bears a line that they did not sign. Unknown cosigners say nothing."""
    judged = ((_judged(head, each, keys), each) for each in head.cosignatures)
    return tuple(_site_of(each) for found, each in judged if found is False)


def sound(head: Checkpoint, keys: Keyring) -> Checkpoint:
    """``head`` with the cosignatures that hold, and no other line."""
    kept = [each for each in head.cosignatures if isinstance(_judged(head, each, keys), Vouch)]
    return Checkpoint(head.site, head.size, head.root, head.signature, tuple(kept))


def newest(found: Iterable[Vouch]) -> dict[SiteId, Vouch]:
    """By voucher: what it vouched for of the greatest size."""
    best: dict[SiteId, Vouch] = {}
    for each in found:
        if each.by not in best or best[each.by].size < each.size:
            best[each.by] = each
    return best


def _judged(head: Checkpoint, line: Signature, keys: Keyring) -> Vouch | bool | None:
    """The vouch; False where the line is not what its name says; None where nobody of that name is known."""
    site = _site_of(line)
    key = keys.get(site)
    if not line.name.startswith(COSIGNER) or key is None or line.key_hash != key_hash(line.name, key, ALGORITHM):
        return None  # a cosigner, or a key of one, that we do not know
    seconds = int.from_bytes(line.value[:TIME_BYTES], "big")
    if site == head.site or seconds > SECONDS_MAX or not _holds(key, line.value[TIME_BYTES:], _message(head, seconds)):
        return False  # nobody vouches for their own log
    return Vouch(site, head.site, head.size, head.root, datetime.fromtimestamp(seconds, UTC))


def _holds(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _site_of(line: Signature) -> SiteId:
    return SiteId(line.name.removeprefix(COSIGNER))


def _message(head: Checkpoint, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{head.text()}".encode()
