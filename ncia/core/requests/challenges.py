"""What a person signs to sign in, and how often somebody may fail to.

A challenge is kept nowhere: it carries its own expiry under a MAC, so that nobody can fill a table by asking for many.
Only one that was used is remembered, until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import Refusal
from ncia.core.journal.canonical import canonical

NAMESPACE = "ncia-sign-in"
PREAMBLE = b"ncia sign-in v1\n"
CHALLENGE_VALID = timedelta(seconds=60)
CHALLENGE_CHARACTERS_MAX = 300
FAILURES_MAX = 10  # by one source within FAILURES_WITHIN; then it waits
FAILURES_WITHIN = timedelta(seconds=60)
SOURCES_MAX = 4096
WHAT = "sign in"


def signed_bytes(*, site: str, challenge: str) -> bytes:
    """Exactly what is signed, under the namespace ``ncia-sign-in``."""
    return PREAMBLE + canonical({"site": site, "challenge": challenge})


class Challenges:
    """Safe to use from many threads."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._key = secrets.token_bytes(32)  # a new controller knows no old challenge
        self._used: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def new(self, now: datetime) -> tuple[str, str]:
        """A challenge and when it expires (RFC 3339)."""
        expires_at = to_text(now + CHALLENGE_VALID)
        told = f"{self._site} {expires_at} {secrets.token_hex(16)}"
        return f"{told} {self._mac(told)}", expires_at

    def use(self, challenge: str, now: datetime) -> None:
        """Take a challenge that was signed; :class:`Refusal` where it is not ours, too old, or was used before."""
        told, _, mac = challenge.rpartition(" ")
        hint = "ask for a new challenge: ncia login"
        if len(challenge) > CHALLENGE_CHARACTERS_MAX or not hmac.compare_digest(mac.encode(), self._mac(told).encode()):
            raise Refusal("sign-in.challenge", WHAT, "the challenge is not one of this controller", hint)
        expires_at = from_text(told.split(" ")[1])
        with self._lock:
            self._used = {used: until for used, until in self._used.items() if until > now}
            if expires_at <= now:
                raise Refusal("sign-in.challenge", WHAT, f"the challenge expired at {to_text(expires_at)}", hint)
            if challenge in self._used:
                raise Refusal("sign-in.challenge", WHAT, "the challenge was used before", hint)
            self._used[challenge] = expires_at

    def _mac(self, told: str) -> str:
        return hmac.new(self._key, told.encode(), hashlib.sha256).hexdigest()


@dataclass
class Attempts:
    """Failed sign-ins by where they came from. Never by person: else anybody could lock out whoever is on call."""

    _failed: OrderedDict[str, deque[datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def demand(self, source: str, now: datetime) -> None:
        """Refuse a source that failed too often of late."""
        with self._lock:
            recent = self._recent(source, now)
            if len(recent) >= FAILURES_MAX:
                wait = (recent[0] + FAILURES_WITHIN - now).total_seconds()
                why = f"{len(recent)} failed from {source} within {FAILURES_WITHIN.total_seconds():g} s"
                raise Refusal("sign-in.too-many", WHAT, why, f"wait {wait:.0f} s")

    def failed(self, source: str, now: datetime) -> None:
        with self._lock:
            self._recent(source, now).append(now)
            self._failed.move_to_end(source)
            while len(self._failed) > SOURCES_MAX:
                self._failed.popitem(last=False)

    def _recent(self, source: str, now: datetime) -> deque[datetime]:
        found = self._failed.setdefault(source, deque(maxlen=FAILURES_MAX))
        while found and found[0] <= now - FAILURES_WITHIN:
            found.popleft()
        return found
