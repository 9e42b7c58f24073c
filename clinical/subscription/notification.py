"""What one notification says besides the records in it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NotificationKind(StrEnum):
    """Why it was sent (Subscriptions R5 Backport 1.1, "Subscription Notification Type"), or how."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENTS = "event-notification"
    STATUS = "query-status"  # answers our `$status`
    REPLAY = "query-event"  # answers our `$events`
    RECORD = "record"  # classic rest-hook: a record and no status
    PING = "ping"  # classic rest-hook without payload: something changed


class Standing(StrEnum):
    """What the EHR says of the subscription."""

    UNKNOWN = "unknown"  # it was never heard of
    REQUESTED = "requested"
    ACTIVE = "active"
    ERROR = "error"
    OFF = "off"
    GONE = "gone"  # the EHR holds it no longer


@dataclass(frozen=True, slots=True, order=True)
class RecordRef:
    """A record of the site."""

    record_type: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One event: its number if it has one, the EHR's id of it if it gave one, and the records to be read."""

    number: int | None = None
    event_id: str = ""
    unread: tuple[RecordRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a notification says.

    `total` is how many events there were since the subscription began. `stated_at` is when the EHR
    put it together, by its own clock. `error_codes` are codes only: texts may name patients.
    """

    name: str  # of the subscription, in the sites file
    kind: NotificationKind
    ehr_id: str = ""  # the EHR's id of the subscription
    standing: Standing | None = None
    total: int | None = None
    happened: tuple[Happened, ...] = ()
    needs_query: bool = False  # something changed, and it is not said what
    stated_at: datetime | None = None
    error_codes: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of its events, those that have none left out."""
        return tuple(each.number for each in self.happened if each.number is not None)
