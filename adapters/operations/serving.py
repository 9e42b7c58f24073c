"""Metrics and health of a process that has no web face: three addresses on a port of their own.

Knows HTTP as far as a scraper and a probe speak it. Does not know what it tells.
"""

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from adapters.operations.health import PartHealth
from clinical.errors import OperationalError

_TIMEOUT_SECONDS = 10.0


class MetricsPortTakenError(OperationalError):
    """Something else listens where the worker was to serve its metrics."""

    code = "worker.metrics_port_taken"


class Served:
    """Listens from its making on, so that a taken port is found early; answers from `start` on."""

    def __init__(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            MetricsPortTakenError
        """
        try:
            self._server = ThreadingHTTPServer((host, port), _Handler)
        except OSError as error:
            raise MetricsPortTakenError(
                f"port {port} of {host} is taken; choose another by CLINICAL_WORKER_METRICS_PORT"
            ) from error
        self._server.daemon_threads = True

    def start(
        self,
        exposition: Callable[[], tuple[bytes, str]],
        health: Callable[[], Mapping[str, PartHealth]],
    ) -> None:
        """Answer, in a thread of its own, for as long as the process lives."""
        self._server.RequestHandlerClass = type(
            "_Told",
            (_Handler,),
            {"exposition": staticmethod(exposition), "health": staticmethod(health)},
        )
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    exposition: Callable[[], tuple[bytes, str]]
    health: Callable[[], Mapping[str, PartHealth]]
    timeout = _TIMEOUT_SECONDS

    def do_GET(self) -> None:
        match self.path:
            case "/metrics":
                self._answer(HTTPStatus.OK, *self.exposition())
            case "/health/live":
                self._answer_json(HTTPStatus.OK, {"status": "live"})
            case "/health/ready":
                self._answer_health()
            case _:
                self._answer_json(HTTPStatus.NOT_FOUND, {"status": "nothing is served here"})

    def _answer_health(self) -> None:
        parts = self.health()
        is_ready = all(part.is_well for part in parts.values())
        told = {name: dataclasses.asdict(part) for name, part in parts.items()}
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer_json(status, {"status": "ready" if is_ready else "unavailable", **told})

    def _answer_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _answer(self, status: HTTPStatus, content: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *_words: object) -> None:
        """Scrapes are no news."""
