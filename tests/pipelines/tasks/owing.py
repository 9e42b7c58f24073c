"""Work owed, and a clock to wait with."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from adapters.clock import TimeOrderedIdentities
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import OpenUnitOfWork


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def advance(self, **length: float) -> None:
        self.moment += timedelta(**length)


def message_for(clock: SetClock, subject_id: UUID | None = None) -> Message:
    """Work owed for a new subject."""
    subject_id = subject_id or uuid4()
    return Message(
        message_id=TimeOrderedIdentities().new(),
        kind=MessageKind.PREDICT,
        subject_id=subject_id,
        created_at=clock.now(),
        coalesce_key=f"test|{subject_id}",
    )


def owe(open_unit_of_work: OpenUnitOfWork, message: Message) -> UUID:
    """Put it in the outbox."""
    with open_unit_of_work() as uow:
        assert uow.outbox.add(message)
        uow.commit()
    return message.message_id
