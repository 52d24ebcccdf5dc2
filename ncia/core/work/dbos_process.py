"""DBOS as this process runs it: how it is configured, started and ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dbos import DBOS, DBOSConfig, Serializer
from sqlalchemy import URL

VERSION = "1"
"""Pinned, and raised only where recorded steps can no longer be read: DBOS would else strand what is under way."""

WORKFLOW = "ncia.job"
LISTEN_SECONDS = 1.0  # nothing here waits for notifications; ending DBOS waits for that listener
SCHEDULE_SECONDS = 3600.0  # the calendar is ours

Workflow = Callable[[str, Mapping[str, Any]], Mapping[str, str]]


class Json(Serializer):
    """What is kept is readable by people, and nothing read back is code. Exceptions are kept as their text."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, ensure_ascii=False, default=str)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "ncia-json"


def launch(url: URL, executor: str, workflow: Workflow) -> Workflow:
    """Start DBOS in the database at ``url``; answers ``workflow`` with its steps recorded.

    The file of a SQLite database must be in WAL mode by now (``ncia.core.work.rows`` opened it so): DBOS is then
    nearly three times as fast. Its level of logging keeps its advertisements out of ours.
    """
    config: DBOSConfig = {
        "name": "ncia",
        "system_database_url": url.render_as_string(hide_password=False),
        "executor_id": executor,
        "application_version": VERSION,
        "log_level": "WARNING",
        "enable_otlp": False,
        "use_listen_notify": False,
        "notification_listener_polling_interval_sec": LISTEN_SECONDS,
        "scheduler_polling_interval_sec": SCHEDULE_SECONDS,
        "serializer": Json(),
    }
    DBOS(config=config)

    def attempt(key: str, inherited: Mapping[str, Any]) -> Mapping[str, str]:
        return workflow(key, inherited)  # DBOS puts marks on what it registers, which a method does not take

    recorded: Workflow = DBOS.workflow(name=WORKFLOW)(attempt)
    DBOS.launch()
    return recorded


def end() -> None:
    DBOS.destroy(destroy_registry=True)
