"""A note that came in is sent to be coded, and what comes back is a delivery like any other."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import OperationalError, RejectedError
from clinical.services.delivery import Delivery, Door, Reception
from clinical.services.messages import Message, MessageKind, key_of
from clinical.services.ports import (
    Clock,
    CodedNote,
    Identities,
    NoteCoder,
    NoteJob,
    OpenUnitOfWork,
    UnitOfWork,
)
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime, Precision

# An event may come before what it answers is stored; one of a job that we never asked for never fits.
_FITS_WITHIN = timedelta(minutes=10)


class NoteInWorkError(OperationalError):
    """The note is being coded: ask again later."""

    code = "note.in_work"


class UnknownJobError(RejectedError):
    """An event tells of a job that nobody here asked for; its bytes are kept."""

    code = "note.unknown_job"


class EarlyEventError(OperationalError):
    """An event tells of a job that is not known yet."""

    code = "note.early_event"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteService:
    """Has notes coded."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    coder: NoteCoder

    def code(self, delivery_id: UUID, act: Act, *, message: Message) -> None:
        """Bring a note on: ask for it, ask what became of it, or take what an event brought.

        Each sending is in the audit log before it happens.

        Raises:
            NoteInWorkError, EarlyEventError, UnknownJobError
            TakenOverError: somebody else has the message; nothing is kept.
            Errors of the coder's.
        """
        with self.open_unit_of_work() as uow:
            delivery = uow.inbox.get(delivery_id)
        if delivery.door is Door.NABLA_CORE:
            self._take(delivery, act, message)
        else:
            self._ask(delivery, act, message)

    def _ask(self, note: Delivery, act: Act, message: Message) -> None:
        with self.open_unit_of_work() as uow:
            job = uow.note_jobs.of_note(note.delivery_id)
            at = self._encountered_at(uow, note)
        if not note.body:
            self._settle(message)
            return
        coded = self.coder.poll(note, job.job_id, at) if job is not None else CodedNote()
        if coded == CodedNote():
            coded = self._send(note, act, at)
        if coded.content is None:
            raise NoteInWorkError("the note is being coded")
        self._store(note, coded.content, act, message)

    def _encountered_at(self, uow: UnitOfWork, note: Delivery) -> str | None:
        """When the encounter began, if the EHR has told: a note's callback and what comes back do not."""
        if not note.body:  # erased since
            return None
        patient, encounter = self.coder.whose(note)
        timeline = uow.timelines.of(PatientRef(note.site, patient).patient_id)
        for event in timeline.events:
            is_start = event.kind is EventKind.ENCOUNTER and event.phase is Phase.START
            if is_start and event.source.record_id == encounter and event.occurred_at is not None:
                return _said(event.occurred_at)
        return None

    def _send(self, note: Delivery, act: Act, at: str | None) -> CodedNote:
        with self.open_unit_of_work() as uow:
            uow.audit_log.append(
                act.entry(
                    self.identities.new(),
                    AuditKind.NOTE_SENT,
                    delivery=note.delivery_id,
                    site=note.site,
                )
            )
            uow.commit()
        coded = self.coder.ask(note, at)
        if coded.content is None:
            with self.open_unit_of_work() as uow:
                uow.note_jobs.keep(
                    NoteJob(note_id=note.delivery_id, site=note.site, job_id=coded.job_id)
                )
                uow.commit()
        return coded

    def _take(self, event: Delivery, act: Act, message: Message) -> None:
        job_id = self.coder.job_of(event)
        with self.open_unit_of_work() as uow:
            job = uow.note_jobs.named(event.site, job_id)
            note = uow.inbox.get(job.note_id) if job is not None else None
            at = self._encountered_at(uow, note) if note is not None else None
        if note is None:
            if self.clock.now() - event.received_at < _FITS_WITHIN:
                raise EarlyEventError("no job of this id is known yet")
            raise UnknownJobError("nobody here asked for the job that the event tells of")
        if not note.body:
            self._settle(message)
            return
        coded = self.coder.told(note, event, at)
        if coded.content is None:
            raise NoteInWorkError("the event does not say what came of the note")
        self._store(note, coded.content, act, message, event=event)

    def _store(
        self,
        note: Delivery,
        content: bytes,
        act: Act,
        message: Message,
        *,
        event: Delivery | None = None,
    ) -> None:
        """As a delivery, raw, with the work it owes; of two answers for one note the first stands."""
        delivery = Delivery(
            delivery_id=self.identities.new(),
            site=note.site,
            door=Door.NABLA_NORMALIZED,
            sender_id=f"note:{note.delivery_id}",
            body=content,
            content_type="application/json",
            received_at=self.clock.now(),
            context={"note": str(note.delivery_id)},
        )
        with self.open_unit_of_work() as uow:
            if event is not None:
                uow.note_jobs.share_patients(note.delivery_id, event.delivery_id)
            if uow.inbox.get(note.delivery_id).body:
                self._receive(uow, delivery, act)
            uow.outbox.done(message)
            uow.commit()

    def _receive(self, uow: UnitOfWork, delivery: Delivery, act: Act) -> None:
        reception, _ = uow.inbox.add(delivery)
        if reception is not Reception.NEW:
            return
        uow.outbox.add(
            Message(
                message_id=self.identities.new(),
                kind=MessageKind.RECORD_DELIVERY,
                subject_id=delivery.delivery_id,
                created_at=act.at,
                coalesce_key=key_of(MessageKind.RECORD_DELIVERY, delivery.delivery_id),
            )
        )
        uow.audit_log.append(
            act.sealing(
                self.identities.new(),
                AuditKind.DELIVERY_RECEIVED,
                self.identities.salt(),
                {"digest": delivery.digest},
                delivery=delivery.delivery_id,
                door=delivery.door,
                site=delivery.site,
            )
        )

    def _settle(self, message: Message) -> None:
        with self.open_unit_of_work() as uow:
            uow.outbox.done(message)
            uow.commit()


def _said(moment: ClinicalTime) -> str | None:
    """A day or an instant as such, an hour as its day; more than a day says too little."""
    match moment.precision:
        case Precision.INSTANT:
            return moment.earliest.isoformat()
        case Precision.DAY:
            return moment.text
        case Precision.HOUR | Precision.MINUTE:
            day = moment.earliest.date()
            return day.isoformat() if moment.latest.date() == day else None
        case Precision.MONTH | Precision.YEAR:
            return None
