"""Every error as ``application/problem+json`` (RFC 9457): what was attempted, why it failed, what to try."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ncia.core.base.errors import NciaError, Refusal, Unreachable

_log = structlog.get_logger("api")

STATUSES = {
    "api.signed-out": 401,
    "api.no-credential": 401,
    "api.revoked": 401,
    "api.stranger": 403,
    "api.other-vantage": 403,
    "sign-in.signature": 401,
    "sign-in.challenge": 401,
    "sign-in.link": 401,
    "api.role": 403,
    "api.agency": 403,
    "api.other-person": 403,
    "api.cross-site": 403,
    "account.suspended": 403,
    "api.no-such-path": 404,
    "api.method": 405,
    "api.too-long": 413,
    "sign-in.too-many": 429,
}
NOT_FOUND = tuple(
    f".no-such-{what}" for what in ("run", "incident", "agency", "system", "dataset", "job", "token", "person")
)


class Problem(BaseModel):
    """RFC 9457, with a stable ``code`` and what to try (``hint``)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str


def register(application: FastAPI) -> None:
    application.add_exception_handler(NciaError, _ours)
    application.add_exception_handler(RequestValidationError, _bad_request)
    application.add_exception_handler(HTTPException, _of_the_router)
    application.add_exception_handler(Exception, _broken)


def answer(error: NciaError, status: int | None = None) -> JSONResponse:
    status = status or status_of(error)
    headers = {}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="ncia"'
    if status == 429:
        headers["retry-after"] = "60"
    if status == 405:
        headers["allow"] = error.hint
    body = {"type": "about:blank", "status": status, **error.as_problem()}
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


def status_of(error: NciaError) -> int:
    if error.code in STATUSES:
        return STATUSES[error.code]
    if error.code.endswith(NOT_FOUND):
        return 404
    return 409 if isinstance(error, Refusal) else 503 if isinstance(error, Unreachable) else 400


def what_of(request: Request) -> str:
    return f"{request.method} {request.url.path}"


def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NciaError)  # noqa: S101 - the handler is registered for this type alone
    return answer(error)


def _bad_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for this type alone
    faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
    return answer(NciaError("api.bad-request", what_of(request), faults, "see /v1/openapi.json"), 422)


def _of_the_router(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this type alone
    if error.status_code == 405:
        return answer(no_such_method(request, (error.headers or {}).get("Allow", "")))
    if error.status_code == 404:
        return answer(no_such_path(request))
    return answer(NciaError("api.refused", what_of(request), str(error.detail)), error.status_code)


def _broken(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: the log has it all, the answer only where to look. Starlette logs and raises it again."""
    _log.error("api.broken", request=what_of(request), error=type(error).__name__)
    hint = "the controller's log has it, under api.broken"
    return answer(NciaError("api.broken", what_of(request), f"a fault of ours: {type(error).__name__}", hint), 500)


def no_such_path(request: Request) -> NciaError:
    return NciaError("api.no-such-path", what_of(request), "the API has no such path", "see /v1/openapi.json")


def no_such_method(request: Request, known: str) -> NciaError:
    return NciaError("api.method", what_of(request), f"this path does not know {request.method}", known)


def responses() -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: any route may answer a problem."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"default": {"description": "A problem", "content": {"application/problem+json": {"schema": schema}}}}
