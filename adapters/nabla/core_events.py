"""Webhooks of Nabla Core: their envelope, and the state of a job in them.

The specification's own example nests the event twice (`data.data`) and writes the status in lower
case where its schema has upper case: both are taken. Unknown types are no fault of the sender.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.nabla.errors import MalformedEventError

NORMALIZED = "generate_normalized_data_async"
KNOWN = frozenset(
    {NORMALIZED, "generate_note_async", "transcribe_async", "dictate_async"}
)  # each with .succeeded and .failed
_LONGEST_ID = 128


class CoreEvent(Struct, frozen=True):
    """The envelope. `id` is the same whenever the event is sent again."""

    id: str
    type: str
    created_at: Any = None
    data: Raw = Raw()


class _Job(Struct):
    id: str = ""
    status: str = ""
    payload: Raw = Raw()


class _Nested(Struct):
    data: Raw = Raw()
    status: Any = None


class _Failure(Struct):
    error_code: int | None = None


class Job(Struct, frozen=True):
    """Something that is worked out, as polling and webhooks tell it. `result` where it succeeded."""

    id: str
    status: str  # in upper case
    result: bytes | None
    error_number: int | None

    @property
    def has_succeeded(self) -> bool:
        """It is there."""
        return self.status == "SUCCEEDED"

    @property
    def has_failed(self) -> bool:
        """It will not be there."""
        return self.status == "FAILED"


def parse_event(body: bytes) -> CoreEvent:
    """The envelope of a webhook.

    Raises:
        MalformedEventError: it is none, or its id is empty or no plain short text.
    """
    try:
        event = _EVENT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEventError("the body is no envelope of an event") from error
    if not event.id or len(event.id) > _LONGEST_ID or not event.id.isprintable():
        raise MalformedEventError("id: 1 to 128 printable characters are required")
    return event


def job_of(event: CoreEvent) -> Job | None:
    """The job that an event is about; None where its data are no such thing."""
    data = bytes(event.data)
    nested = _decoded(_NESTED, data)
    if nested is not None and bytes(nested.data) and nested.status is None:
        data = bytes(nested.data)
    return parse_job(data)


def parse_job(body: bytes) -> Job | None:
    """A job as polling tells it; None where it is none."""
    told = _decoded(_JOB, body)
    if told is None or not told.id or not told.id.isprintable() or len(told.id) > _LONGEST_ID:
        return None
    status = told.status.strip().upper()
    payload = bytes(told.payload)
    failure = _decoded(_FAILURE, payload) if status == "FAILED" else None
    has_result = status == "SUCCEEDED" and payload.lstrip()[:1] == b"{"
    return Job(
        id=told.id,
        status=status,
        result=payload if has_result else None,
        error_number=failure.error_code if failure else None,
    )


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_EVENT = msgspec.json.Decoder(CoreEvent)
_JOB = msgspec.json.Decoder(_Job)
_NESTED = msgspec.json.Decoder(_Nested)
_FAILURE = msgspec.json.Decoder(_Failure)
