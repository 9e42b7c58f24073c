"""Somebody who wants to be told: verifies by the kept library, and answers as the test wishes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Came:
    headers: dict[str, str]
    body: bytes


@dataclass
class HookReceiver:
    """`answers` are statuses, each with headers, one after the other; the last one stays."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    came: list[Came] = field(default_factory=list)

    def answer(self, *statuses: int, **headers: str) -> None:
        self.answers = [(status, headers) for status in statuses]


@contextmanager
def hook_receiver() -> Iterator[HookReceiver]:
    """Listens on a free port for as long as the block runs."""
    receiver = HookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.came.append(Came(headers, body))
            left = receiver.answers
            status, more = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/?from=clinical"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
