"""The routes of docs/architecture.md, each a line or two over the platform's ports. Who may call them: ``policy``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ncia.api import people, problems
from ncia.api.asking import (
    PAGE_MAX,
    Ask,
    Limit,
    Patience,
    Start,
    cut,
    demand_dataset,
    demand_vantage,
    object_of,
    own_agency,
    paged,
)
from ncia.api.document import Application
from ncia.api.guard import Guard, caller_of
from ncia.api.jobs import jobs
from ncia.api.machines import HEALTH, RECEIPTS, REPORT, Lane, add, of_machines
from ncia.api.ports import JournalPlatform, Json, Platform
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.views import scope

ENTRIES_PER_ANSWER_MAX = 5000


class AckAsk(Ask):
    by: str = ""
    comment: str = Field(min_length=1)
    minutes: float = Field(gt=0, le=7 * 24 * 60)


class DatasetAsk(Ask):
    dataset: str | None = None
    by: str = ""


class ForgetAsk(Ask):
    """Without ``remove_max`` nothing goes: what would is told."""

    agency: str
    remove_max: int | None = Field(default=None, ge=1)
    reason: str = ""
    by: str = ""


class RunAsk(DatasetAsk):
    emptied: bool = False  # a store of documents may list nothing, or few of many


class BringAsk(DatasetAsk):
    subject: str = ""  # a point's id, or an archive's path; empty: the newest
    burnt: bool = False  # the store may be empty though the journal lists points there


class PlanAsk(Ask):
    runbook: str = "site_failover"
    site: str
    by: str = ""
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
    by: str = ""


class PersonAsk(Ask):
    """``by``: who asks, at the unix socket; over TCP whoever is signed in."""

    by: str = ""


class WriteOffAsk(PersonAsk):
    agency: str
    reason: str = Field(min_length=1)


class StopAsk(PersonAsk):
    reason: str = Field(min_length=1)


def build(platform: Platform) -> FastAPI:
    """The application; wrap it in :class:`ncia.api.doors.Door` once per socket."""
    application = Application(
        title="ncia",
        version=platform.release,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=problems.responses(),
    )
    for routes in (
        watching,
        securing,
        journal,
        protecting,
        recovering,
        telling,
        receiving,
        people.signing_in,
        people.accounts,
    ):
        application.include_router(routes(platform))
    if platform.jobs is not None:
        application.include_router(jobs(platform.jobs))
    application.mount("/static", StaticFiles(directory=platform.static), name="static")
    application.add_middleware(Lane, ways=of_machines(platform))
    application.add_middleware(Guard, platform=platform)
    problems.register(application)
    return application


def build_receipts(platform: Platform) -> FastAPI:
    """What a centre offers the public side, at an address of its own: the intake of receipts and nothing else."""
    application = FastAPI(title="ncia receipts", version=platform.release, openapi_url=None)
    application.include_router(receiving(platform))
    application.add_middleware(Lane, ways=of_machines(platform))
    application.add_middleware(Guard, platform=platform)
    problems.register(application)
    return application


def receiving(platform: Platform) -> APIRouter:
    router = APIRouter(tags=["receipts"])
    add(router, platform, RECEIPTS)
    return router


def watching(platform: Platform) -> APIRouter:
    router = APIRouter(tags=["watching"])
    add(router, platform, HEALTH)

    @router.get("/v1/status")
    def status(request: Request) -> Any:
        return cut(request, platform, platform.status(), scope.STATUS)

    @router.get("/v1/incidents")
    def incidents(request: Request, start: Start = 0, limit: Limit = PAGE_MAX) -> Any:
        return paged("incidents", _incidents(request, platform), start, limit)

    @router.post("/v1/incidents/{incident}/ack")
    def acknowledge(request: Request, incident: str, ask: AckAsk) -> Any:
        by = _by(request, ask.by)
        if caller_of(request).agencies and all(each["id"] != incident for each in _incidents(request, platform)):
            why = f"no system of {by}'s agencies feels it, or it is over"
            raise Refusal("api.agency", problems.what_of(request), why, "ncia alerts")
        return platform.acknowledge(incident, by, ask.comment, ask.minutes)

    add(router, platform, REPORT)
    return router


def securing(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["securing"])

    @router.get("/findings")
    def findings() -> Any:
        return platform.findings.to_json()

    @router.post("/agents/{vantage}/findings")
    async def take(request: Request, vantage: str) -> Any:
        demand_vantage(request, vantage)
        await run_in_threadpool(platform.findings.take, vantage, await object_of(request))
        return {"taken": True}

    return router


def journal(platform: Platform | JournalPlatform) -> APIRouter:
    router = APIRouter(prefix="/v1/journal", tags=["journal"])

    @router.get("/checkpoint")
    async def checkpoint(after: int = -1, patience_seconds: Patience = 0.0) -> Any:
        """The newest head; with ``patience_seconds`` once it is longer than ``after``, or when they have passed."""
        if patience_seconds:
            await platform.journal.grown(after, patience_seconds)
        return JSONResponse(await run_in_threadpool(platform.journal.checkpoint))

    @router.get("/consistency")
    def consistency(first: int, second: int) -> Any:
        return platform.journal.consistency(first, second)

    @router.get("/{site}/held")
    def held(site: str) -> Any:
        return platform.journal.held(SiteId(site))

    @router.get("/{site}/entries")
    def entries(site: str, start: Start = 0, limit: Annotated[int, Query(ge=1)] = 1000) -> Any:
        """Up to ENTRIES_PER_ANSWER_MAX entries, whatever the limit says."""
        found = platform.journal.entries(SiteId(site), start, min(limit, ENTRIES_PER_ANSWER_MAX))
        return {"site": site, "start": start, "entries": list(found)}

    return router


def protecting(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1/backups", tags=["protecting"])

    @router.get("")
    def listed(request: Request) -> Any:
        return cut(request, platform, platform.backups.list(), scope.BACKUPS)

    @router.post("/run")
    def run(request: Request, ask: RunAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.run(ask.dataset, caller_of(request).name_or(ask.by), ask.emptied)

    @router.post("/prove")
    def prove(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.prove(ask.dataset, caller_of(request).name_or(ask.by))

    @router.post("/copy")
    def copy(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.copy(ask.dataset, caller_of(request).name_or(ask.by))

    @router.post("/keep")
    def keep(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.keep(ask.dataset, caller_of(request).name_or(ask.by))

    @router.post("/bring")
    def bring(request: Request, ask: BringAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.bring(ask.dataset, ask.subject, caller_of(request).name_or(ask.by), ask.burnt)

    @router.post("/look")
    def look(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.look(ask.dataset, caller_of(request).name_or(ask.by))

    @router.post("/mend")
    def mend(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.backups.mend(ask.dataset, caller_of(request).name_or(ask.by))

    @router.get("/forget")
    def would_go(request: Request, agency: str) -> Any:
        return platform.backups.forget(own_agency(request, agency), None, "", caller_of(request).name)

    @router.post("/forget")
    def forget(request: Request, ask: ForgetAsk) -> Any:
        if ask.remove_max is not None and not ask.reason.strip():
            raise NciaError("api.no-reason", problems.what_of(request), "nobody says why", "reason: …")
        by = caller_of(request).name_or(ask.by) if ask.remove_max is None else _by(request, ask.by)
        return platform.backups.forget(ask.agency, ask.remove_max, ask.reason, by)

    @router.post("/write-off")
    def write_off(request: Request, ask: WriteOffAsk) -> Any:
        return platform.backups.write_off(ask.agency, ask.reason, _by(request, ask.by))

    @router.post("/rehash")
    def rehash(request: Request, ask: DatasetAsk) -> Any:
        demand_dataset(request, platform, ask.dataset)
        return platform.rehash(ask.dataset, caller_of(request).name_or(ask.by))

    return router


def recovering(platform: Platform) -> APIRouter:
    router = APIRouter(prefix="/v1/recovery", tags=["recovering"])
    desk = platform.recovery

    @router.post("/plans")
    def plan(request: Request, ask: PlanAsk) -> Any:
        return desk.plan(ask.runbook, ask.site, _by(request, ask.by), ask.accept_loss, ask.accept_drift)

    @router.get("/runs")
    def runs(start: Start = 0, limit: Limit = PAGE_MAX) -> Any:
        return paged("runs", desk.runs(), start, limit)

    @router.get("/runs/{run}")
    def run(run: str) -> Any:
        return desk.run(run)

    @router.post("/runs/{run}/approvals")
    def approve(request: Request, run: str, ask: ApprovalAsk) -> Any:
        """The signature is the proof, at any door; who is signed in gives their own."""
        _by(request, ask.person)
        platform.accounts.demand_not_suspended(ask.person, f"approve run {run} as {ask.person}")
        return desk.approve(run, ask.person, ask.plan_hash, ask.expires_at, ask.signature)

    @router.post("/runs/{run}/start")
    def start(request: Request, run: str, ask: PersonAsk) -> Any:
        return desk.start(run, _by(request, ask.by))

    @router.post("/runs/{run}/stop")
    def stop(request: Request, run: str, ask: StopAsk) -> Any:
        return desk.stop(run, _by(request, ask.by), ask.reason)

    @router.post("/runs/{run}/resume")
    def resume(request: Request, run: str, ask: PersonAsk) -> Any:
        return desk.resume(run, _by(request, ask.by))

    @router.post("/runs/{run}/alone")
    def alone(request: Request, run: str, ask: StopAsk) -> Any:
        return desk.swear(run, _by(request, ask.by), ask.reason)

    return router


def telling(platform: Platform) -> APIRouter:
    router = APIRouter(tags=["telling"])

    @router.get("/v1/reports/continuity")
    def continuity(request: Request) -> Any:
        return cut(request, platform, platform.continuity(), scope.CONTINUITY)

    @router.get("/v1/reports/continuity.html", response_class=HTMLResponse)
    def continuity_page() -> str:
        return platform.reports.continuity_page()

    @router.get("/v1/reports/backup")
    def backup(request: Request, day: str = "", agency: str = "") -> Any:
        return platform.reports.backup(day, own_agency(request, agency))

    @router.get("/v1/reports/backup.html", response_class=HTMLResponse)
    def backup_page(request: Request, day: str = "", agency: str = "") -> str:
        return platform.reports.backup_page(day, own_agency(request, agency))

    @router.post("/v1/reports/loss")
    def loss(request: Request, ask: LossAsk) -> Any:
        by, agency = caller_of(request).name_or(ask.by), own_agency(request, ask.agency)
        return platform.loss.report(run=ask.run, site=ask.site, since=ask.since, agency=agency, by=by)

    @router.get("/v1/events")
    async def events(request: Request) -> StreamingResponse:
        """Server-sent events: `status` with the status view; the stream ends when the caller's session does."""

        async def frames() -> Any:
            async for text in platform.events():
                if not await run_in_threadpool(_still, request, platform):
                    return
                if caller_of(request).agencies:
                    text = json.dumps(cut(request, platform, json.loads(text), scope.STATUS), separators=(",", ":"))
                yield f"event: status\ndata: {text}\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(platform.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/", response_class=HTMLResponse)
    def page(request: Request) -> str:
        return platform.page(cut(request, platform, platform.status(), scope.STATUS))

    return router


def _by(request: Request, named: str) -> str:
    return caller_of(request).in_own_name(named, problems.what_of(request))


def _incidents(request: Request, platform: Platform) -> Sequence[Json]:
    told = cut(request, platform, {"incidents": list(platform.incidents())}, scope.INCIDENTS)
    found: Sequence[Json] = told["incidents"]
    return found


def _still(request: Request, platform: Platform) -> bool:
    """Whether the caller of a long answer may still hear it."""
    caller = caller_of(request)
    return not caller.kind or platform.accounts.holds(caller)
