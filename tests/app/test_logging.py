from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from ncia.app.logging import configure


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = logging.getLogger().handlers[:]
    configure("warden", "east", tmp_path)
    yield tmp_path
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = before


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "warden.log").read_text(encoding="utf-8").splitlines()]


def test_a_line_says_when_who_where_and_what(folder: Path) -> None:
    structlog.get_logger().info("임대 유지", version=3)
    (line,) = lines(folder)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "임대 유지", "version": 3, "process": "warden", "site": "east", "level": "info"}


def test_threads_say_the_same(folder: Path) -> None:
    thread = threading.Thread(target=lambda: structlog.get_logger().info("hello"))
    thread.start()
    thread.join()
    assert lines(folder)[0]["site"] == "east"


def test_secrets_are_hidden_by_their_field_s_name(folder: Path) -> None:
    structlog.get_logger().warning("x", peer_token="abc", Authorization="Bearer abc", password="abc")
    assert "abc" not in (folder / "warden.log").read_text()


def test_other_libraries_speak_from_warning_up(folder: Path) -> None:
    logging.getLogger("other").info("chatter")
    logging.getLogger("other").warning("watch %s", "out")
    assert [line["event"] for line in lines(folder)] == ["watch out"]


def test_an_exception_is_one_line(folder: Path) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(folder)
    assert "ValueError: broken" in line["exception"]
