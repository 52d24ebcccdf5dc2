"""The vocabulary of people and machines that ask: sessions, tokens, accounts, certificates, requests.

Secrets are never written: of a session or token the SHA-256 (hex) of what its holder shows stands here.
"""

from __future__ import annotations

from typing import Literal

from ncia.core.journal.body import Body


class RequestMade(Body):
    """What was asked and allowed, written before it is done. ``by`` is who proved to be so; over the unix socket it
    is who the caller says. ``credential``: the session or token, empty over the unix socket."""

    KIND = "request.made"
    request: str  # method and path
    by: str
    role: str
    door: Literal["unix", "tcp"]
    credential: str
    why: str


class SessionOpened(Body):
    KIND = "session.opened"
    session: str
    person: str
    sha256: str
    expires_at: str
    key_fingerprint: str  # of the key that signed in; it ends with that key
    how: Literal["key", "link"]


class SessionClosed(Body):
    KIND = "session.closed"
    session: str
    by: str
    reason: str


class SignInRefused(Body):
    KIND = "sign-in.refused"
    source: str  # a network address, or "unix"
    reason: str


class TokenIssued(Body):
    KIND = "token.issued"
    token: str
    name: str
    role: str
    agencies: tuple[str, ...]
    sha256: str
    expires_at: str
    by: str


class TokenRevoked(Body):
    KIND = "token.revoked"
    token: str
    by: str
    reason: str


class AccountSuspended(Body):
    KIND = "account.suspended"
    person: str
    by: str
    reason: str


class AccountRestored(Body):
    KIND = "account.restored"
    person: str
    by: str
    reason: str


class CertificateRevoked(Body):
    """Before its time; ``serial`` is hexadecimal."""

    KIND = "certificate.revoked"
    serial: str
    by: str
    reason: str


BODIES: tuple[type[Body], ...] = (
    RequestMade,
    SessionOpened,
    SessionClosed,
    SignInRefused,
    TokenIssued,
    TokenRevoked,
    AccountSuspended,
    AccountRestored,
    CertificateRevoked,
)
