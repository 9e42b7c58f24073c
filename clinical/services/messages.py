"""What must happen next: the messages of the outbox. They carry ids and moments, never content."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class MessageKind(StrEnum):
    """The work owed."""

    RECORD_DELIVERY = "delivery.record"  # subject: delivery id
    PREDICT = "prediction.make"  # subject: patient id; parameters: purpose, as_of
    WRITE_BACK = "review.write_back"  # subject: review id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One item of work. While one with the same `coalesce_key` waits unstarted, another adds nothing.

    `trace` joins it with what caused it, where somebody keeps traces; the work does not depend on it.
    """

    message_id: UUID
    kind: MessageKind
    subject_id: UUID
    created_at: datetime
    coalesce_key: str
    parameters: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    trace: str = ""


MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A message that nobody tries any more, and the code of its last error."""

    message_id: UUID
    kind: MessageKind
    attempts: int
    error_code: str
    created_at: datetime
    given_up_at: datetime
