"""Receive raw, answer, understand later: J1 from a delivery to events of a timeline."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.request import Purpose
from clinical.services.delivery import Delivery, Door, Reading, Reception
from clinical.services.following import Following
from clinical.services.marking import mark
from clinical.services.messages import Message, MessageKind, Urgency, key_of, urgency_of
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, Reader, UnitOfWork
from clinical.services.retraction import Change, retract


class ConflictingDeliveryError(RejectedError):
    """The sender used an id again for other bytes; the first delivery stands."""

    code = "intake.conflicting_delivery"


class ErasedDeliveryError(RejectedError):
    """What came under this id was erased: it is not taken in again by a redelivery."""

    code = "intake.erased_delivery"


_REFUSALS: Mapping[Reception, type[RejectedError]] = {
    Reception.CONFLICT: ConflictingDeliveryError,
    Reception.ERASED: ErasedDeliveryError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the sender is told: the row that holds the bytes, their digest, and whether they were new."""

    delivery_id: UUID
    digest: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a delivery: the reading, and how many of its events were not held before."""

    reading: Reading
    num_new_events: int


def _nothing_follows(_delivery: Delivery) -> MessageKind | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Takes in deliveries; `readers` understand them, one per door.

    `follow_up` says what else a delivery owes once it was understood, with the delivery as its subject.
    """

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    readers: Mapping[Door, Reader]
    follow_up: Callable[[Delivery], MessageKind | None] = _nothing_follows
    following: Following | None = None
    """How what a subscription says of itself is followed; None: it is only stored."""

    def receive(
        self,
        delivery: Delivery,
        act: Act,
        *,
        understand_later: bool = True,
        beside: Callable[[UnitOfWork], None] | None = None,
    ) -> Receipt:
        """Store the bytes and the work they owe in one commit; a duplicate gets the same receipt.

        What `beside` notes (such as how far somebody has come) is stored in that commit, or not at all.

        Raises:
            ConflictingDeliveryError, ErasedDeliveryError
        """
        with self.open_unit_of_work() as uow:
            reception, held_id = uow.inbox.add(delivery)
            if reception is Reception.NEW:
                if understand_later:
                    uow.outbox.add(self._record(held_id, delivery.door))
                self._audit(
                    uow,
                    act,
                    AuditKind.DELIVERY_RECEIVED,
                    {"digest": delivery.digest},
                    delivery=held_id,
                    door=delivery.door,
                    site=delivery.site,
                )
            elif reception in _REFUSALS:
                self._audit(
                    uow,
                    act,
                    AuditKind.DELIVERY_REFUSED,
                    {"digest": delivery.digest},
                    delivery=held_id,
                    why=_REFUSALS[reception].code,
                )
            if beside is not None and reception not in _REFUSALS:
                beside(uow)
            uow.commit()
        if reception in _REFUSALS:
            raise _REFUSALS[reception]("this delivery id was used before")
        return Receipt(
            delivery_id=held_id, digest=delivery.digest, is_new=reception is Reception.NEW
        )

    def record(
        self, delivery_id: UUID, act: Act, *, message: Message | None = None, predict: bool = True
    ) -> Recorded:
        """Understand a stored delivery: events, quarantine, audit entry and next work in one commit.

        Recording it again changes nothing. `predict` owes a prediction for each patient with news.

        Raises:
            TakenOverError: somebody else has the message; nothing is kept.
        """
        with self.open_unit_of_work() as uow:
            if uow.inbox.is_recorded(delivery_id):
                self._settle(uow, message)
                uow.commit()
                return Recorded(reading=Reading(), num_new_events=0)
            delivery = uow.inbox.get(delivery_id)
        reading = self.readers[delivery.door].read(delivery)
        follow_up = self.follow_up(delivery)
        with self.open_unit_of_work() as uow:
            change = retract(uow, delivery, reading)
            stale = mark(uow, change, act, self.identities)
            num_new = uow.timelines.add(reading.events, reading.patients)
            uow.inbox.quarantine(delivery_id, act.at, reading.quarantined)
            uow.inbox.mark_recorded(delivery_id, act.at, reading)
            told_of = {event.patient_id for event in reading.events} if num_new else set()
            if predict:
                told_of |= uow.timelines.known(change.regrouped) if change.regrouped else set()
            self._ask(uow, change, told_of if predict else set(), stale)
            if reading.notification is not None and self.following is not None:
                self.following.heard(uow, delivery, reading.notification, act)
            if follow_up is not None:
                uow.outbox.add(self._message(follow_up, delivery_id, Urgency.LIVE))
            self._audit(
                uow,
                act,
                AuditKind.EVENTS_RECORDED,
                {},
                delivery=delivery_id,
                events=len(reading.events),
                new_events=num_new,
                quarantined=len(reading.quarantined),
                stale=len(stale),
                **({"code_map": reading.code_map} if reading.code_map else {}),
            )
            self._settle(uow, message)
            uow.commit()
        return Recorded(reading=reading, num_new_events=num_new)

    def request_prediction(
        self, patient_id: UUID, *, purpose: Purpose = Purpose.REVIEW, as_of: str = ""
    ) -> None:
        """Owe a prediction for a patient; `as_of` (ISO 8601) empty means all that is known."""
        urgency = Urgency.REFRESH if purpose is Purpose.REVIEW else Urgency.BACKFILL
        with self.open_unit_of_work() as uow:
            uow.outbox.add(self._predict(patient_id, purpose, as_of, urgency=urgency))
            uow.commit()

    def _ask(
        self, uow: UnitOfWork, change: Change, told_of: Collection[UUID], stale: Collection[UUID]
    ) -> None:
        """Owe predictions of whom there is news, under the record that is kept; of stale ones at once."""
        lead = change.after.lead
        urgent = {lead(each) for each in stale}
        # One order for everybody: deliveries about the same patients cannot deadlock.
        for patient_id in sorted({lead(each) for each in told_of} | urgent):
            urgency = Urgency.LIVE if patient_id in urgent else urgency_of(change.delivery.door)
            uow.outbox.add(self._predict(patient_id, urgency=urgency))

    def _record(self, delivery_id: UUID, door: Door) -> Message:
        return self._message(MessageKind.RECORD_DELIVERY, delivery_id, urgency_of(door))

    def _predict(
        self,
        patient_id: UUID,
        purpose: Purpose = Purpose.REVIEW,
        as_of: str = "",
        *,
        urgency: Urgency,
    ) -> Message:
        return self._message(
            MessageKind.PREDICT, patient_id, urgency, purpose=purpose.value, as_of=as_of
        )

    def _message(
        self, kind: MessageKind, subject_id: UUID, urgency: Urgency, **parameters: str
    ) -> Message:
        return Message(
            message_id=self.identities.new(),
            kind=kind,
            subject_id=subject_id,
            created_at=self.clock.now(),
            coalesce_key=key_of(kind, subject_id, *parameters.values()),
            parameters=parameters,
            urgency=urgency,
        )

    def _settle(self, uow: UnitOfWork, message: Message | None) -> None:
        if message is not None:
            uow.outbox.done(message)

    def _audit(
        self,
        uow: UnitOfWork,
        act: Act,
        kind: AuditKind,
        content: Mapping[str, object],
        **refs: object,
    ) -> None:
        new = self.identities
        uow.audit_log.append(act.sealing(new.new(), kind, new.salt(), content, **refs))
