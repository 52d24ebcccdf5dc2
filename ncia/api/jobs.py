"""The site's queue of jobs over HTTP: for people who look and cancel, and for workers, who write through us."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ncia.api.doors import demand_local, demand_token
from ncia.api.ports import JobsDesk, Tokens


class CancelAsk(BaseModel):
    model_config = ConfigDict(extra="forbid")
    job: str = Field(min_length=1)
    by: str = Field(default="operator", min_length=1)


class EntryAsk(BaseModel):
    """An entry that a job writes under its fence."""

    model_config = ConfigDict(extra="forbid")
    job: str
    fence: int
    by: str
    kind: str
    version: int
    body: dict[str, Any]


def jobs(desk: JobsDesk, tokens: Tokens) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.get("")
    def listed() -> Any:
        return desk.list()

    @router.post("/cancel")
    def cancel(request: Request, ask: CancelAsk) -> Any:
        demand_local(request)
        return desk.cancel(ask.job, ask.by)

    @router.post("/entries")
    def append(request: Request, ask: EntryAsk) -> Any:
        demand_token(request, tokens, "worker")
        desk.append(ask.job, ask.fence, ask.by, ask.kind, ask.version, ask.body)
        return {"written": True}

    @router.get("/retired")
    def retired(request: Request, dataset: str, store_site: str) -> Any:
        demand_token(request, tokens, "worker")
        return desk.retired(dataset, store_site)

    return router
