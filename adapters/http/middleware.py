"""What surrounds every answer: a request id, security headers, counts, and a lid on what we broke.

Knows routes by their template only. Does not log paths, bodies or the words of an exception: any of
them may carry patient data.
"""

from time import perf_counter

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters import requests
from adapters.http.errors import answer_of
from adapters.http.metrics import WebMetrics, known
from adapters.http.refusals import Refusals, refusal_of
from adapters.operations import tracing
from adapters.telemetry import error_fields, logger
from clinical.errors import ClinicalError
from clinical.services.ports import Identities

_log = logger("clinical.http")

# Everything from our own origin, nothing inline; markup can only be made from text nodes.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_CLIENT_WENT_AWAY = 499
_BROKEN = 500


class Surroundings:
    """The outermost layer of the app; plain ASGI, so that streamed bodies stay streamed."""

    def __init__(
        self, app: ASGIApp, identities: Identities, metrics: WebMetrics, refusals: Refusals
    ) -> None:
        """Wrap `app`; what is refused is counted in `refusals`."""
        self.app = app
        self.identities = identities
        self.metrics = metrics
        self.refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(requests.HEADER)
        request_id = requests.accepted(given, self.identities.new)
        scope["clinical_request_id"] = request_id
        began, statuses = perf_counter(), list[int]()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                headers = MutableHeaders(scope=message)
                headers.update({**_HEADERS, requests.HEADER: request_id})
                is_file = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if is_file else "no-store")
            await send(message)

        with (
            requests.going_back_to(request_id),
            tracing.span("request", SpanKind.SERVER, parent="", request_id=request_id) as span,
        ):
            await self._answer(scope, receive, send_with_headers, statuses)
            route = getattr(scope.get("route"), "path", "none")
            status = statuses[0] if statuses else _CLIENT_WENT_AWAY
            _name(span, known(scope["method"]), route, status)
        refusal = refusal_of(scope, route, status)
        if refusal is not None:
            self.refusals.note(refusal, request_id)
        self.metrics.observe(route, scope["method"], status, perf_counter() - began)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, statuses: list[int]
    ) -> None:
        request_id = scope["clinical_request_id"]
        try:
            await self.app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last lid: nothing of it may reach anybody
            _log.error("request broke", request_id=request_id, **error_fields(error))
            if not statuses:
                await answer_of(scope, ClinicalError)(scope, receive, send)


def _name(span: Span, method: str, route: str, status: int) -> None:
    """By the template of the route: the path itself may carry the id of an EHR record."""
    span.update_name(f"{method} {route}")
    said = {"http.request.method": method, "http.route": route}
    tracing.say(span, **said, **{"http.response.status_code": status})
    if status >= _BROKEN:
        span.set_status(Status(StatusCode.ERROR))
