"""Escrow: a repository's key, sealed for several people by their public keys; any one of them alone recovers it.

An escrow is a key file of its own under a random password, and that key file carries, as one more field that restic
passes over, a text in which the password and the bare key file are sealed in the age format. So it lies wherever the
repository lies, at both sites; the text alone, kept elsewhere, opens the repository even when all its keys are gone.
Who the recipients are is always said by the caller: those that a store tells may be an attacker's.
Source of the sealed format: age-encryption.org/v1.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyrage

from backup.repository.faults import Damaged
from backup.repository.format.bounds import KEY_BYTES_MAX
from backup.repository.format.keys import Holder, Scrypt, add_key, find_key, load_key, open_key, remove_key, seal_key
from backup.repository.format.seal import Key, Sealer
from backup.repository.format.settings import HEX_ID, config_of
from backup.repository.format.times import moment_text
from backup.repository.ports import Kind, Missing, Store
from backup.repository.repository import Repository, open_repository
from ncia.core.base.errors import NciaError

FIELD = "escrow"  # of a key file
USERNAME = "escrow"  # as which `key list` shows it
FIRST_LINE = "ncia-escrow 1"
BEGIN, END = "-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----"
RECIPIENTS_MIN = 2  # one may be lost together with the password
TEXT_BYTES_MAX = 64 << 10
OPENED_BY_NONE = ("repository.wrong-password", "repository.damaged")  # the latter where half a key file lies there
SECRET = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]+")
OPEN_BY_HAND = "sed -n '/^-----BEGIN/,/^-----END/p' THIS_FILE | age -d -i IDENTITY_FILE"


@dataclass(frozen=True)
class Recipient:
    """A person, and the public half of a key that only they hold: ``age1…``, or ``ssh-ed25519 …`` or ``ssh-rsa …``."""

    name: str
    public: str


@dataclass(frozen=True)
class Escrow:
    """What an escrow tells without anybody's key. Nothing of it is proven before it is opened."""

    repository: str
    made: str
    recipients: tuple[Recipient, ...]
    sealed: str

    @property
    def text(self) -> str:
        lines = [FIRST_LINE, f"repository: {self.repository}", f"made: {self.made}"]
        lines += [f"recipient: {each.name} {each.public}" for each in self.recipients]
        return "\n".join([*lines, f"open: {OPEN_BY_HAND}", self.sealed.strip(), ""])


@dataclass(frozen=True)
class Opened:
    """What was sealed: the way in. ``repr`` shows none of it."""

    repository: str
    password: str = field(repr=False)
    key_file: str = field(repr=False)


@dataclass(frozen=True)
class Entrance:
    """One of a repository's twins, and a password that opens it."""

    store: Store
    password: str = field(repr=False)


@dataclass(frozen=True)
class Put:
    """An escrow that lies at every twin; ``name`` is its key file's, ``removed`` are those that it follows."""

    escrow: Escrow
    name: str
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Rotated:
    """``removed``: the keys of the old password. ``left``: all others that still open it, but the new one and
    the escrow."""

    put: Put
    removed: tuple[str, ...]
    left: tuple[str, ...]


def put(
    twins: Sequence[Repository],
    recipients: Sequence[Recipient],
    by: Holder,
    now: datetime,
    cost: Scrypt | None = None,
) -> Put:
    """A new escrow at every twin, and only then the older ones go: whenever this ends, each twin has one."""
    first = demand_twins(twins)
    password = secrets.token_urlsafe(32)
    bare = seal_key(first.key, password, Holder(USERNAME, by.hostname), now, cost or Scrypt())
    escrow = _sealed(first.config.id, Opened(first.config.id, password, bare.decode()), recipients, now)
    text = json.dumps({**json.loads(bare), FIELD: escrow.text}, separators=(",", ":")).encode()
    name = hashlib.sha256(text).hexdigest()
    if open_key(text, password) != first.key:
        raise Damaged(f"open escrow {name[:8]} before it is kept", "it does not open: look at this machine's memory")
    for twin in twins:
        twin.store.save(Kind.KEYS, name, text)
        if twin.store.load(Kind.KEYS, name) != text:
            raise Damaged(f"read escrow {name[:8]} back", "the store holds something else")
    removed: dict[str, None] = {}
    for twin in twins:
        for old, _ in list(stored(twin.store)):
            if old not in (name, twin.key_name):
                remove_key(twin.store, old, twin.key_name)
                removed[old] = None
    return Put(escrow, name, tuple(removed))


def rotate(
    ways: Sequence[Entrance],
    password: str,
    recipients: Sequence[Recipient],
    by: Holder,
    now: datetime,
    cost: Scrypt | None = None,
) -> Rotated:
    """Another password instead of the one in use, and a new escrow: first the new ways in, then the old ones go.

    Run again after a crash it goes on: a twin that the old password opens no more is opened by the new one. The master
    key stays: whoever has copied it and the repository still reads that copy."""
    twins = [_opened(way, password) for way in ways]
    demand_twins(twins)
    by_new: list[Repository] = []
    for twin in twins:
        name = _key_of(twin.store, password, twin.key) or add_key(twin.store, twin.key, password, by, now, cost)
        by_new.append(Repository(twin.store, twin.key, twin.config, name))
    made = put(by_new, recipients, by, now, cost)
    removed: dict[str, None] = {}
    left: dict[str, None] = {}
    for way, twin in zip(ways, by_new, strict=True):
        while way.password != password and (old := _key_of(way.store, way.password, twin.key)) is not None:
            remove_key(way.store, old, twin.key_name)  # it may be the password of several keys
            removed[old] = None
        others = (each.name for each in way.store.names(Kind.KEYS))
        left.update((name, None) for name in others if name not in (twin.key_name, made.name))
    return Rotated(made, tuple(removed), tuple(left))


def recover(store: Store, opened: Opened) -> Repository:
    """The repository, opened with what was sealed alone, also where no key file is left. Nothing is written; raises
    where it opens another repository, or none."""
    what = f"open repository {opened.repository[:8]} with what was sealed"
    master = open_key(opened.key_file.encode(), opened.password)
    if master is None:
        raise Damaged(what, "its password does not open its key file")
    try:
        sealed = store.load(Kind.CONFIG, "", 0, KEY_BYTES_MAX)
    except Missing as error:
        raise NciaError("repository.none", what, "there is none at this place", "is this its URL?") from error
    config = config_of(Sealer(master).open(sealed, what))
    if config.id != opened.repository:
        raise NciaError("repository.escrow-of-another", what, f"it opens repository {config.id[:8]}")
    return Repository(store, master, config)


def open_escrow(escrow: Escrow, identity: str) -> Opened:
    """What was sealed, by one person's secret key: an age identity file's text, or an SSH key without a passphrase."""
    what = f"open the escrow of repository {escrow.repository[:8]}"
    try:
        identities: list[Any] = [pyrage.x25519.Identity.from_str(found) for found in SECRET.findall(identity)]
        if not identities:
            identities = [pyrage.ssh.Identity.from_buffer(identity.encode())]
    except pyrage.IdentityError as error:
        hint = "an age identity, or an SSH key without a passphrase; else open it with `age -d` and hand in --opened"
        raise NciaError(
            "repository.escrow-identity", what, f"this is no secret key that opens: {error}", hint
        ) from error
    try:
        plain: bytes = pyrage.decrypt(escrow.sealed.encode(), identities)
    except pyrage.DecryptError as error:
        names = ", ".join(each.name for each in escrow.recipients)
        hint = "is this the secret half of one of their keys?"
        raise NciaError(
            "repository.escrow-closed", what, f"{error}; it is said to be sealed for {names}", hint
        ) from error
    return opened_of(plain, escrow)


def opened_of(plain: bytes, escrow: Escrow | None = None) -> Opened:
    """What ``age -d`` prints, read. ``escrow``: what it was in, whose words must agree."""
    what = "read what was sealed"
    try:
        told = json.loads(plain)
        opened = Opened(*(str(told[name]) for name in ("repository", "password", "key_file")))
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(what, "it is not of the form {repository, password, key_file}") from error
    if escrow is not None and escrow.repository != opened.repository:
        why = f"it is of repository {opened.repository[:8]}, and says of itself {escrow.repository[:8]}"
        raise NciaError("repository.escrow-of-another", what, why, "somebody wrote another name over it")
    return opened


def stored(store: Store) -> Iterator[tuple[str, Escrow]]:
    """The escrows among a repository's keys, each with its key file's name. One that cannot be read is none."""
    for each in list(store.names(Kind.KEYS)):
        try:
            told = json.loads(load_key(store, each.name))
            if isinstance(told, dict) and isinstance(told.get(FIELD), str):
                yield each.name, escrow_of(told[FIELD])
        except (Missing, Damaged, ValueError):
            continue


def escrow_of(text: str) -> Escrow:
    """An escrow's text, parsed; raises :class:`Damaged`."""
    what = "read an escrow"
    if len(text) > TEXT_BYTES_MAX or not text.startswith(f"{FIRST_LINE}\n"):
        raise Damaged(what, f"its first line is not {FIRST_LINE!r}, or it is longer than any")
    head, begin, rest = text.partition(f"\n{BEGIN}\n")  # a line of its own: the words above name it, too
    body, end, _ = rest.partition(f"\n{END}\n")
    told = [line.partition(": ")[::2] for line in head.splitlines()[1:]]
    words = dict(told)
    if not (begin and end and HEX_ID.fullmatch(words.get("repository", ""))):
        raise Damaged(what, "it does not say of which repository it is, or holds nothing sealed")
    people = tuple(Recipient(*value.partition(" ")[::2]) for name, value in told if name == "recipient")
    return Escrow(words["repository"], words.get("made", ""), people, f"{BEGIN}\n{body}\n{END}\n")


def recipients_of(text: str, source: str) -> tuple[Recipient, ...]:
    """``NAME PUBLIC_KEY`` a line; ``#`` begins a comment. At least two people, each with a key of their own."""
    found: list[Recipient] = []
    what = f"read the recipients in {source}"
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, public = line.strip().partition(" ")
        words = public.split()
        recipient = Recipient(name, " ".join(words[:2] if words and words[0].startswith("ssh-") else words))
        _public(recipient, f"{what}, line {number}")
        found.append(recipient)
    demand_recipients(found, what)
    return tuple(found)


def demand_recipients(recipients: Sequence[Recipient], what: str) -> None:
    names, keys = {each.name for each in recipients}, {each.public for each in recipients}
    if len(names) < len(recipients) or len(keys) < len(recipients):
        raise NciaError("repository.escrow-recipients", what, "a name or a key stands there twice")
    if len(recipients) < RECIPIENTS_MIN:
        why = f"{len(recipients)} named, and at least {RECIPIENTS_MIN} people must be able to open it alone"
        raise NciaError("repository.escrow-recipients", what, why, "one a line: NAME age1…, or NAME ssh-ed25519 …")


def demand_twins(twins: Sequence[Repository]) -> Repository:
    """The first of them; refuses where they are not one repository."""
    first = twins[0]
    for twin in twins[1:]:
        if (twin.key, twin.config) != (first.key, first.config):
            why = f"{first.config.id[:8]} and {twin.config.id[:8]} have not the same id and master key"
            raise NciaError("repository.no-twin", "keep one escrow for both", why, "ncia repo init --twin makes one")
    return first


def _sealed(id_: str, opened: Opened, recipients: Sequence[Recipient], now: datetime) -> Escrow:
    what = f"seal the key of repository {id_[:8]}"
    demand_recipients(recipients, what)
    name = hashlib.sha256(opened.key_file.encode()).hexdigest()
    plain = {
        "what": "the way into a restic repository: its password, and the key file that it opens",
        "repository": opened.repository,
        "password": opened.password,
        "key_file_path": f"keys/{name}",  # where restic wants it, should it be there no more
        "key_file": opened.key_file,
    }
    publics = [_public(each, what) for each in recipients]
    sealed: bytes = pyrage.encrypt(json.dumps(plain, indent=1).encode(), publics, armored=True)
    return Escrow(id_, moment_text(now), tuple(recipients), sealed.decode())


def _public(recipient: Recipient, what: str) -> Any:
    try:
        if recipient.public.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(recipient.public)
        return pyrage.x25519.Recipient.from_str(recipient.public)
    except pyrage.RecipientError as error:
        why = f"{recipient.name or 'a line'} has no public key that can be sealed for: {error}"
        raise NciaError("repository.escrow-recipients", what, why, "age1…, ssh-ed25519 … or ssh-rsa …") from error


def _opened(way: Entrance, password: str) -> Repository:
    """A twin, by the password in use, or by the new one where an earlier run has come that far."""
    try:
        return open_repository(way.store, way.password)
    except NciaError as error:
        if error.code not in OPENED_BY_NONE:
            raise
    return open_repository(way.store, password)


def _key_of(store: Store, password: str, master: Key) -> str | None:
    """The key file that a password opens, if any does."""
    try:
        name, key = find_key(store, password)
    except NciaError as error:
        if error.code not in OPENED_BY_NONE:
            raise
        return None
    return name if key == master else None
