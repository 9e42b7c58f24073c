"""What was set aside: messages given up, and records that could not be understood; for an operator.

Nothing here shows what a record says: only which it is, where it came from, and why it is here.
"""

from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.services.delivery import SetAside
from clinical.services.messages import GivenUp
from clinical.services.ports import Clock, Identities, OpenUnitOfWork


class NotGivenUpError(RejectedError):
    """The message is done, or is being worked on: there is nothing to redrive."""

    code = "quarantine.not_given_up"


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

    def redrive(self, message_id: UUID, by: str) -> None:
        """Owe the work again, with all attempts; what it did before is not done twice.

        Raises:
            NotGivenUpError: also where there is no such message.
        """
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            if not uow.outbox.redrive(message_id, act.at):
                raise NotGivenUpError("no message of this id was given up")
            uow.audit_log.append(
                act.entry(self.identities.new(), AuditKind.MESSAGE_REDRIVEN, message=message_id)
            )
            uow.commit()
