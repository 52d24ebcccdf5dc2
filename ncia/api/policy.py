"""Who may ask for what: one table, route to standings. It is the only place that says so, and ``guard`` the only one
that obeys it. A route that is missing here answers nobody but the unix socket, and fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from ncia.core.estate.model import Role
from ncia.core.requests.caller import AGENT, ANONYMOUS, FRONT_DOOR, LOCAL, PEER, PEOPLE, WORKER

Scope = Literal["none", "cut", "whole"]


@dataclass(frozen=True)
class Rule:
    """``may``: standings that are let in. ``scope``: what a caller of some agencies gets: ``none`` says that nothing in
    the answer belongs to anybody, ``cut`` that the route shows them their own systems only, ``whole`` that they are
    refused. ``written``: the request becomes an entry before it is done."""

    may: frozenset[str]
    scope: Scope = "none"
    written: bool = False


def _may(*standings: str, scope: Scope = "none", written: bool = False) -> Rule:
    return Rule(frozenset((LOCAL, *standings)), scope, written)


_HANDS = (Role.OPERATOR, Role.ON_CALL, Role.ADMIN)  # who looks after things
_CARRIERS = (Role.ON_CALL, Role.ADMIN)  # who carries systems to another site; ncia.core.requests.policy.MAY_APPROVE
_BOOKS = (Role.AUDITOR, Role.ADMIN)

POLICY: Mapping[str, Rule] = {
    # watching
    "GET /v1/health": _may(ANONYMOUS, PEER, AGENT, WORKER, FRONT_DOOR, *PEOPLE),
    "GET /v1/status": _may(*PEOPLE, scope="cut"),
    "GET /v1/events": _may(*PEOPLE, scope="cut"),
    "GET /v1/incidents": _may(*PEOPLE, scope="cut"),
    "POST /v1/incidents/{incident}/ack": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/agents/{vantage}/report": _may(AGENT, scope="whole"),
    "GET /v1/findings": _may(*PEOPLE, scope="whole"),
    "POST /v1/agents/{vantage}/findings": _may(AGENT, scope="whole"),
    "GET /metrics": _may(*PEOPLE, scope="whole"),
    # the journal
    "GET /v1/journal/checkpoint": _may(PEER, *_BOOKS, scope="whole"),
    "GET /v1/journal/consistency": _may(PEER, *_BOOKS, scope="whole"),
    "GET /v1/journal/{site}/entries": _may(PEER, *_BOOKS, scope="whole"),
    "GET /v1/journal/{site}/held": _may(PEER, *_BOOKS, scope="whole"),
    "POST /v1/journal/swear": _may(),  # while the controller waits for its own tail: an entry of its own
    # protecting
    "GET /v1/backups": _may(*PEOPLE, scope="cut"),
    "POST /v1/backups/run": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/prove": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/copy": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/keep": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/bring": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/mend": _may(*_HANDS, scope="cut", written=True),
    "GET /v1/backups/forget": _may(*PEOPLE, scope="cut"),
    "POST /v1/backups/forget": _may(Role.RETENTION_OFFICER, scope="whole", written=True),  # nobody who looks after them
    "POST /v1/backups/write-off": _may(Role.RETENTION_OFFICER, scope="whole", written=True),
    "POST /v1/backups/look": _may(*_HANDS, scope="cut", written=True),
    "POST /v1/backups/rehash": _may(*_HANDS, scope="cut", written=True),
    "GET /v1/jobs": _may(*PEOPLE, scope="whole"),
    "POST /v1/jobs/cancel": _may(*_HANDS, scope="whole", written=True),
    "POST /v1/jobs/entries": _may(WORKER, scope="whole"),
    "GET /v1/jobs/retired": _may(WORKER, scope="whole"),
    # recovering
    "POST /v1/recovery/plans": _may(*_HANDS, scope="whole", written=True),
    "GET /v1/recovery/runs": _may(*PEOPLE, scope="whole"),
    "GET /v1/recovery/runs/{run}": _may(*PEOPLE, scope="whole"),
    "POST /v1/recovery/runs/{run}/approvals": _may(*_CARRIERS, scope="whole", written=True),
    "POST /v1/recovery/runs/{run}/start": _may(*_CARRIERS, scope="whole", written=True),
    "POST /v1/recovery/runs/{run}/stop": _may(*_CARRIERS, scope="whole", written=True),
    "POST /v1/recovery/runs/{run}/resume": _may(*_CARRIERS, scope="whole", written=True),
    "POST /v1/recovery/runs/{run}/alone": _may(*_CARRIERS, scope="whole", written=True),
    # telling
    "GET /v1/reports/continuity": _may(*PEOPLE, scope="cut"),
    "GET /v1/reports/continuity.html": _may(*PEOPLE, scope="whole"),
    "GET /v1/reports/backup": _may(*PEOPLE, scope="cut"),
    "GET /v1/reports/backup.html": _may(*PEOPLE, scope="cut"),
    "POST /v1/reports/loss": _may(*_HANDS, *_BOOKS, scope="cut", written=True),
    "POST /v1/receipts": _may(FRONT_DOOR),
    "GET /v1/openapi.json": _may(*PEOPLE),
    "GET /": _may(*PEOPLE, scope="cut"),
    # people; signing in and out writes entries of its own
    "GET /sign-in": _may(ANONYMOUS, *PEOPLE),
    "POST /v1/sign-in/challenges": _may(ANONYMOUS, *PEOPLE),
    "POST /v1/sign-in/sessions": _may(ANONYMOUS, *PEOPLE),
    "POST /v1/sign-in/exchange": _may(ANONYMOUS, *PEOPLE),
    "POST /v1/sign-in/links": _may(*PEOPLE),
    "POST /v1/sign-out": _may(*PEOPLE),
    "GET /v1/me": _may(PEER, AGENT, WORKER, *PEOPLE),
    "GET /v1/people": _may(*_BOOKS, scope="whole"),
    "POST /v1/people/{person}/suspend": _may(Role.ADMIN, written=True),
    "POST /v1/people/{person}/restore": _may(Role.ADMIN, written=True),
    "GET /v1/certificates/revoked": _may(*_BOOKS, scope="whole"),
    "POST /v1/certificates/{serial}/revoke": _may(Role.ADMIN, written=True),
    "GET /v1/tokens": _may(*_BOOKS, scope="whole"),
    "POST /v1/tokens": _may(Role.ADMIN, written=True),
    "POST /v1/tokens/{token}/revoke": _may(Role.ADMIN, written=True),
}
PATHS_KNOWN_MAX = 256
STATIC = "/static/"  # the console's own files say nothing about the estate
STATIC_RULE = Rule(frozenset((LOCAL, ANONYMOUS, *PEOPLE)))


@lru_cache(PATHS_KNOWN_MAX)
def rule_of(method: str, path: str) -> Rule | None:
    """The rule of a request; None where the table has none. Machines ask for the same few paths all day."""
    method = "GET" if method == "HEAD" else method
    if method == "GET" and path.startswith(STATIC):
        return STATIC_RULE
    return next(
        (POLICY[key] for key, (verb, form) in _forms().items() if verb == method and form.fullmatch(path)), None
    )


def methods_of(path: str) -> tuple[str, ...]:
    """Which methods the table knows of a path."""
    return tuple(sorted({verb for verb, form in _forms().values() if form.fullmatch(path)}))


@cache
def _forms() -> dict[str, tuple[str, re.Pattern[str]]]:
    return {key: form_of(key) for key in POLICY}


def form_of(key: str) -> tuple[str, re.Pattern[str]]:
    """The method of a key of the table, and what its paths look like; a group for each `{name}`, which is one part of
    a path, as the router has it."""
    method, path = key.split(" ", 1)
    form = "".join("([^/]+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", path))
    return method, re.compile(form)
