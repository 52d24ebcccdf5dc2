"""Who is signed in, which tokens hold, whose account rests: what the entries about people mean.

Moments stay the text of their entries: RFC 3339 in UTC with microseconds sorts as it is, and folding must not fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import to_text
from ncia.core.journal.entries_people import (
    AccountRestored,
    AccountSuspended,
    CertificateRevoked,
    RequestMade,
    SessionClosed,
    SessionOpened,
    SignInRefused,
    TokenIssued,
    TokenRevoked,
)
from ncia.core.journal.entry import Entry
from ncia.core.state.bounds import without_oldest

if TYPE_CHECKING:
    from ncia.core.state.state import State

SESSIONS_MAX = 10_000
TOKENS_ENDED_MAX = 500
REVOKED_MAX = 10_000


@dataclass(frozen=True)
class Session:
    """A person who signed in; it holds at both sites, until ``opened.expires_at``."""

    opened: SessionOpened
    opened_at: str
    site: str


@dataclass(frozen=True)
class Token:
    """A machine's right to speak; ``revoked`` is None while it holds."""

    issued: TokenIssued
    issued_at: str
    revoked: TokenRevoked | None = None


def session_opened(state: State, entry: Entry, body: SessionOpened) -> None:
    now = to_text(entry.at)
    held = {key: each for key, each in state.sessions.items() if each.opened.expires_at > now}
    for key in list(held)[: max(0, len(held) + 1 - SESSIONS_MAX)]:
        del held[key]
    state.sessions = {**held, body.sha256: Session(body, now, entry.site)}


def session_closed(state: State, entry: Entry, body: SessionClosed) -> None:
    """A session that ran out before is closed all the same: no stray."""
    state.sessions = {key: each for key, each in state.sessions.items() if each.opened.session != body.session}


def token_issued(state: State, entry: Entry, body: TokenIssued) -> None:
    now = to_text(entry.at)

    def ended(token: Token) -> bool:
        return token.revoked is not None or token.issued.expires_at <= now

    state.tokens = {**without_oldest(state.tokens, ended, TOKENS_ENDED_MAX), body.sha256: Token(body, now)}


def token_revoked(state: State, entry: Entry, body: TokenRevoked) -> None:
    found = next((key for key, each in state.tokens.items() if each.issued.token == body.token), None)
    if found is None:
        state.strays += 1
        return
    state.tokens = {**state.tokens, found: replace(state.tokens[found], revoked=body)}


def account_suspended(state: State, entry: Entry, body: AccountSuspended) -> None:
    """The account rests, and its sessions are over for good: they do not come back with it."""
    state.suspended = {**state.suspended, body.person: body}
    state.sessions = {key: each for key, each in state.sessions.items() if each.opened.person != body.person}


def account_restored(state: State, entry: Entry, body: AccountRestored) -> None:
    state.suspended = {person: each for person, each in state.suspended.items() if person != body.person}


def certificate_revoked(state: State, entry: Entry, body: CertificateRevoked) -> None:
    kept = dict(list(state.revoked.items())[-REVOKED_MAX + 1 :])  # the oldest expired long ago
    state.revoked = {**kept, body.serial: body}


def only_told(state: State, entry: Entry, body: RequestMade | SignInRefused) -> None:
    """Kept in the journal for whoever asks later; nothing follows from it now."""


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    RequestMade.KIND: only_told,
    SessionOpened.KIND: session_opened,
    SessionClosed.KIND: session_closed,
    SignInRefused.KIND: only_told,
    TokenIssued.KIND: token_issued,
    TokenRevoked.KIND: token_revoked,
    AccountSuspended.KIND: account_suspended,
    AccountRestored.KIND: account_restored,
    CertificateRevoked.KIND: certificate_revoked,
}
