"""An EHR on the other side of HTTP: takes write-backs, can be down, remembers what it was told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit


class Ehr:
    """A small FHIR server: transactions of conditional creates, and search by identifier."""

    def __init__(self) -> None:
        self.is_down = False
        self.num_created = 0
        self._stored: dict[tuple[str, str], dict[str, Any]] = {}
        ehr = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ehr._answer(self, ehr._search)

            def do_POST(self) -> None:
                ehr._answer(self, ehr._transact)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/fhir"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """The resources of a type that it holds."""
        return [each for (held_kind, _), each in self._stored.items() if held_kind == kind]

    def _answer(
        self, handler: BaseHTTPRequestHandler, act: Callable[[str, bytes], dict[str, Any]]
    ) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if self.is_down:
            self._send(handler, 503, {"resourceType": "OperationOutcome"})
        else:
            self._send(handler, 200, act(handler.path, body))

    def _search(self, path: str, _body: bytes) -> dict[str, Any]:
        parts = urlsplit(path)
        held = self._stored.get((parts.path.rpartition("/")[2], unquote(parts.query)))
        entries = [] if held is None else [{"resource": held}]
        return {"resourceType": "Bundle", "type": "searchset", "entry": entries}

    def _transact(self, _path: str, body: bytes) -> dict[str, Any]:
        entries = [{"response": self._create(entry)} for entry in json.loads(body)["entry"]]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}

    def _create(self, entry: dict[str, Any]) -> dict[str, str]:
        resource, request = entry["resource"], entry["request"]
        key = (resource["resourceType"], unquote(request["ifNoneExist"]))
        if key not in self._stored:
            self.num_created += 1
            self._stored[key] = {**resource, "id": str(self.num_created)}
        held = self._stored[key]
        return {
            "status": "201 Created",
            "location": f"{held['resourceType']}/{held['id']}/_history/1",
        }

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/fhir+json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
