"""Logs of every process: one JSON line per event, in the site's log folder, with fields and never a secret."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import structlog

LEVEL_VARIABLE = "NCIA_LOG_LEVEL"
SECRET_WORDS = ("password", "token", "secret", "private_key", "authorization", "passfile_text")
HIDDEN = "(hidden)"


def configure(process: str, site: str, folder: Path | None) -> None:
    """Send structlog, and the standard library's loggers from WARNING up, to ``folder/<process>.log``; to standard
    error where there is no folder."""
    stream = _open(process, folder)
    level = logging.getLevelNamesMapping().get(os.environ.get(LEVEL_VARIABLE, "INFO").upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            partial(name_process, process=process, site=site),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


def name_process(
    logger: Any, method: str, event: MutableMapping[str, Any], *, process: str, site: str
) -> MutableMapping[str, Any]:
    """Say in each line who speaks; not a context variable, for those do not reach threads."""
    event["process"], event["site"] = process, event.get("site", site)
    return event


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field whose name says that it is a secret."""
    for key in event:
        if any(word in key.lower() for word in SECRET_WORDS):
            event[key] = HIDDEN
    return event


def _open(process: str, folder: Path | None) -> TextIO:
    if folder is None:
        return sys.stderr
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{process}.log").open("a", encoding="utf-8", buffering=1)


class _Bridge(logging.Handler):
    """Other libraries' warnings, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
