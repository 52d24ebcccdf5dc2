"""Signing in and out, tokens for machines, accounts that rest: what is asked about people, and who a secret belongs to.

Who somebody is comes from the estate (role, agencies, public keys) and from the journal (sessions, tokens, suspended
accounts), both of which are at both sites: a session opened at one site holds at the other one when the first is gone.
Secrets are told once to whoever they belong to; what is kept of them is their SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import AgencyId, PersonId, SiteId, new_id
from ncia.core.estate.keys import SshKey
from ncia.core.estate.model import Estate, Person, Role
from ncia.core.journal.entries import (
    Body,
)
from ncia.core.journal.entries_people import (
    AccountRestored,
    AccountSuspended,
    CertificateRevoked,
    SessionClosed,
    SessionOpened,
    SignInRefused,
    TokenIssued,
    TokenRevoked,
)
from ncia.core.requests import sshsig
from ncia.core.requests.caller import AGENT, PEER, WORKER, Caller
from ncia.core.requests.certificates import ProcessName
from ncia.core.requests.challenges import NAMESPACE, Attempts, Challenges, signed_bytes
from ncia.core.requests.policy import APPROVALS_MIN, MAY_APPROVE
from ncia.core.state import State

SESSION_PREFIX, TOKEN_PREFIX = "ncia_s_", "ncia_t_"  # what a scanner for leaked secrets looks for
TOKEN_ROLES = (Role.OPERATOR, Role.AUDITOR)  # a machine approves nothing, deletes nothing and makes no accounts
TOKEN_DAYS_MAX = 400
LINK_VALID = timedelta(minutes=10)
LINKS_MAX = 200
REFUSALS_WRITTEN_MAX = 30  # a minute: a stranger's failures must not fill the journal
SIGN_IN = "sign in"


class Writing(Protocol):
    """The site's journal: an entry is durable, and folded into the state, when ``append`` returns."""

    def append(self, body: Body, *, by: str) -> object: ...


@dataclass(frozen=True)
class Opened:
    """A new session; ``secret`` is told this once."""

    secret: str
    session: str
    person: str
    role: str
    expires_at: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Link:
    person: str
    key_fingerprint: str
    expires_at: datetime


class Accounts:
    """One per controller; every method may be called from any thread."""

    def __init__(
        self, site: SiteId, estate: Estate, journal: Writing, states: Callable[[], State], clock: Clock
    ) -> None:
        self._site = site
        self._estate = estate
        self._journal = journal
        self._states = states
        self._clock = clock
        self._challenges = Challenges(site)
        self._attempts = Attempts()
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}  # by SHA-256 of the code
        self._refused: deque[datetime] = deque(maxlen=REFUSALS_WRITTEN_MAX)

    # --- whose secret it is ------------------------------------------------------------------------------------------

    def caller(self, secret: str) -> Caller:
        """Whose session or token it is; :class:`Refusal` where it is nobody's, or not any more."""
        state, now, key = self._states(), to_text(self._clock.now()), _sha256(secret)
        if secret.startswith(SESSION_PREFIX):
            session = state.sessions.get(key)
            if session is not None and session.opened.expires_at > now:
                return self._person(state, session.opened)
        token = state.tokens.get(key) if secret.startswith(TOKEN_PREFIX) else None
        if token is not None and token.revoked is None and token.issued.expires_at > now:
            told = token.issued
            agencies = tuple(AgencyId(each) for each in told.agencies)
            return Caller(f"token:{told.name}", told.role, agencies, told.token, "token", told.expires_at)
        raise Refusal("api.signed-out", "know the caller", "the session or token is unknown or over", "ncia login")

    def holds(self, caller: Caller) -> bool:
        """Whether a caller's session or token is still good: for answers that go on for hours."""
        state, now = self._states(), to_text(self._clock.now())
        if caller.kind == "certificate":
            return caller.credential not in state.revoked
        if caller.expires_at <= now:
            return False
        if caller.kind == "token":
            return any(t.issued.token == caller.credential and t.revoked is None for t in state.tokens.values())
        return any(s.opened.session == caller.credential for s in state.sessions.values())

    def machine(self, name: ProcessName, serial: str) -> Caller:
        """Who a process of ours is, by its verified certificate: the other centre's controller, an agent, a worker."""
        what = "know the caller"
        revoked = self._states().revoked.get(serial)
        if revoked is not None:
            why = f"the certificate {serial} of {name.dns} was revoked by {revoked.by}: {revoked.reason}"
            raise Refusal("api.revoked", what, why, f"ncia pki renew --all, at {name.site}")
        known = name.site in self._estate.sites
        if known and name.process == AGENT:
            return Caller(name.dns, AGENT, credential=serial, kind="certificate", site=name.site)
        if name.process == WORKER and name.site == self._site:
            return Caller(name.dns, WORKER, credential=serial, kind="certificate", site=name.site)
        if name.process == "serve" and name.site in self._estate.centres and name.site != self._site:
            return Caller(name.dns, PEER, credential=serial, kind="certificate", site=name.site)
        why = f"{name.dns} is neither an agent, nor a worker of this site, nor the other centre's controller"
        raise Refusal("api.stranger", what, why)

    def _person(self, state: State, opened: SessionOpened) -> Caller:
        """The estate has the last word: a person or key that left it is signed out by that."""
        person = self._estate.people.get(PersonId(opened.person))
        known = person is not None and any(key.fingerprint == opened.key_fingerprint for key in person.keys)
        if person is None or not known or opened.person in state.suspended:
            why = f"{opened.person}'s account or key is no longer good"
            raise Refusal("api.signed-out", "know the caller", why, "ncia login, or ask an admin")
        return Caller(person.id, person.role, person.agencies, opened.session, "session", opened.expires_at)

    # --- signing in and out ------------------------------------------------------------------------------------------

    def challenge(self) -> dict[str, Any]:
        challenge, expires_at = self._challenges.new(self._clock.now())
        return {"site": self._site, "challenge": challenge, "namespace": NAMESPACE, "expires_at": expires_at}

    def sign_in(self, challenge: str, signature: str, source: str) -> Opened:
        """Open a session for whoever's key signed the challenge (``ssh-keygen -Y sign -n ncia-sign-in``)."""
        now = self._clock.now()
        self._attempts.demand(source, now)
        try:
            self._challenges.use(challenge, now)
            person, key = self._signer(challenge, signature)
            self._demand_active(person.id)
        except Refusal as refusal:
            self._fail(source, refusal, now)
            raise
        return self._open(person, key.fingerprint, "key")

    def link(self, caller: Caller) -> dict[str, Any]:
        """A code with which the same person opens one more session, in a browser; good once, and not for long."""
        opened = next(
            (s.opened for s in self._states().sessions.values() if s.opened.session == caller.credential), None
        )
        if opened is None:
            raise Refusal(
                "sign-in.no-session", "make a sign-in link", "only a person who is signed in can", "ncia login"
            )
        now, code = self._clock.now(), secrets.token_urlsafe(24)
        link = _Link(opened.person, opened.key_fingerprint, now + LINK_VALID)
        with self._lock:
            held = {key: each for key, each in self._links.items() if each.expires_at > now}
            for key in list(held)[: max(0, len(held) + 1 - LINKS_MAX)]:
                del held[key]
            self._links = {**held, _sha256(code): link}
        return {"code": code, "path": f"/sign-in#{code}", "expires_at": to_text(link.expires_at)}

    def exchange(self, code: str, source: str, already: str = "") -> Opened:
        """Open the session that a link was made for; the link is used up. ``already``: who the browser is signed in as:
        nobody becomes somebody else there by following a link."""
        now = self._clock.now()
        self._attempts.demand(source, now)
        with self._lock:
            link = self._links.pop(_sha256(code), None)
        try:
            if link is None or link.expires_at <= now:
                why = "the link was used, is too old, or was made by another controller"
                raise Refusal("sign-in.link", SIGN_IN, why, "ncia login --browser")
            if already not in ("", link.person):
                why = f"the link is {link.person}'s, and {already} is signed in here"
                raise Refusal("sign-in.somebody-else", SIGN_IN, why, "sign out first")
            self._demand_active(link.person)
        except Refusal as refusal:
            self._fail(source, refusal, now)
            raise
        return self._open(self._estate.people[PersonId(link.person)], link.key_fingerprint, "link")

    def sign_out(self, caller: Caller) -> None:
        self._write(SessionClosed(session=caller.credential, by=caller.name, reason="signed out"), caller.name)

    # --- tokens for machines -----------------------------------------------------------------------------------------

    def issue(self, name: str, role: str, agencies: Sequence[str], days: float, by: str) -> dict[str, Any]:
        """A new token; its ``secret`` is told this once."""
        what = f"issue a token for {name}"
        if role not in TOKEN_ROLES:
            known = " or ".join(TOKEN_ROLES)
            raise Refusal("token.role", what, f"{role!r} is no role for a machine", f"role: {known}")
        unknown = sorted(set(agencies) - set(self._estate.agencies))
        if unknown:
            known = ", ".join(sorted(self._estate.agencies))
            raise NciaError("token.no-such-agency", what, f"no agency {', '.join(unknown)}", known)
        now, secret = self._clock.now(), TOKEN_PREFIX + secrets.token_urlsafe(32)
        body = TokenIssued(
            token=new_id("token", now),
            name=name,
            role=role,
            agencies=tuple(agencies),
            sha256=_sha256(secret),
            expires_at=to_text(now + timedelta(days=days)),
            by=by,
        )
        self._write(body, by)
        return {"secret": secret, "token": body.token, "name": name, "role": role, "expires_at": body.expires_at}

    def revoke(self, token: str, by: str, reason: str) -> dict[str, Any]:
        held = {each.issued.token: each for each in self._states().tokens.values()}
        if token not in held:
            known = ", ".join(sorted(name for name, each in held.items() if each.revoked is None)) or "none is held"
            raise NciaError("token.no-such-token", f"revoke {token}", "no such token was issued", known)
        if held[token].revoked is None:
            self._write(TokenRevoked(token=token, by=by, reason=reason), by)
        return {"token": token, "state": "revoked"}

    def tokens(self) -> list[dict[str, Any]]:
        """Every token that is remembered, newest first; never a secret, nor its hash."""
        now = to_text(self._clock.now())
        told = []
        for each in reversed(tuple(self._states().tokens.values())):
            ended = "revoked" if each.revoked else "expired" if each.issued.expires_at <= now else "good"
            facts = each.issued.model_dump(exclude={"sha256"})
            told.append({**facts, "issued_at": each.issued_at, "state": ended})
        return told

    # --- certificates --------------------------------------------------------------------------------------------

    def revoke_certificate(self, serial: str, by: str, reason: str) -> dict[str, Any]:
        """A certificate counts no longer at either site, although it has not expired."""
        if serial not in self._states().revoked:
            self._write(CertificateRevoked(serial=serial, by=by, reason=reason), by)
        return {"serial": serial, "state": "revoked"}

    def revoked_certificates(self) -> list[dict[str, Any]]:
        return [each.model_dump() for each in self._states().revoked.values()]

    # --- accounts ----------------------------------------------------------------------------------------------------

    def people(self) -> list[dict[str, Any]]:
        """Every account of the estate, and what the journal says of it."""
        state, now = self._states(), to_text(self._clock.now())
        told = []
        for person in self._estate.people.values():
            sessions = [
                s for s in state.sessions.values() if s.opened.person == person.id and s.opened.expires_at > now
            ]
            suspended = state.suspended.get(person.id)
            told.append(
                {
                    "id": person.id,
                    "name": person.name,
                    "role": person.role.value,
                    "agencies": list(person.agencies),
                    "keys": [{"kind": key.kind, "fingerprint": key.fingerprint} for key in person.keys],
                    "sessions": len(sessions),
                    "suspended": suspended.reason if suspended else "",
                }
            )
        return told

    def suspend(self, person: str, by: str, reason: str) -> dict[str, Any]:
        """An account rests: its sessions are over, and its approvals do not count."""
        what = f"suspend {person}"
        self._demand_known(person, what)
        suspended = self._states().suspended
        left = [
            p.id for p in self._estate.people.values() if p.role in MAY_APPROVE and p.id not in {*suspended, person}
        ]
        if len(left) < APPROVALS_MIN and self._estate.people[PersonId(person)].role in MAY_APPROVE:
            why = (
                f"only {', '.join(left) or 'nobody'} could then approve a recovery, and it takes {APPROVALS_MIN} people"
            )
            raise Refusal("account.last-approvers", what, why, "restore another account first, or change people.yaml")
        if person not in suspended:
            self._write(AccountSuspended(person=person, by=by, reason=reason), by)
        return {"person": person, "state": "suspended"}

    def restore(self, person: str, by: str, reason: str) -> dict[str, Any]:
        self._demand_known(person, f"restore {person}")
        if person in self._states().suspended:
            self._write(AccountRestored(person=person, by=by, reason=reason), by)
        return {"person": person, "state": "active"}

    def demand_not_suspended(self, person: str, what: str) -> None:
        suspended = self._states().suspended.get(person)
        if suspended is not None:
            why = f"{person}'s account is suspended by {suspended.by}: {suspended.reason}"
            raise Refusal("account.suspended", what, why, f"ncia people restore {person}")

    # --- within ------------------------------------------------------------------------------------------------------

    def _signer(self, challenge: str, signature: str) -> tuple[Person, SshKey]:
        owners = {key.blob: person for person in self._estate.people.values() for key in person.keys}
        known = [key for person in self._estate.people.values() for key in person.keys]
        message = signed_bytes(site=self._site, challenge=challenge)
        try:
            key = sshsig.verify(signature, message, NAMESPACE, known)
        except ValueError as error:
            hint = "sign with the key whose public half stands in people.yaml: ncia login --key FILE"
            raise Refusal("sign-in.signature", SIGN_IN, f"the signature does not count: {error}", hint) from error
        return owners[key.blob], key

    def _demand_active(self, person: str) -> None:
        self.demand_not_suspended(person, SIGN_IN)

    def _demand_known(self, person: str, what: str) -> None:
        if person not in self._estate.people:
            known = ", ".join(sorted(self._estate.people))
            raise NciaError("account.no-such-person", what, f"{person!r} is not in the estate", known)

    def _open(self, person: Person, key_fingerprint: str, how: Literal["key", "link"]) -> Opened:
        now, secret = self._clock.now(), SESSION_PREFIX + secrets.token_urlsafe(32)
        until = to_text(now + timedelta(seconds=self._estate.settings.session_valid_seconds))
        session = new_id("session", now)
        body = SessionOpened(
            session=session,
            person=person.id,
            sha256=_sha256(secret),
            expires_at=until,
            key_fingerprint=key_fingerprint,
            how=how,
        )
        self._write(body, person.id)
        return Opened(secret, session, person.id, person.role.value, until)

    def _fail(self, source: str, refusal: Refusal, now: datetime) -> None:
        self._attempts.failed(source, now)
        with self._lock:
            full = len(self._refused) == REFUSALS_WRITTEN_MAX and now - self._refused[0] < timedelta(minutes=1)
            if not full:
                self._refused.append(now)
        if not full:
            self._write(SignInRefused(source=source, reason=refusal.why[:300]), source)

    def _write(self, body: Body, by: str) -> None:
        self._journal.append(body, by=by)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
