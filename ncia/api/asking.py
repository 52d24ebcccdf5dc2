"""What the routes share: bodies that are closed, pages of a list, the view of a caller of some agencies only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from ncia.api import problems
from ncia.api.doors import DOOR, UNIX
from ncia.api.guard import caller_of
from ncia.api.ports import Json, Platform
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.requests.caller import AGENT
from ncia.core.views.scope import Cut, within

PAGE_MAX = 1000
PATIENCE_SECONDS_MAX = 5.0
REPORT_BYTES_MAX = 16 * 1024 * 1024

Start = Annotated[int, Query(ge=0, description="How many to pass over.")]
Patience = Annotated[float, Query(ge=0, le=PATIENCE_SECONDS_MAX, description="How long to wait for more.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.")]


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")


def paged(name: str, items: Sequence[Json], start: int, limit: int) -> dict[str, Any]:
    """A part of a list, and how long the whole list is: the same four keys everywhere."""
    return {name: list(items[start : start + limit]), "start": start, "limit": limit, "total": len(items)}


def systems_of(request: Request, platform: Platform) -> frozenset[str] | None:
    """The systems that the caller may know of; None for all of them."""
    agencies = caller_of(request).agencies
    return platform.systems_of(agencies) if agencies else None


def cut(request: Request, platform: Platform, told: Json, view: Mapping[str, Cut]) -> Json:
    """``told``, as far as the caller may see it."""
    systems = systems_of(request, platform)
    return told if systems is None else within(told, systems, view)


def demand_dataset(request: Request, platform: Platform, dataset: str | None) -> None:
    """A caller of some agencies asks for one dataset of theirs at a time."""
    systems = systems_of(request, platform)
    if systems is not None and (dataset or "").split("/", 1)[0] not in systems:
        why = f"{dataset or 'every dataset'} is not (only) {caller_of(request).name}'s to ask for"
        raise Refusal("api.agency", problems.what_of(request), why, f"a dataset of {', '.join(sorted(systems))}")


def source_of(request: Request) -> str:
    """Where a stranger speaks from."""
    if request.scope.get(DOOR) == UNIX or request.client is None:
        return "unix"
    return request.client.host


def demand_vantage(request: Request, vantage: str) -> None:
    """An agent speaks of what it sees from its own site."""
    caller = caller_of(request)
    if caller.standing == AGENT and caller.site != vantage:
        why = f"{caller.name} reports as {vantage}"
        raise Refusal("api.other-vantage", problems.what_of(request), why, "an agent's certificate names its site")


def own_agency(request: Request, named: str) -> str:
    """The agency that a report is asked for: a caller of some agencies names one of theirs."""
    known = caller_of(request).agencies
    if not known or named in known:
        return named
    if not named and len(known) == 1:
        return known[0]
    why = f"{caller_of(request).name} may see {', '.join(known)}, and asked for {named or 'all agencies'}"
    raise Refusal("api.agency", problems.what_of(request), why, f"agency={known[0]}")


async def object_of(request: Request, bytes_max: int = REPORT_BYTES_MAX) -> Json:
    """A machine's report: a JSON object of bounded size."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > bytes_max:
            why = f"the body is longer than {bytes_max} bytes"
            raise Refusal("api.too-long", problems.what_of(request), why, "send less at once")
    try:
        told = json.loads(found)
    except ValueError as error:
        raise NciaError("api.bad-report", problems.what_of(request), f"it is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise NciaError("api.bad-report", problems.what_of(request), "it is not a JSON object")
    return told
