"""What was stored and is owed by nothing: found, owed again, and written into the log.

Every transaction that stores work also owes it, so there is nothing to find here unless somebody
repaired the database by hand, restored half of it, or broke off an import.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.services.messages import Message, MessageKind, Urgency, key_of, urgency_of
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork

_AT_ONCE = 500
# A worker begins what it takes at once; the broker hands out an id within moments.
_BEGUN_WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapingService:
    """Owes again what was forgotten."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def reap(self) -> int:
        """Look once, unless somebody else does; how much is owed again."""
        act = Act(actor="reaper", at=self.clock.now())
        with self.open_unit_of_work() as uow:
            if not uow.forgotten.lock():
                return 0
            deliveries = uow.forgotten.deliveries(_AT_ONCE)
            reviews = uow.forgotten.write_backs(_AT_ONCE)
            for delivery_id, door in deliveries:
                kind = MessageKind.RECORD_DELIVERY
                self._owe(uow, act, kind, delivery_id, urgency_of(door), delivery=delivery_id)
            for review_id in reviews:
                kind = MessageKind.WRITE_BACK
                self._owe(uow, act, kind, review_id, Urgency.LIVE, review=review_id)
            uow.commit()
        return len(deliveries) + len(reviews)

    def release_unbegun(self, lease: timedelta) -> int:
        """Let go of what was handed to the broker and lies nowhere, for that is empty; how many."""
        with self.open_unit_of_work() as uow:
            count = uow.outbox.release_unbegun(lease, _BEGUN_WITHIN)
            uow.commit()
        return count

    def _owe(
        self,
        uow: UnitOfWork,
        act: Act,
        kind: MessageKind,
        subject_id: UUID,
        urgency: Urgency,
        **refs: object,
    ) -> None:
        message = Message(
            message_id=self.identities.new(),
            kind=kind,
            subject_id=subject_id,
            created_at=act.at,
            coalesce_key=key_of(kind, subject_id),
            urgency=urgency,
        )
        uow.outbox.add(message)
        uow.audit_log.append(
            act.entry(
                self.identities.new(),
                AuditKind.MESSAGE_REOWED,
                message=message.message_id,
                message_kind=kind,
                **refs,
            )
        )
