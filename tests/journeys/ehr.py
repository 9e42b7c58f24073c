"""An EHR on the other side of HTTP: takes write-backs, can be down, remembers what it was told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Ehr:
    """A small FHIR server that stores the transaction Bundles posted to it."""

    def __init__(self) -> None:
        self.is_down = False
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self._by_identifier: dict[str, str] = {}
        ehr = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ehr._answer(self)

            def do_PUT(self) -> None:
                ehr._answer(self)

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
        """The resources of a type that it was told of, one for each identity."""
        bundles = [body for _, _, _, body in self.requests if body.get("resourceType") == "Bundle"]
        entries = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
        found = [each for each in entries if each["resourceType"] == kind]
        return list({json.dumps(each.get("identifier")): each for each in found}.values())

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        if self.is_down:
            self._send(handler, 503, {"resourceType": "OperationOutcome"})
            return
        self.requests.append((handler.command, handler.path, dict(handler.headers), body))
        entries = [
            {"response": {"status": "201 Created", "location": self._place(entry["resource"])}}
            for entry in body.get("entry", [])
        ]
        answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
        self._send(handler, 200, answer)

    def _place(self, resource: dict[str, Any]) -> str:
        key = resource["resourceType"] + json.dumps(resource.get("identifier"))
        number = self._by_identifier.setdefault(key, str(len(self._by_identifier) + 1))
        return f"{resource['resourceType']}/{number}/_history/1"

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/fhir+json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
