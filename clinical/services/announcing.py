"""Others are told what happened here: at least once, over days, and what could not be told is listed.

Exactly once cannot be had over a network: a receiver that took an event and could not say so is told
again, under the same id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from clinical.audit.announced import Announcement, announcement
from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.services.messages import Message, MessageKind, Urgency, key_of
from clinical.services.ports import (
    Clock,
    DeadAnnouncement,
    Identities,
    OpenUnitOfWork,
    ReceiverFailedError,
    ReceiverGoneError,
    ReceiverName,
    Receivers,
    ReceiverState,
    UnitOfWork,
)

PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""After each failure, before what the receiver says itself; a little more, by chance, is added."""


class UndeliverableError(RejectedError):
    """The receiver did not take it in more than three days of trying."""

    code = "webhook.undeliverable"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncingService:
    """Tells receivers."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    receivers: Receivers

    def announce(self, entry_id: UUID, *, message: Message) -> None:
        """Owe the event of an audit entry to everybody who wants it, each by a message of its own.

        Raises:
            TakenOverError: somebody else has the message; nothing is owed.
        """
        with self.open_unit_of_work() as uow:
            for receiver, told in self._wanted(uow, entry_id):
                uow.outbox.add(self._message(receiver, told))
            uow.outbox.done(message)
            uow.commit()

    def send(self, entry_id: UUID, receiver: ReceiverName, act: Act, *, message: Message) -> None:
        """Tell one receiver of one event.

        Raises:
            ReceiverFailedError: it is to be told again, after the pause in it.
            UndeliverableError, ReceiverGoneError, UnknownReceiverError
            TakenOverError: somebody else has the message, though the receiver was told.
        """
        told = self._told(entry_id, receiver)
        status = 0
        if told is not None:
            try:
                self.receivers.tell(receiver, told)
            except ReceiverFailedError as error:
                raise self._failed(message, receiver, error) from error
            except ReceiverGoneError:
                self._disable(receiver, act)
                raise
            status = 200
        with self.open_unit_of_work() as uow:
            uow.announcements.note(message, receiver, status, is_told=True)
            uow.outbox.done(message)
            uow.commit()

    def states(self) -> Sequence[ReceiverState]:
        """How telling each receiver goes."""
        with self.open_unit_of_work() as uow:
            return uow.announcements.states()

    def dead(self, limit: int, receiver: ReceiverName | None = None) -> Sequence[DeadAnnouncement]:
        """What was given up, the newest first."""
        with self.open_unit_of_work() as uow:
            return uow.announcements.dead(limit, receiver)

    def enable(self, receiver: ReceiverName, by: str) -> bool:
        """Tell a receiver again that said it was gone; False where nobody had disabled it."""
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            is_new = uow.announcements.enable(receiver)
            if is_new:
                self._note(uow, AuditKind.WEBHOOK_ENABLED, receiver, act)
            uow.commit()
        return is_new

    def _wanted(self, uow: UnitOfWork, entry_id: UUID) -> list[tuple[ReceiverName, Announcement]]:
        entry = uow.announcements.entry(entry_id)
        told = announcement(entry) if entry is not None else None
        if told is None:
            return []
        site = None if told.is_for_everybody else uow.announcements.site_of(told)
        if site is None and not told.is_for_everybody:
            return []  # erased since, or a question about the past
        return [(receiver, told) for receiver in self.receivers.of(site, told.type)]

    def _told(self, entry_id: UUID, receiver: ReceiverName) -> Announcement | None:
        with self.open_unit_of_work() as uow:
            if uow.announcements.is_disabled(receiver):
                raise ReceiverGoneError("the receiver said that it is gone")
            entry = uow.announcements.entry(entry_id)
            told = announcement(entry) if entry is not None else None
            if told is None or told.is_for_everybody:
                return told
            # Of a patient who was erased meanwhile nothing is told.
            return told if uow.announcements.site_of(told) == receiver.site else None

    def _failed(
        self, message: Message, receiver: ReceiverName, error: ReceiverFailedError
    ) -> ReceiverFailedError | UndeliverableError:
        with self.open_unit_of_work() as uow:
            num_failures = uow.announcements.note(message, receiver, error.status, is_told=False)
            uow.commit()
        if num_failures > len(PAUSES):
            return UndeliverableError("the receiver did not take it, however often it was told")
        pause = max(PAUSES[num_failures - 1], error.retry_after or timedelta(0))
        return ReceiverFailedError(str(error), status=error.status, retry_after=pause)

    def _disable(self, receiver: ReceiverName, act: Act) -> None:
        with self.open_unit_of_work() as uow:
            if uow.announcements.disable(receiver):
                self._note(uow, AuditKind.WEBHOOK_DISABLED, receiver, act)
            uow.commit()

    def _note(self, uow: UnitOfWork, kind: AuditKind, receiver: ReceiverName, act: Act) -> None:
        refs = {"site": receiver.site, "endpoint": receiver.endpoint}
        uow.audit_log.append(act.entry(self.identities.new(), kind, **refs))

    def _message(self, receiver: ReceiverName, told: Announcement) -> Message:
        parameters = {
            "site": receiver.site,
            "endpoint": receiver.endpoint,
            "event": told.type,
        }
        return Message(
            message_id=self.identities.new(),
            kind=MessageKind.SEND_WEBHOOK,
            subject_id=told.entry_id,
            created_at=self.clock.now(),
            coalesce_key=key_of(MessageKind.SEND_WEBHOOK, told.entry_id, *parameters.values()),
            parameters=parameters,
            urgency=Urgency.REFRESH,  # it waits for days where it must, and holds up nobody
        )
