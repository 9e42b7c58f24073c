"""J3, second half: tell the EHR what was decided, once."""

from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.prediction import Prediction
from clinical.review.writeback import WriteBack
from clinical.services.messages import Message
from clinical.services.ports import Clock, EhrGateway, Identities, OpenUnitOfWork, UnitOfWork
from clinical.services.taking_back import owe_take_backs
from clinical.timeline.timeline import Timeline


class RecalledError(RejectedError):
    """What was decided about was recalled since: it is not told before somebody has decided anew."""

    code = "writeback.recalled"


class UndecidedError(RejectedError):
    """Nothing is told to the EHR before a clinician has decided."""

    code = "writeback.undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBackService:
    """Tells the EHR."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    ehr: EhrGateway

    def tell(self, review_id: UUID, act: Act, *, message: Message) -> str:
        """Write back the decided prediction; returns the EHR's id of it.

        Raises:
            UndecidedError, RecalledError, EhrUnavailableError
            TakenOverError: somebody else has the message; the EHR is told once all the same.
        """
        with self.open_unit_of_work() as uow:
            write_back = _composed(uow, review_id)
            if uow.recalls.relooks([review_id]):
                raise RecalledError("what was decided about was recalled")
        told = self.ehr.write_back(write_back)
        with self.open_unit_of_work() as uow:
            uow.outbox.done(message)
            uow.reviews.note_written_back(review_id, told.ehr_id, self.clock.now())
            uow.audit_log.append(
                act.sealing(
                    self.identities.new(),
                    AuditKind.WRITEBACK_DONE,
                    self.identities.salt(),
                    {"ehr_id": told.ehr_id},
                    review=review_id,
                    told=",".join(told.resource_types),
                    left_out=",".join(told.left_out),
                )
            )
            # Recalled while the EHR was being told: whoever asked for another look did not see this.
            if uow.recalls.relooks([review_id]):
                owe_take_backs(uow, [review_id], self.clock.now(), self.identities)
            uow.commit()
        return told.ehr_id

    def take_back(self, review_id: UUID, act: Act, *, message: Message) -> None:
        """Mark as entered in error what the EHR was told of a review, where the site wants that.

        Raises:
            EhrUnavailableError
            TakenOverError: somebody else has the message; it is marked once all the same.
        """
        with self.open_unit_of_work() as uow:
            write_back = _composed(uow, review_id)
            ehr_id = uow.reviews.written_back([review_id]).get(review_id)
        told = self.ehr.take_back(write_back, ehr_id) if ehr_id is not None else None
        with self.open_unit_of_work() as uow:
            uow.outbox.done(message)
            if told is not None and told.resource_types:
                uow.audit_log.append(
                    act.entry(
                        self.identities.new(),
                        AuditKind.WRITEBACK_TAKEN_BACK,
                        review=review_id,
                        told=",".join(told.resource_types),
                    )
                )
            uow.commit()


def _composed(uow: UnitOfWork, review_id: UUID) -> WriteBack:
    review = uow.reviews.get(review_id)
    decision = uow.reviews.decision(review_id)
    if decision is None:
        raise UndecidedError("the review has no decision")
    patient = uow.timelines.patient(review.patient_id)
    prediction = uow.predictions.get(review.prediction_id)
    return WriteBack(
        site=patient.site,
        patient_reference=f"Patient/{patient.record_id}",
        prediction=prediction,
        decision=decision,
        basis=_basis(prediction, uow.timelines.of(review.patient_id)),
    )


def _basis(prediction: Prediction, timeline: Timeline) -> tuple[str, ...]:
    """The records behind the evidence, each once."""
    evidence = {identity for each in prediction.forecast.readouts for identity in each.evidence}
    sources = (
        known.event.source for known in timeline.versions if known.event.event_id in evidence
    )
    return tuple(sorted({f"{source.record_type}/{source.record_id}" for source in sources}))
