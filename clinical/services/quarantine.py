"""What was set aside: messages given up, and records that could not be understood; for an operator.

Nothing here shows what a record says: only which it is, where it came from, and why it is here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import ClinicalError, RejectedError
from clinical.services.delivery import SetAside
from clinical.services.messages import Buried, DeadLetter, GivenUp, Message
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork

# The broker buries an id after some deliveries that came to nothing: once or twice while the
# database is away, and that is no fault of the message's.
MAX_BURIALS = 3


class NotGivenUpError(RejectedError):
    """The message is done, or is being worked on: there is nothing to redrive."""

    code = "quarantine.not_given_up"


class DeadLetteredError(ClinicalError):
    """The broker gave the message up again and again, and no attempt at it came to an end."""

    code = "message.dead_lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineService:
    """Shows what was set aside, and sends messages on their way again."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def given_up(self, limit: int) -> list[GivenUp]:
        """The newest first."""
        with self.open_unit_of_work() as uow:
            return uow.outbox.given_up(limit)

    def set_aside(self, limit: int, delivery_id: UUID | None = None) -> list[SetAside]:
        """The newest first: of all deliveries, or of one."""
        with self.open_unit_of_work() as uow:
            return uow.inbox.set_aside(limit, delivery_id)

    def dead_letters(self, limit: int) -> list[Buried]:
        """What the broker would not deliver any more; those that came last first."""
        with self.open_unit_of_work() as uow:
            return uow.dead_letters.buried(limit)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep what the broker would not deliver any more, and why.

        A message that is still owed comes back when its lease runs out; one that was buried
        MAX_BURIALS times is given up, for whatever takes it is lost before it can count an attempt.
        """
        act = Act(actor="relay", at=self.clock.now())
        with self.open_unit_of_work() as uow:
            for letter in letters:
                is_hopeless = uow.dead_letters.bury(letter) >= MAX_BURIALS
                if is_hopeless and letter.message_id is not None:
                    message = uow.outbox.owed(letter.message_id)
                    if message is not None:
                        self._abandon(uow, message, act)
            uow.commit()

    def redrive(self, message_id: UUID, by: str) -> None:
        """Owe the work again, with all attempts; what it did before is not done twice.

        Raises:
            NotGivenUpError: also where there is no such message.
        """
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            if not uow.outbox.redrive(message_id):
                raise NotGivenUpError("no message of this id was given up")
            uow.dead_letters.forget(message_id)
            uow.audit_log.append(
                act.entry(self.identities.new(), AuditKind.MESSAGE_REDRIVEN, message=message_id)
            )
            uow.commit()

    def _abandon(self, uow: UnitOfWork, message: Message, act: Act) -> None:
        uow.outbox.give_up(message, DeadLetteredError.code)
        uow.audit_log.append(
            act.entry(
                self.identities.new(),
                AuditKind.MESSAGE_ABANDONED,
                message=message.message_id,
                message_kind=message.kind,
                attempts=message.attempts,
                why=DeadLetteredError.code,
            )
        )
