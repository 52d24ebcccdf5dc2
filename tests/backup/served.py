"""A controller's API as far as workers use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from backup.ports import Ledger
from ncia.api.doors import UNIX, Door
from ncia.api.guard import Guard
from ncia.api.jobs import jobs
from ncia.api.problems import register
from ncia.app.jobs import JobDesk, Queue
from ncia.core.work.executor import JobQueue
from ncia.core.work.rows import JobRows


@contextmanager
def served(rows: JobRows, ledger: Ledger, folder: Path, door: str = UNIX) -> Iterator[str]:
    """The job routes of the API on a unix socket, as if requests had come in by ``door``; yields their address."""
    desk = JobDesk(Queue(rows, JobQueue(rows)), ledger)
    application = FastAPI()
    application.include_router(jobs(desk))
    application.add_middleware(Guard, platform=SimpleNamespace(accounts=None, made=lambda request: None))
    register(application)
    path = folder / "api.sock"
    server = uvicorn.Server(uvicorn.Config(Door(application, door), uds=str(path), log_config=None, lifespan="off"))
    up = threading.Event()
    startup = server.startup

    async def told(*arguments: object, **more: object) -> None:
        await startup(*arguments, **more)  # type: ignore[arg-type]
        up.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert up.wait(30)
        yield f"unix:{path}"
    finally:
        server.should_exit = True
        thread.join(30)
