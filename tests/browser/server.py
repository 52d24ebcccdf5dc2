"""Serves the console's page and a stream that a test writes; port 0, one thread per connection."""

import json
import mimetypes
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ncia.console import STATIC, page
from ncia.core.views import StatusView


@dataclass
class Stage:
    """What the server shows: ``first`` is on the page, ``say`` sends a view over every open stream."""

    first: StatusView
    url: str = ""
    listeners: list["queue.Queue[str | None]"] = field(default_factory=list)
    listening: threading.Event = field(default_factory=threading.Event)
    refuse: bool = False  # no stream for anybody

    def say(self, status: StatusView) -> None:
        for listener in self.listeners:
            listener.put(json.dumps(status.to_json()))

    def hang_up(self) -> None:
        self.refuse = True
        for listener in self.listeners:
            listener.put(None)


@contextmanager
def console_at(first: StatusView) -> Iterator[Stage]:
    stage = Stage(first)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(stage))
    server.daemon_threads = True
    stage.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stage
    finally:
        stage.hang_up()
        server.shutdown()
        thread.join()
        server.server_close()


def handler(stage: Stage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/":
                self.answer(page(stage.first).encode(), "text/html; charset=utf-8")
            elif path.startswith("/static/") and (file := Path(STATIC) / path.removeprefix("/static/")).is_file():
                self.answer(file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")
            elif path == "/v1/events" and not stage.refuse:
                self.stream()
            else:
                self.send_error(404)

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self) -> None:
            said: queue.Queue[str | None] = queue.Queue()
            stage.listeners.append(said)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"retry: 200\n\n")
            stage.listening.set()
            while (text := said.get()) is not None:
                self.wfile.write(f"event: status\ndata: {text}\n\n".encode())
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
