"""What must happen next: the messages of the outbox. They carry ids and moments, never content."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from uuid import UUID

from clinical.errors import OperationalError
from clinical.services.delivery import Door


class TakenOverError(OperationalError):
    """The lease ran out and somebody else has the message: nothing of this late attempt is kept."""

    code = "message.taken_over"


class MessageKind(StrEnum):
    """The work owed."""

    RECORD_DELIVERY = "delivery.record"  # subject: delivery id
    PREDICT = "prediction.make"  # subject: patient id; parameters: purpose, as_of
    WRITE_BACK = "review.write_back"  # subject: review id
    TAKE_BACK = "review.take_back"  # subject: review id
    CODE_NOTE = "note.normalize"  # subject: delivery id of a note, or of an event about one
    ANNOUNCE = "webhook.announce"  # subject: audit entry id
    SEND_WEBHOOK = "webhook.send"  # subject: audit entry id; parameters: site, endpoint
    FETCH = "ehr.fetch"  # subject: our id of a subscription


class Urgency(IntEnum):
    """Who goes first, the lowest number before all others; what is stored with a message."""

    LIVE = 0  # something just happened to a patient, or a clinician decided
    REFRESH = 1  # asked again, though there is no news
    BACKFILL = 2  # files taken in, questions about the past


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One item of work. While one with the same `coalesce_key` waits unstarted, another adds nothing.

    `fence` rises whenever the message changes hands: what settles it names the fence under which it
    was taken, and is refused where somebody took it since. `age` is how long it is owed, by the
    outbox's clock, when it was last taken. `trace` joins it with what caused it, where somebody keeps
    traces; `request_id` is that of the request it goes back to. None of them says what the work is, so
    none is compared.
    """

    message_id: UUID
    kind: MessageKind
    subject_id: UUID
    created_at: datetime
    coalesce_key: str
    parameters: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    urgency: Urgency = Urgency.LIVE
    fence: int = field(default=0, compare=False)
    age: timedelta = field(default=timedelta(0), compare=False)
    trace: str = field(default="", compare=False)
    request_id: str = field(default="", compare=False)


MAX_ATTEMPTS = 5
FILES = (Door.FHIR_BULK, Door.MEDS, Door.HL7V2_FILE, Door.CCDA_FILE)
"""Doors by which files come in: nobody waits for them as for what just happened."""


def key_of(kind: MessageKind, subject_id: UUID, *parameters: str) -> str:
    """The coalesce key of work that is owed once while it waits."""
    return "|".join([kind.value, str(subject_id), *parameters])


def urgency_of(door: Door) -> Urgency:
    """How soon what came by a door is to be worked on: files can wait for what is happening now."""
    return Urgency.BACKFILL if door in FILES else Urgency.LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A message that nobody tries any more, and the code of its last error."""

    message_id: UUID
    kind: MessageKind
    attempts: int
    error_code: str
    created_at: datetime
    given_up_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What the broker would not deliver any more, without its content.

    `reason` is the broker's word, or `unreadable`; `message_id` is None where the body names none.
    """

    digest: str  # hex SHA-256 of the body as it came
    num_bytes: int
    reason: str
    message_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """A dead letter as it is kept: how often it came, first and last."""

    letter: DeadLetter
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Live work owed: how much, counted up to a limit, and how late the oldest is that nobody took."""

    num_messages: int
    lateness: timedelta
