"""Signing in and out, who I am, accounts and tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from ncia.api import problems
from ncia.api.asking import Ask, Limit, Start, paged, source_of
from ncia.api.doors import DOOR, UNIX
from ncia.api.guard import COOKIE, caller_of
from ncia.api.ports import Platform
from ncia.core.base.errors import Refusal
from ncia.core.requests.accounts import TOKEN_DAYS_MAX
from ncia.core.requests.challenges import CHALLENGE_CHARACTERS_MAX
from ncia.core.requests.sshsig import CHARACTERS_MAX

Name = Annotated[str, Field(min_length=1, max_length=100)]
Serial = Annotated[str, Path(pattern=r"^[0-9a-f]{1,40}$", description="Hexadecimal, as `ncia pki show` tells it.")]
Reason = Annotated[str, Field(min_length=1, max_length=500)]


class SignInAsk(Ask):
    challenge: str = Field(min_length=1, max_length=CHALLENGE_CHARACTERS_MAX)
    signature: str = Field(min_length=1, max_length=CHARACTERS_MAX, description="As `ssh-keygen -Y sign` prints it.")


class ExchangeAsk(Ask):
    code: str = Field(min_length=1, max_length=100)


class TokenAsk(Ask):
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")
    role: str
    agencies: list[Name] = Field(default_factory=list, max_length=1000)
    days: float = Field(gt=0, le=TOKEN_DAYS_MAX)
    by: str = ""


class WhyAsk(Ask):
    reason: Reason
    by: str = ""


def signing_in(platform: Platform) -> APIRouter:
    router = APIRouter(tags=["signing in"])
    accounts = platform.accounts

    @router.post("/v1/sign-in/challenges")
    def challenge() -> Any:
        """Something to sign, good for a minute; see `docs/architecture.md` for the bytes."""
        return accounts.challenge()

    @router.post("/v1/sign-in/sessions")
    def sign_in(request: Request, ask: SignInAsk) -> Any:
        """A session for the owner of the key that signed the challenge; its secret is told this once."""
        return accounts.sign_in(ask.challenge, ask.signature, source_of(request)).to_json()

    @router.post("/v1/sign-in/links")
    def link(request: Request) -> Any:
        """A one-time code that opens a session of the same person in a browser."""
        return accounts.link(caller_of(request))

    @router.post("/v1/sign-in/exchange")
    def exchange(request: Request, ask: ExchangeAsk) -> JSONResponse:
        """Trade a code for the console's cookie."""
        caller = caller_of(request)
        opened = accounts.exchange(ask.code, source_of(request), caller.name if caller.is_person else "")
        answer = JSONResponse({"person": opened.person, "role": opened.role, "expires_at": opened.expires_at})
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, opened.secret, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    @router.post("/v1/sign-out")
    def sign_out(request: Request) -> JSONResponse:
        caller = caller_of(request)
        if not caller.is_person:
            why = "only a session can end; a token is revoked"
            raise Refusal("sign-in.no-session", problems.what_of(request), why, "ncia token revoke TOKEN")
        platform.accounts.sign_out(caller)
        answer = JSONResponse({"signed_out": caller.name})
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    @router.get("/sign-in", response_class=HTMLResponse)
    def page() -> str:
        return platform.sign_in_page()

    @router.get("/v1/me")
    def me(request: Request) -> Any:
        caller = caller_of(request)
        return {
            "name": caller.name,
            "role": caller.standing,
            "agencies": list(caller.agencies),
            "kind": caller.kind,
            "credential": caller.credential,
            "expires_at": caller.expires_at,
            "site": platform.site,
            "console": platform.console,
            "door": "unix" if request.scope.get(DOOR) == UNIX else "tcp",
        }

    return router


def accounts(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["accounts"])
    desk = platform.accounts

    @router.get("/people")
    def people(start: Start = 0, limit: Limit = 100) -> Any:
        return paged("people", desk.people(), start, limit)

    @router.post("/people/{person}/suspend")
    def suspend(request: Request, person: str, ask: WhyAsk) -> Any:
        return desk.suspend(person, _by(request, ask.by), ask.reason)

    @router.post("/people/{person}/restore")
    def restore(request: Request, person: str, ask: WhyAsk) -> Any:
        return desk.restore(person, _by(request, ask.by), ask.reason)

    @router.get("/certificates/revoked")
    def revoked(start: Start = 0, limit: Limit = 100) -> Any:
        return paged("revoked", desk.revoked_certificates(), start, limit)

    @router.post("/certificates/{serial}/revoke")
    def revoke_certificate(request: Request, serial: Serial, ask: WhyAsk) -> Any:
        return desk.revoke_certificate(serial, _by(request, ask.by), ask.reason)

    @router.get("/tokens")
    def tokens(start: Start = 0, limit: Limit = 100) -> Any:
        return paged("tokens", desk.tokens(), start, limit)

    @router.post("/tokens")
    def issue(request: Request, ask: TokenAsk) -> Any:
        """A token for a machine; its secret is told this once."""
        return desk.issue(ask.name, ask.role, ask.agencies, ask.days, _by(request, ask.by))

    @router.post("/tokens/{token}/revoke")
    def revoke(request: Request, token: str, ask: WhyAsk) -> Any:
        return desk.revoke(token, _by(request, ask.by), ask.reason)

    return router


def _by(request: Request, named: str) -> str:
    return caller_of(request).in_own_name(named, problems.what_of(request))
