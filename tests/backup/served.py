"""A controller's API as far as workers use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from backup.ports import Ledger
from ncia.api.doors import UNIX, Door
from ncia.api.jobs import jobs
from ncia.api.ports import Tokens
from ncia.api.routes import _problem
from ncia.app.jobs import JobDesk, Queue
from ncia.core.base.errors import NciaError
from ncia.core.work.executor import JobQueue
from ncia.core.work.rows import JobRows


@contextmanager
def served(rows: JobRows, ledger: Ledger, folder: Path, door: str = UNIX) -> Iterator[str]:
    """The job routes of the API on a unix socket, as if requests had come in by ``door``; yields their address."""
    desk = JobDesk(Queue(rows, JobQueue(rows)), ledger)
    application = FastAPI()
    application.include_router(jobs(desk, Tokens(peer="p", agent="a", worker="w")))
    application.add_exception_handler(NciaError, _problem)
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
    assert up.wait(30)
    yield f"unix:{path}"
    server.should_exit = True
    thread.join(30)
