"""J2: from a timeline to a stored prediction and an open review."""

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.circumstances import deliveries_of, received_of
from clinical.prediction.memory import Answered, PatientMemory, RefusedMemoryError
from clinical.prediction.prediction import Forecast, Prediction
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.review.review import Review
from clinical.services.admission import admit
from clinical.services.messages import Message
from clinical.services.ports import (
    Clock,
    Identities,
    ModelServer,
    ModelUnavailableError,
    OpenUnitOfWork,
    UnitOfWork,
)
from clinical.timeline.timeline import Timeline


class UnknownPatientError(RejectedError):
    """Nothing is known of this patient by the moment asked about."""

    code = "prediction.unknown_patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionService:
    """Asks the model, stores the answer, opens the review."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    models: ModelServer
    is_first_model_trusted: bool = True

    def make(
        self,
        patient_id: UUID,
        act: Act,
        *,
        purpose: Purpose = Purpose.REVIEW,
        as_of: datetime | None = None,
        message: Message | None = None,
    ) -> UUID:
        """Answer the question once; the id of the prediction, also where it was already answered.

        Without `as_of` the question is asked of all that is known by now. Who was merged into another
        record by the moment asked about is asked about under that one.

        Raises:
            UnknownPatientError, ModelUnavailableError, ModelBusyError
            ModelStoppedError, ModelNotPromotedError
            TakenOverError: somebody else has the message; nothing is kept.
        """
        now = self.clock.now()
        with self.open_unit_of_work() as uow:
            merges = uow.retractions.merges([patient_id])
            patient_id = merges.lead(patient_id, as_of or now, now)
            timeline = uow.timelines.of(patient_id).cut(as_of or now, received_by=now)
            memory = self._remembered(uow, timeline)
            received = received_of(timeline, uow.inbox.digests(deliveries_of(timeline)))
        if timeline.known_until is None:
            raise UnknownPatientError("nothing is known of this patient by that moment")
        self._admit(act, purpose)
        request = PredictionRequest(
            prediction_id=self.identities.new(),
            patient_id=patient_id,
            as_of=as_of or timeline.known_until,
            received_by=now,
            purpose=purpose,
        )
        answered = self._answer(request, timeline, memory)
        capsule = replace(answered.forecast.capsule, received=received)
        forecast = replace(answered.forecast, capsule=capsule)
        prediction = Prediction(request=request, forecast=forecast, made_at=self.clock.now())
        with self.open_unit_of_work() as uow:
            prediction_id = self._store(uow, prediction, act)
            uow.memories.keep(answered.memories)
            if message is not None:
                uow.outbox.done(message)
            uow.commit()
        return prediction_id

    def _admit(self, act: Act, purpose: Purpose) -> None:
        """Before the model is asked: a stopped one is left in peace, a new one becomes known."""
        with self.open_unit_of_work() as uow:
            model = admit(
                uow,
                self.models.fingerprint(),
                act,
                self.identities,
                is_first_trusted=self.is_first_model_trusted and purpose is Purpose.REVIEW,
            )
            uow.commit()
        model.require_answers(purpose)

    def _remembered(self, uow: UnitOfWork, timeline: Timeline) -> PatientMemory | None:
        """The newest memory of just the first events of this timeline.

        A late or corrected event changes the digest from its place on, so what is found is the last
        memory from before it.
        """
        prefixes = timeline.chain.resumable[1:]
        if not prefixes:
            return None
        model = self.models.fingerprint().manifest_digest
        return uow.memories.newest(timeline.patient_id, model, prefixes)

    def _answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        if memory is not None:
            # After an update of the code, say: the whole is read again, and remembered anew.
            with contextlib.suppress(RefusedMemoryError):
                return self.models.answer(request, timeline, memory)
        return self.models.answer(request, timeline, None)

    def _store(self, uow: UnitOfWork, prediction: Prediction, act: Act) -> UUID:
        capsule = prediction.forecast.capsule
        # Nobody stops it from here to the commit.
        model = uow.models.share(capsule.model.manifest_digest)
        if model is None:
            raise ModelUnavailableError("another model serves since it was asked which one does")
        model.require_answers(prediction.request.purpose)
        request = prediction.request
        if not uow.predictions.add(prediction):
            held_id = self._already(uow, prediction)
            if request.purpose is Purpose.REVIEW:
                self._reopen_review(uow, held_id, prediction, act)
            return held_id
        uow.audit_log.append(
            act.sealing(
                self.identities.new(),
                AuditKind.PREDICTION_STORED,
                self.identities.salt(),
                prediction.sealed_content,
                prediction=request.prediction_id,
                model=capsule.model.manifest_digest,
                config=capsule.config_digest,
            )
        )
        if request.purpose is Purpose.REVIEW:
            self._open_review(uow, prediction, request.prediction_id, act)
        return request.prediction_id

    def _already(self, uow: UnitOfWork, prediction: Prediction) -> UUID:
        capsule = prediction.forecast.capsule
        held = uow.predictions.find(
            input_digest=capsule.input_digest,
            config_digest=capsule.config_digest,
            manifest_digest=capsule.model.manifest_digest,
            purpose=prediction.request.purpose,
            patient_id=prediction.request.patient_id,
        )
        assert held is not None, "a prediction that could not be added is held"
        return held

    def _reopen_review(
        self, uow: UnitOfWork, held_id: UUID, prediction: Prediction, act: Act
    ) -> None:
        """What was withdrawn may leave just what was known before: the answer to that stands again."""
        others = uow.reviews.open_for(prediction.request.patient_id)
        open_ids = {review.prediction_id for review in others}
        if held_id not in open_ids and uow.retractions.stale(open_ids):
            self._open_review(uow, prediction, held_id, act)

    def _open_review(
        self, uow: UnitOfWork, prediction: Prediction, prediction_id: UUID, act: Act
    ) -> None:
        """Of the stored prediction of this id, which says what `prediction` says."""
        request = prediction.request
        review = Review(
            review_id=self.identities.new(),
            prediction_id=prediction_id,
            patient_id=request.patient_id,
            priority=priority_of(prediction.forecast),
            opened_at=act.at,
        )
        others = uow.reviews.open_for(request.patient_id)
        now = self.clock.now()
        merges = uow.retractions.merges([request.patient_id])
        if merges.lead(request.patient_id, now, now) != request.patient_id:
            return  # merged into another record on the way: that one is asked about
        best = uow.predictions.answered_until(request.patient_id, request.purpose)
        if best is not None and best > request.received_by:
            return  # overtaken on the way: what knows more is under review, or was
        for older in others:
            uow.reviews.update(older.supersede(act.at, f"prediction {prediction_id}"))
            uow.audit_log.append(
                act.entry(
                    self.identities.new(),
                    AuditKind.REVIEW_SUPERSEDED,
                    review=older.review_id,
                    by=review.review_id,
                )
            )
        uow.reviews.add(review)
        uow.audit_log.append(
            act.entry(
                self.identities.new(),
                AuditKind.REVIEW_OPENED,
                review=review.review_id,
                prediction=prediction_id,
            )
        )


def priority_of(forecast: Forecast) -> float:
    """The highest calibrated risk said, in [0, 1]; 0 where nothing was said."""
    risks = [
        readout.estimate
        for readout in forecast.readouts
        if readout.kind is ReadoutKind.PROBABILITY and readout.estimate is not None
    ]
    return max(risks, default=0.0)
