"""Traces: spans from the webhook to the sign-off, joined through the outbox; off unless a place is named.

Knows OpenTelemetry and a list of attributes that may leave: ids of ours, kinds, counts, durations and
codes. What is not listed is dropped and counted, so patient data cannot enter a trace by accident;
of an exception its code or type is kept, never its text. Does not know who opens a span.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from adapters.telemetry import DROPPED_FIELDS
from clinical.errors import ClinicalError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ALLOWED_ATTRIBUTES = frozenset(
    {
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "request_id",
        "message_id",
        "message_kind",
        "attempts",
        "outcome",
        "error_code",
        "error_type",
        "question",
        "review_id",
    }
)
_EXPORT_EVERY_MS = 1000
_EXPORT_TIMEOUT_SECONDS = 5
_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()

Value = str | int | float | bool


class _Traces:
    """The provider of this process; made anew after a fork, whose threads are not inherited."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.pid = 0


_TRACES = _Traces()


def configure(process: str, endpoint: str | None) -> None:
    """Send the spans of this process to `endpoint`; without one, none are made. Again does nothing."""
    if endpoint is None or (_TRACES.provider is not None and _TRACES.pid == os.getpid()):
        return
    # Where no traces are kept nothing of this is loaded.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)
    # Not the defaults of the library: they take attributes from the environment.
    provider = TracerProvider(resource=Resource({"service.name": f"clinical-{process}"}))
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_EVERY_MS)
    )
    _TRACES.provider, _TRACES.pid = provider, os.getpid()


def is_on() -> bool:
    """Whether spans of this process go anywhere."""
    return _TRACES.provider is not None


def flush() -> None:
    """Send what was not sent yet; for a process that is about to end."""
    if _TRACES.provider is not None and _TRACES.pid == os.getpid():
        _TRACES.provider.shutdown()
        _TRACES.provider = None


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, *, parent: str | None = None, **attributes: Value
) -> Iterator[Span]:
    """A span for as long as the block runs; `parent` is a traceparent, empty for a trace of its own.

    Without `parent` it belongs to the span around it.
    """
    if _TRACES.provider is None:
        yield trace.INVALID_SPAN
        return
    context = None if parent is None else trace.set_span_in_context(trace.INVALID_SPAN)
    if parent:
        context = _PROPAGATOR.extract({_TRACEPARENT: parent})
    with _TRACES.provider.get_tracer("clinical").start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=_allowed(attributes),
        record_exception=False,  # its text may quote a record
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            failed(opened, error)
            raise


def say(span: Span, **attributes: Value) -> None:
    """Attributes that are known only later."""
    span.set_attributes(_allowed(attributes))


def failed(span: Span, error: BaseException) -> None:
    """Mark the span as failed, by the code or the type of the error."""
    code = error.code if isinstance(error, ClinicalError) else type(error).__name__
    say(span, error_code=code)
    span.set_status(Status(StatusCode.ERROR, code))


def note(event: str, **attributes: Value) -> None:
    """That something happened within the current span."""
    trace.get_current_span().add_event(event, _allowed(attributes))


def link(traceparent: str) -> None:
    """Join the current span to another trace: what was done long ago and led to this."""
    context = _context_of(traceparent)
    if context is not None:
        trace.get_current_span().add_link(context)


def traceparent() -> str:
    """The current span for whoever goes on from it; empty where there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_TRACEPARENT, "")


def _context_of(traceparent: str) -> SpanContext | None:
    extracted = trace.get_current_span(_PROPAGATOR.extract({_TRACEPARENT: traceparent}))
    context = extracted.get_span_context()
    return context if traceparent and context.is_valid else None


def _allowed(attributes: dict[str, Value]) -> dict[str, Value]:
    kept = {name: value for name, value in attributes.items() if name in ALLOWED_ATTRIBUTES}
    DROPPED_FIELDS.inc(len(attributes) - len(kept))
    return kept
