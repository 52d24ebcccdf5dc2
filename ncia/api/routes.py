"""The routes of docs/architecture.md, each a line or two over the platform's ports."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ncia.api.doors import demand_local, demand_token
from ncia.api.jobs import jobs
from ncia.api.ports import JournalPlatform, Platform
from ncia.core.base.errors import NciaError, NoQuorum, Refusal, Unreachable
from ncia.core.base.ids import SiteId

ENTRIES_PER_ANSWER_MAX = 5000
NOT_FOUND = tuple(f".no-such-{what}" for what in ("run", "incident", "agency", "system", "dataset", "job"))
RECEIPTS_BYTES_MAX = 1024 * 1024


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AckAsk(Ask):
    by: str = Field(min_length=1)
    comment: str = Field(min_length=1)
    minutes: float = Field(gt=0, le=7 * 24 * 60)


class DatasetAsk(Ask):
    dataset: str | None = None


class PlanAsk(Ask):
    runbook: str = "site_failover"
    site: str
    by: str = Field(min_length=1)
    accept_loss: dict[str, str] = Field(default_factory=dict)
    accept_drift: dict[str, str] = Field(default_factory=dict)


class ApprovalAsk(Ask):
    person: str
    plan_hash: str
    expires_at: str
    signature: str


class LossAsk(Ask):
    run: str = ""
    site: str = ""
    since: str = ""
    agency: str = ""
    by: str = "operator"


class PersonAsk(Ask):
    by: str = Field(min_length=1)


class StopAsk(PersonAsk):
    reason: str = Field(min_length=1)


def build(platform: Platform) -> FastAPI:
    """The application; wrap it in :class:`ncia.api.doors.Door` once per socket."""
    application = FastAPI(title="ncia", version=platform.release, openapi_url="/v1/openapi.json", redoc_url=None)
    for routes in (watching, securing, journal, protecting, recovering, telling, receiving):
        application.include_router(routes(platform))
    if platform.jobs is not None:
        application.include_router(jobs(platform.jobs, platform.tokens))
    application.mount("/static", StaticFiles(directory=platform.static), name="static")
    tell_errors(application)
    return application


def tell_errors(application: FastAPI) -> None:
    """Errors as problem+json."""
    application.add_exception_handler(NciaError, _problem)
    application.add_exception_handler(RequestValidationError, _bad_request)


def build_receipts(platform: Platform) -> FastAPI:
    """What a centre offers the public side, at an address of its own: the intake of receipts and nothing else."""
    application = FastAPI(title="ncia receipts", version=platform.release, openapi_url=None, redoc_url=None)
    application.include_router(receiving(platform))
    application.add_exception_handler(NciaError, _problem)
    return application


def receiving(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["receipts"])

    @router.post("/receipts")
    async def receipts(request: Request) -> Any:
        demand_token(request, platform.tokens, "receipts")
        told = await _object(request, RECEIPTS_BYTES_MAX)
        return await run_in_threadpool(platform.loss.take, told)

    return router


def watching(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["watching"])

    @router.get("/health")
    def health() -> Any:
        return {"site": platform.site, "release": platform.release, "journal_size": platform.journal.size()}

    @router.get("/status")
    def status() -> Any:
        return platform.status()

    @router.get("/incidents")
    def incidents() -> Any:
        return {"incidents": list(platform.incidents())}

    @router.post("/incidents/{incident}/ack")
    def acknowledge(request: Request, incident: str, ask: AckAsk) -> Any:
        demand_local(request)
        return platform.acknowledge(incident, ask.by, ask.comment, ask.minutes)

    @router.post("/agents/{vantage}/report")
    async def report(request: Request, vantage: str) -> Any:
        demand_token(request, platform.tokens, "agent")
        body = await request.json()
        await run_in_threadpool(platform.report, vantage, body)
        return {"taken": True}

    return router


def securing(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["securing"])

    @router.get("/findings")
    def findings() -> Any:
        return platform.findings.to_json()

    @router.post("/agents/{vantage}/findings")
    async def take(request: Request, vantage: str) -> Any:
        demand_token(request, platform.tokens, "agent")
        body = await request.json()
        await run_in_threadpool(platform.findings.take, vantage, body)
        return {"taken": True}

    return router


def journal(platform: Platform | JournalPlatform) -> APIRouter:
    router = APIRouter(prefix="/v1/journal", tags=["journal"])

    @router.get("/checkpoint")
    def checkpoint(request: Request) -> Any:
        demand_token(request, platform.tokens, "peer")
        return platform.journal.checkpoint()

    @router.get("/consistency")
    def consistency(request: Request, first: int, second: int) -> Any:
        demand_token(request, platform.tokens, "peer")
        return platform.journal.consistency(first, second)

    @router.get("/{site}/held")
    def held(request: Request, site: str) -> Any:
        demand_token(request, platform.tokens, "peer")
        return platform.journal.held(SiteId(site))

    @router.get("/{site}/entries")
    def entries(request: Request, site: str, start: int = 0, limit: int = 1000) -> Any:
        demand_token(request, platform.tokens, "peer")
        found = platform.journal.entries(SiteId(site), start, min(limit, ENTRIES_PER_ANSWER_MAX))
        return {"site": site, "start": start, "entries": list(found)}

    return router


def protecting(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1/backups", tags=["protecting"])

    @router.get("")
    def listed() -> Any:
        return platform.backups.list()

    @router.post("/run")
    def run(request: Request, ask: DatasetAsk) -> Any:
        demand_local(request)
        return platform.backups.run(ask.dataset)

    @router.post("/prove")
    def prove(request: Request, ask: DatasetAsk) -> Any:
        demand_local(request)
        return platform.backups.prove(ask.dataset)

    @router.post("/rehash")
    def rehash(request: Request, ask: DatasetAsk) -> Any:
        demand_local(request)
        return platform.rehash(ask.dataset)

    return router


def recovering(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1/recovery", tags=["recovering"])
    desk = platform.recovery

    @router.post("/plans")
    def plan(request: Request, ask: PlanAsk) -> Any:
        demand_local(request)
        return desk.plan(ask.runbook, ask.site, ask.by, ask.accept_loss, ask.accept_drift)

    @router.get("/runs")
    def runs() -> Any:
        return {"runs": list(desk.runs())}

    @router.get("/runs/{run}")
    def run(run: str) -> Any:
        return desk.run(run)

    @router.post("/runs/{run}/approvals")  # at any door: the signature is the proof
    def approve(run: str, ask: ApprovalAsk) -> Any:
        return desk.approve(run, ask.person, ask.plan_hash, ask.expires_at, ask.signature)

    @router.post("/runs/{run}/start")
    def start(request: Request, run: str, ask: PersonAsk) -> Any:
        demand_local(request)
        return desk.start(run, ask.by)

    @router.post("/runs/{run}/stop")
    def stop(request: Request, run: str, ask: StopAsk) -> Any:
        demand_local(request)
        return desk.stop(run, ask.by, ask.reason)

    @router.post("/runs/{run}/resume")
    def resume(request: Request, run: str, ask: PersonAsk) -> Any:
        demand_local(request)
        return desk.resume(run, ask.by)

    @router.post("/runs/{run}/alone")
    def alone(request: Request, run: str, ask: StopAsk) -> Any:
        demand_local(request)
        return desk.swear(run, ask.by, ask.reason)

    return router


def telling(platform: Platform) -> APIRouter:
    router = APIRouter(tags=["telling"])

    @router.get("/v1/reports/continuity")
    def continuity() -> Any:
        return platform.continuity()

    @router.get("/v1/reports/continuity.html", response_class=HTMLResponse)
    def continuity_page() -> str:
        return platform.reports.continuity_page()

    @router.get("/v1/reports/backup")
    def backup(day: str = "", agency: str = "") -> Any:
        return platform.reports.backup(day, agency)

    @router.get("/v1/reports/backup.html", response_class=HTMLResponse)
    def backup_page(day: str = "", agency: str = "") -> str:
        return platform.reports.backup_page(day, agency)

    @router.post("/v1/reports/loss")
    def loss(request: Request, ask: LossAsk) -> Any:
        demand_local(request)
        return platform.loss.report(run=ask.run, site=ask.site, since=ask.since, agency=ask.agency, by=ask.by)

    @router.get("/v1/events")
    async def events() -> StreamingResponse:
        async def frames() -> Any:
            async for text in platform.events():
                yield f"event: status\ndata: {text}\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(platform.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/", response_class=HTMLResponse)
    def page() -> str:
        return platform.page()

    return router


async def _object(request: Request, bytes_max: int) -> dict[str, Any]:
    """The body as a JSON object of bounded size."""
    what, body = f"{request.method} {request.url.path}", bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise NciaError("api.too-large", what, f"the body is larger than {bytes_max} bytes", "send less at once")
    try:
        told = json.loads(body)
    except ValueError as error:
        raise NciaError("api.bad-request", what, f"the body is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise NciaError("api.bad-request", what, "the body is not a JSON object")
    return told


def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NciaError)  # noqa: S101 - the handler is registered for this type alone
    status = 409 if isinstance(error, Refusal) else 503 if isinstance(error, Unreachable | NoQuorum) else 400
    if error.code in ("api.local-only", "api.bad-token"):
        status = 403
    elif error.code.endswith(NOT_FOUND):
        status = 404
    body = {"type": "about:blank", "status": status, **error.as_problem()}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def _bad_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for this type alone
    faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
    refused = NciaError("api.bad-request", f"{request.method} {request.url.path}", faults, "see /v1/openapi.json")
    body = {"type": "about:blank", "status": 422, **refused.as_problem()}
    return JSONResponse(body, status_code=422, media_type="application/problem+json")
