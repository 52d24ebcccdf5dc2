"""The site's queue of jobs over HTTP: for people who look and cancel, and for workers, who write through us."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from ncia.api.asking import Ask
from ncia.api.guard import caller_of
from ncia.api.ports import JobsDesk


class CancelAsk(Ask):
    job: str = Field(min_length=1)
    by: str = ""


class EntryAsk(Ask):
    """An entry that a job writes under its fence."""

    job: str
    fence: int
    by: str
    kind: str
    version: int
    body: dict[str, Any]


def jobs(desk: JobsDesk) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.get("")
    def listed() -> Any:
        return desk.list()

    @router.post("/cancel")
    def cancel(request: Request, ask: CancelAsk) -> Any:
        return desk.cancel(ask.job, caller_of(request).name_or(ask.by))

    @router.post("/entries")
    def append(ask: EntryAsk) -> Any:
        desk.append(ask.job, ask.fence, ask.by, ask.kind, ask.version, ask.body)
        return {"written": True}

    @router.get("/retired")
    def retired(dataset: str, store_site: str) -> Any:
        return desk.retired(dataset, store_site)

    return router
