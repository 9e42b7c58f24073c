"""What is kept of subscriptions, and the EHR as something that can be asked and subscribed at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from clinical.audit.entry import Act
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery
from clinical.subscription.notification import Notification, RecordRef
from clinical.subscription.state import SubscriptionState


class UnsupportedByEhrError(RejectedError):
    """The EHR has no such operation: what it is for is to be got in another way."""

    code = "ehr.unsupported"


class NoLongerHeldError(RejectedError):
    """The EHR holds the subscription no longer, or never did."""

    code = "ehr.subscription_gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A record that a notification named without sending it; `delivery_id` is that notification."""

    ref: RecordRef
    delivery_id: UUID
    num_missed: int = 0  # how often the EHR did not find it


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What the EHR answered: the bytes, and what was asked. `is_gone`: there is no such record (any more).

    `stated_at` is the EHR's own clock, where it told it.
    """

    asked: str  # such as `Observation/123`
    body: bytes
    content_type: str
    is_gone: bool = False
    is_surely_gone: bool = False  # it says so, instead of not finding it
    stated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the EHR holds now; `was_there`: it held one that leads to us already."""

    ehr_id: str
    ends_at: datetime | None
    was_there: bool


class Subscriptions(Protocol):
    """Where each subscription stands, and which records wait to be read."""

    def hold(self, site: str, name: str, at: datetime) -> SubscriptionState:
        """The subscription, locked until the transaction ends; begun now if it was never heard of."""
        ...

    def find(self, subscription_id: UUID) -> SubscriptionState | None: ...

    def all(self) -> list[SubscriptionState]:
        """Every one, by site and name."""
        ...

    def idle(self) -> list[SubscriptionState]:
        """Those for which nobody asks the EHR at this moment."""
        ...

    def save(self, state: SubscriptionState) -> None:
        """Keep a state that was held."""
        ...

    def forget(self, subscription_id: UUID) -> None:
        """Keep nothing of it, nor what waits to be read for it."""
        ...

    def begin_work(self, subscription_id: UUID, lease: timedelta) -> bool:
        """Be the only one who asks the EHR for it, for `lease`; False where somebody else is."""
        ...

    def keep_working(self, subscription_id: UUID, lease: timedelta) -> None:
        """Stay the only one for `lease` from now on."""
        ...

    def end_work(self, subscription_id: UUID) -> None:
        """Let others ask."""
        ...

    def add_unread(
        self, subscription_id: UUID, refs: Sequence[RecordRef], delivery_id: UUID
    ) -> None:
        """Remember that these are to be read; each once, however often it was named."""
        ...

    def unread(self, subscription_id: UUID, limit: int) -> list[Unread]:
        """Those that are due, those named first before all others."""
        ...

    def num_unread(self, subscription_id: UUID) -> int:
        """How many wait to be read, due or not."""
        ...

    def has_due_reads(self, subscription_id: UUID) -> bool: ...

    def mark_read(self, subscription_id: UUID, ref: RecordRef, named_by: UUID) -> None:
        """It was read, unless another notification named it meanwhile."""
        ...

    def put_off(self, subscription_id: UUID, ref: RecordRef, length: timedelta) -> None:
        """The EHR did not find it: look again after so long."""
        ...

    def unheard_events(
        self, subscription_id: UUID, event_ids: Sequence[str], at: datetime
    ) -> set[str]:
        """Those of these ids that were never heard, remembered from now on."""
        ...

    def forget_events(self, before: datetime) -> None:
        """Keep no ids that were heard before this."""
        ...


class Receive(Protocol):
    """Stores bytes and owes that they are understood."""

    def __call__(self, delivery: Delivery, act: Act) -> object: ...


class HubSecrets(Protocol):
    """Secrets that an EHR gave us when it shook hands: it signs with them."""

    def known(self, subscription_id: UUID) -> list[bytes]:
        """Those that may sign, the newest first."""
        ...

    def learn(self, subscription_id: UUID, secret: bytes, at: datetime) -> None:
        """Remember one; the one before the last is forgotten."""
        ...


class EhrSource(Protocol):
    """The EHR as something that can be asked. All raise what passes as OperationalError."""

    def read(self, site: str, ref: RecordRef) -> Fetched:
        """The record as it is now; raises RejectedError where the EHR refuses."""
        ...

    def search(self, site: str, query: str, since: datetime) -> Iterator[Fetched]:
        """What changed since then, page by page; raises RejectedError where the EHR refuses."""
        ...


class SubscriptionServer(Protocol):
    """The EHR as the keeper of our subscriptions, by site, name and its own id of each.

    All raise what passes as OperationalError, and NoLongerHeldError.
    """

    def create(self, site: str, name: str) -> Made:
        """Make it, or bring the one that leads to us up to date; once, however often called."""
        ...

    def remove(self, site: str, name: str, ehr_id: str) -> None:
        """Delete it; nothing where it is gone."""
        ...

    def status(self, site: str, name: str, ehr_id: str) -> Notification:
        """How it says the subscription is."""
        ...

    def events(self, site: str, name: str, ehr_id: str, first: int, last: int) -> Fetched:
        """These events again; raises UnsupportedByEhrError."""
        ...

    def reactivate(self, site: str, name: str, ehr_id: str) -> None:
        """Set it back to requested; the EHR shakes hands anew."""
        ...

    def renew(self, site: str, name: str, ehr_id: str) -> datetime | None:
        """Ask for another lifetime; when it ends now."""
        ...
