"""Those who are told what happens here: who they are, and how telling them goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol
from uuid import UUID

from clinical.audit.announced import Announcement
from clinical.audit.entry import AuditEntry
from clinical.errors import OperationalError, RejectedError
from clinical.services.messages import Message


class ReceiverFailedError(OperationalError):
    """A receiver did not take what it was told; it is told again. `status` is HTTP's, 0 for no answer."""

    code: ClassVar[str] = "webhook.failed"

    def __init__(
        self, message: str, *, status: int = 0, retry_after: timedelta | None = None
    ) -> None:
        """`retry_after` where the receiver said how long to stay away."""
        super().__init__(message, retry_after=retry_after)
        self.status = status


class ReceiverGoneError(RejectedError):
    """The receiver said that it is gone for good (410), or was told so before."""

    code = "webhook.gone"


class UnknownReceiverError(RejectedError):
    """The sites file has no such receiver (any more)."""

    code = "webhook.unknown_receiver"


@dataclass(frozen=True, slots=True)
class ReceiverName:
    """A receiver, by its site and its name there."""

    site: str
    endpoint: str


class Receivers(Protocol):
    """Those who are told, as the sites file has them."""

    def of(self, site: str | None, type_: str) -> Sequence[ReceiverName]:
        """Who wants to be told of such events of a site; of None: of any."""
        ...

    def tell(self, receiver: ReceiverName, announcement: Announcement) -> None:
        """Tell once; the same event has the same id however often it is told.

        Raises:
            ReceiverFailedError, ReceiverGoneError, UnknownReceiverError
            OperationalError: nothing was tried, for it failed too often a moment ago.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverState:
    """How telling one receiver goes. `last_status` is HTTP's of the last try, 0 for no answer."""

    receiver: ReceiverName
    num_owed: int
    num_dead: int
    disabled_at: datetime | None
    last_at: datetime | None
    last_status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadAnnouncement:
    """What a receiver was not told in the end."""

    message_id: UUID
    receiver: ReceiverName
    event: str
    error_code: str
    given_up_at: datetime


class Announcements(Protocol):
    """What is told, and how that goes."""

    def entry(self, entry_id: UUID) -> AuditEntry | None: ...

    def site_of(self, announcement: Announcement) -> str | None:
        """The site of its patient; None where that is not stored, or nobody is to review it."""
        ...

    def is_disabled(self, receiver: ReceiverName) -> bool: ...

    def disable(self, receiver: ReceiverName) -> bool:
        """Tell it nothing any more; whether that is new."""
        ...

    def enable(self, receiver: ReceiverName) -> bool:
        """Tell it again; whether that is new."""
        ...

    def note(self, message: Message, receiver: ReceiverName, status: int, *, is_told: bool) -> int:
        """Remember how a try went; how many failed since the message was owed, or redriven."""
        ...

    def states(self) -> list[ReceiverState]:
        """Of all receivers that anything was ever owed to."""
        ...

    def dead(self, limit: int, receiver: ReceiverName | None = None) -> list[DeadAnnouncement]:
        """What was given up, the newest first."""
        ...
