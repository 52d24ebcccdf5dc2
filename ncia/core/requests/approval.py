"""A person's own word for one plan: the bytes that are signed, signing them, and telling a forged word from a real one.

A private key never leaves the person's machine: :func:`sign` runs on the command line, the server only verifies. Keys
are OpenSSH Ed25519 keys, as ``ssh-keygen -t ed25519`` makes them; those of agents and hardware authenticators
(``-t ed25519-sk``) sign through ``ssh-keygen -Y sign -n ncia-approval``.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import PersonId
from ncia.core.estate.keys import PLAIN, SshKey, key_of_line
from ncia.core.estate.model import Person
from ncia.core.journal.canonical import canonical
from ncia.core.requests import sshsig
from ncia.core.requests.policy import MAY_APPROVE

PREAMBLE = b"ncia approval v1\n"
NAMESPACE = "ncia-approval"
KEY_HINT = "ssh-keygen -t ed25519, and hand its public half in to the estate's people.yaml"


@dataclass(frozen=True)
class Approval:
    """What a person signed: this plan of this run, until ``expires_at`` (RFC 3339). ``signature`` is the base64 of a
    plain Ed25519 signature, or the armoured text of ``ssh-keygen -Y sign``."""

    run: str
    plan_hash: str
    person: str
    expires_at: str
    signature: str


def signed_bytes(*, run: str, plan_hash: str, person: str, expires_at: str) -> bytes:
    """Exactly what is signed: a preamble of its own kind, so that the signature is good for nothing else."""
    told = {"run": run, "plan_hash": plan_hash, "person": person, "expires_at": expires_at}
    return PREAMBLE + canonical(told)


def sign(key: bytes, *, run: str, plan_hash: str, person: str, expires_at: str, passphrase: bytes | None = None) -> str:
    """The base64 signature of ``person`` with their OpenSSH private ``key``."""
    message = signed_bytes(run=run, plan_hash=plan_hash, person=person, expires_at=expires_at)
    return base64.b64encode(private_key(key, passphrase).sign(message)).decode("ascii")


def private_key(key: bytes, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    what = "read the private key"
    try:
        found = load_ssh_private_key(key, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NciaError("approval.bad-key", what, str(error), KEY_HINT) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise NciaError("approval.bad-key", what, f"it is a {type(found).__name__}, not Ed25519", KEY_HINT)
    return found


def is_encrypted(key: bytes) -> bool:
    """Whether a private key asks for a passphrase."""
    try:
        load_ssh_private_key(key, None)
    except TypeError:
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return False


def public_key(line: str) -> Ed25519PublicKey:
    """The key of an OpenSSH ``ssh-ed25519 AAAA…`` line; ``ValueError`` where it is none."""
    try:
        found = load_ssh_public_key(line.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return found


def key_line(key: bytes, passphrase: bytes | None = None) -> str:
    """The public half of a private key as an OpenSSH line, without a comment."""
    public = private_key(key, passphrase).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def fingerprint(line: str) -> str:
    """As ``ssh-keygen -l`` prints it: ``SHA256:`` and the base64 of the hash, without padding."""
    return key_of_line(line).fingerprint


def person_of(people: Mapping[PersonId, Person], line: str) -> Person:
    """Whose public key ``line`` is; comments do not count. :class:`Refusal` where it is nobody's."""
    wanted = line.split()[:2]
    for person in people.values():
        if any(key.line.split() == wanted for key in person.keys):
            return person
    what, why = "find the owner of the key", f"{fingerprint(line)} belongs to nobody in the estate"
    raise Refusal("approval.unknown-key", what, why, "use the key whose public half stands in people.yaml")


def verify(approval: Approval, people: Mapping[PersonId, Person], *, now: datetime, valid_seconds_max: float) -> Person:
    """The person who gave ``approval``, or a :class:`Refusal` in one clear sentence.

    Judges the person, the role, the key, the signature and the expiry. That the plan is the run's own, and that it is
    another person than the first one, is for whoever knows the run (:mod:`recovery.gates`).
    """
    what = f"approve run {approval.run} as {approval.person}"
    person = people.get(PersonId(approval.person))
    if person is None:
        why = f"{approval.person!r} is not in the estate"
        raise Refusal("approval.unknown-person", what, why, f"one of {', '.join(_approvers(people))}")
    if person.role not in MAY_APPROVE:
        why = f"{person.name} is {person.role}; only {' or '.join(MAY_APPROVE)} may approve"
        raise Refusal("approval.role", what, why, f"ask one of {', '.join(_approvers(people))}")
    _demand_signature(approval, person, what)
    _demand_in_time(approval, what, now, valid_seconds_max)
    return person


def signing_key(approval: Approval, person: Person) -> SshKey:
    """With which of their keys ``person`` signed ``approval``; ``ValueError`` where it was none of them."""
    message = signed_bytes(
        run=approval.run, plan_hash=approval.plan_hash, person=approval.person, expires_at=approval.expires_at
    )
    if approval.signature.startswith(sshsig.BEGIN):
        return sshsig.verify(approval.signature, message, NAMESPACE, person.keys)
    signature = base64.b64decode(approval.signature, validate=True)
    for key in person.keys:
        if key.kind != PLAIN:
            continue  # an authenticator never signs the bytes as they are
        with contextlib.suppress(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
            return key
    raise ValueError("none of their keys made it")


def _demand_signature(approval: Approval, person: Person, what: str) -> None:
    try:
        if not person.keys:
            why = f"the estate holds no public key of {person.name}"
            raise Refusal("approval.no-key", what, why, KEY_HINT)
    except ValueError as error:
        raise Refusal("approval.no-key", what, f"the estate's key is unusable: {error}", KEY_HINT) from error
    try:
        signing_key(approval, person)
    except ValueError as error:
        why = f"the signature is not {person.name}'s over this plan, run, person and expiry"
        raise Refusal("approval.forged", what, why, "sign again: ncia recover approve RUN --key PATH") from error


def _demand_in_time(approval: Approval, what: str, now: datetime, valid_seconds_max: float) -> None:
    try:
        expires = from_text(approval.expires_at)
    except ValueError as error:
        raise Refusal("approval.expiry", what, f"no moment: expires_at {approval.expires_at!r}", "RFC 3339") from error
    left = (expires - now).total_seconds()
    if left <= 0:
        why = f"it expired at {approval.expires_at}, and by the clock here it is {to_text(now)}"
        raise Refusal("approval.expired", what, why, "look at the plan again and sign anew")
    if left > valid_seconds_max + 60:  # a minute for a clock that is not ours
        why = f"it would be good until {approval.expires_at}; an approval is good for {valid_seconds_max:g} s"
        why += f", and by the clock here it is {to_text(now)}"
        raise Refusal("approval.too-long", what, why, "sign with a shorter expiry")


def _approvers(people: Mapping[PersonId, Person]) -> list[str]:
    return sorted(person.id for person in people.values() if person.role in MAY_APPROVE)
