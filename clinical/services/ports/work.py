"""What came in and what is owed: deliveries, messages, and what fell between them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from clinical.services.delivery import Delivery, Door, Quarantined, Reading, Reception, SetAside
from clinical.services.messages import Backlog, Buried, DeadLetter, GivenUp, Message, Urgency


class Inbox(Protocol):
    """Deliveries, raw."""

    def add(self, delivery: Delivery) -> tuple[Reception, UUID]:
        """Store unless held; returns what became of it and the id of the row that holds these bytes."""
        ...

    def get(self, delivery_id: UUID) -> Delivery: ...

    def holds(self, delivery: Delivery) -> bool:
        """Whether something of its site, door and sender id is held, or was erased."""
        ...

    def digests(self, delivery_ids: Collection[UUID]) -> dict[UUID, str]:
        """What was noted at the door of each that is held: the hex SHA-256 of its bytes, empty once erased."""
        ...

    def recorded_since(self, delivery_ids: Collection[UUID], since: datetime) -> list[UUID]:
        """Those of them that were understood at or after this moment, the last one first."""
        ...

    def altered(self, delivery_ids: Collection[UUID]) -> list[UUID]:
        """Those held whose bytes, hashed again, are not those that came."""
        ...

    def is_recorded(self, delivery_id: UUID) -> bool: ...

    def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None: ...

    def quarantine(
        self, delivery_id: UUID, at: datetime, records: Sequence[Quarantined]
    ) -> None: ...

    def set_aside(self, limit: int, delivery_id: UUID | None = None) -> list[SetAside]:
        """What was quarantined, of all deliveries or of one, the newest first."""
        ...


class Outbox(Protocol):
    """Work owed. What is due and who holds what is told by one clock, the database's.

    Whatever settles a message (`done`, `retry`, `give_up`) raises TakenOverError where it changed
    hands since it was taken, and then the whole transaction is to be given up.
    """

    def add(self, message: Message) -> bool:
        """Remember; False where one with its coalesce key already waits unstarted.

        The one that waits becomes as urgent as the more urgent of the two.
        """
        ...

    def claim(
        self, limit: int, lease: timedelta, *, least: Urgency = Urgency.BACKFILL
    ) -> list[Message]:
        """Take, for `lease`, messages that are due and that nobody holds (SKIP LOCKED).

        The most urgent first; none that is less urgent than `least`.
        """
        ...

    def start(
        self, message_id: UUID, lease: timedelta, *, takes_over: bool = True
    ) -> Message | None:
        """Count an attempt before the work; None where there is nothing to do.

        Unless it `takes_over`, that is also so while another worker's lease runs.
        """
        ...

    def extend(self, message: Message, lease: timedelta) -> bool:
        """Hold it for `lease` from now on; False where it is settled, put back, or changed hands."""
        ...

    def done(self, message: Message) -> None: ...

    def retry(
        self,
        message: Message,
        after: timedelta,
        error_code: str,
        *,
        spends_attempt: bool = True,
    ) -> None:
        """Put it back for so long; waiting for an outside system (model, EHR) spends no attempt."""
        ...

    def give_up(self, message: Message, error_code: str) -> None: ...

    def owed(self, message_id: UUID) -> Message | None:
        """The message as it stands, locked until the transaction ends; None unless it is owed."""
        ...

    def release_unbegun(self, lease: timedelta, patience: timedelta) -> int:
        """Let go of what was claimed for `lease`, longer than `patience` ago, and never begun; how many."""
        ...

    def backlog(self, most: int) -> Backlog:
        """The live work owed, counted up to `most`."""
        ...

    def pending(self) -> int:
        """How many messages are neither done nor given up."""
        ...

    def given_up(self, limit: int) -> list[GivenUp]:
        """Messages that nobody tries any more, the newest first."""
        ...

    def redrive(self, message_id: UUID) -> bool:
        """Owe a given-up message again, with all attempts; False where none of this id was given up."""
        ...

    def held_up(self, error_codes: Collection[str]) -> int:
        """How many messages wait because of one of these."""
        ...


class DeadLetters(Protocol):
    """What the broker would not deliver any more, without its content."""

    def bury(self, letter: DeadLetter) -> int:
        """Keep it; how often these bytes have come by now."""
        ...

    def buried(self, limit: int) -> list[Buried]:
        """Those that came last first."""
        ...

    def forget(self, message_id: UUID) -> None:
        """Count anew for this message."""
        ...


class Forgotten(Protocol):
    """Stored work that nothing owes any more, though every transaction that stores it also owes it."""

    def lock(self) -> bool:
        """Be the only one who looks until the transaction ends; False where somebody else does."""
        ...

    def deliveries(self, limit: int) -> list[tuple[UUID, Door]]:
        """Deliveries that were not understood and that no message is owed or was given up for."""
        ...

    def write_backs(self, limit: int) -> list[UUID]:
        """Reviews of which the log says that the EHR is to be told, and no message ever did."""
        ...
