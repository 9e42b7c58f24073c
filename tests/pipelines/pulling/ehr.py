"""A small EHR over real HTTP that answers what a test tells it to, well or badly, and remembers who asked."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request. Names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass(kw_only=True)
class Reply:
    """One answer; `pieces` are sent one by one, and `length` is what the header says of the body's."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: Iterable[bytes] | None = None
    length: int | None = None


Route = Callable[[Asked], Reply]


class Ehr:
    """Answers each `METHOD /path` as its route says; 404 where there is none."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.asked: list[Asked] = []
        ehr = self

        class Server(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                ehr._answer(self)

            def do_DELETE(self) -> None:
                ehr._answer(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/fhir"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked_for(self, path: str, method: str = "GET") -> list[Asked]:
        """The requests to this path, in their order."""
        return [each for each in self.asked if (each.path, each.method) == (path, method)]

    def _answer(self, server: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(server.path)
        headers = {name.lower(): value for name, value in server.headers.items()}
        asked = Asked(
            method=server.command, path=parts.path, query=parse_qs(parts.query), headers=headers
        )
        self.asked.append(asked)
        route = self.routes.get(f"{server.command} {parts.path}")
        reply = route(asked) if route is not None else Reply(status=404)
        with contextlib.suppress(OSError):  # whoever asked has gone
            self._send(server, reply)

    def _send(self, server: BaseHTTPRequestHandler, reply: Reply) -> None:
        pieces = [reply.body] if reply.pieces is None else reply.pieces
        server.send_response_only(reply.status)  # without a Date of its own
        for name, value in reply.headers.items():
            server.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        server.send_header("content-length", str(length))
        server.send_header("connection", "close")  # so that no test leaves a socket behind
        server.end_headers()
        sent = 0
        for piece in pieces:
            server.wfile.write(piece)
            server.wfile.flush()
            sent += len(piece)
        if sent != length:
            server.close_connection = True


def answer(document: Any, *, status: int = 200, **headers: str) -> Reply:
    """A FHIR document."""
    stated = {"content-type": "application/fhir+json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Reply(status=status, headers=stated, body=json.dumps(document).encode())


def html() -> Reply:
    """What a proxy or a login page says in an EHR's place."""
    return Reply(headers={"content-type": "text/html"}, body=b"<html>Please sign in</html>")


def in_turn(*replies: Reply) -> Route:
    """One after the other; the last for ever."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class Export:
    """A bulk export that goes as it should, unless a test changes a route of it."""

    STATUS = "/fhir/status/1"

    def __init__(self, ehr: Ehr, *, needs_token: bool = False) -> None:
        self.ehr = ehr
        self.needs_token = needs_token
        self.transaction_time = "2026-03-01T10:00:00.123+01:00"
        self.output: list[dict[str, Any]] = []
        self.deleted: list[dict[str, Any]] = []
        self.error: list[dict[str, Any]] = []
        self.link: list[dict[str, str]] = []
        self.headers: dict[str, str] = {}
        ehr.routes["GET /fhir/Patient/$export"] = lambda _: Reply(
            status=202, headers={"content-location": f"{ehr.root}{self.STATUS}"}
        )
        ehr.routes[f"GET {self.STATUS}"] = lambda _: self.manifest()
        ehr.routes[f"DELETE {self.STATUS}"] = lambda _: Reply(status=202)

    def file(
        self, name: str, body: bytes, *, kind: str = "output", count: int | None = None
    ) -> str:
        """Add a file with these lines; its path."""
        path = f"/fhir/files/{name}"
        record_type = name.removesuffix(".ndjson")
        listed: dict[str, Any] = {"type": record_type, "url": f"{self.ehr.root}{path}"}
        listed["count"] = body.count(b"\n") if count is None else count
        getattr(self, kind).append(listed)
        self.ehr.routes[f"GET {path}"] = lambda _: Reply(body=body)
        return path

    def manifest(self) -> Reply:
        """What the status says when all is ready."""
        said = {
            "transactionTime": self.transaction_time,
            "request": f"{self.ehr.url}/Patient/$export",
            "requiresAccessToken": self.needs_token,
            "output": self.output,
            "deleted": self.deleted,
            "error": self.error,
            "link": self.link,
        }
        return answer(said, **self.headers)
