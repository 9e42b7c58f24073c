"""J2: from a timeline to a stored prediction and an open review."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.memory import Answered, PatientMemory, RefusedMemoryError
from clinical.prediction.prediction import Forecast, Prediction
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.review.review import Review
from clinical.services.ports import Clock, Identities, ModelServer, OpenUnitOfWork, UnitOfWork
from clinical.timeline.timeline import Timeline


class UnknownPatientError(RejectedError):
    """Nothing is known of this patient by the moment asked about."""

    code = "prediction.unknown_patient"


class ChangedInputError(RejectedError):
    """The events that a prediction rested on are no longer the same: it cannot be recomputed."""

    code = "prediction.changed_input"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionService:
    """Asks the model, stores the answer, opens the review."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    models: ModelServer

    def make(
        self,
        patient_id: UUID,
        act: Act,
        *,
        purpose: Purpose = Purpose.REVIEW,
        as_of: datetime | None = None,
        message_id: UUID | None = None,
    ) -> UUID:
        """Answer the question once; the id of the prediction, also where it was already answered.

        Without `as_of` the question is asked of all that is known by now.

        Raises:
            UnknownPatientError, ModelUnavailableError, ModelBusyError
        """
        now = self.clock.now()
        with self.open_unit_of_work() as uow:
            timeline = uow.timelines.of(patient_id).cut(as_of or now, received_by=now)
            memory = self._remembered(uow, timeline)
        if timeline.known_until is None:
            raise UnknownPatientError("nothing is known of this patient by that moment")
        request = PredictionRequest(
            prediction_id=self.identities.new(),
            patient_id=patient_id,
            as_of=as_of or timeline.known_until,
            received_by=now,
            purpose=purpose,
        )
        answered = self._answer(request, timeline, memory)
        prediction = Prediction(
            request=request, forecast=answered.forecast, made_at=self.clock.now()
        )
        with self.open_unit_of_work() as uow:
            prediction_id = self._store(uow, prediction, act)
            uow.memories.keep(answered.memories)
            if message_id is not None:
                uow.outbox.done(message_id, self.clock.now())
            uow.commit()
        return prediction_id

    def recompute(self, prediction_id: UUID) -> tuple[Prediction, Forecast]:
        """The stored prediction, and what the model answers to the same question now.

        Raises:
            ChangedInputError: the events are not those that it rested on.
        """
        prediction, timeline = self._asked(prediction_id)
        return prediction, self.models.forecast(prediction.request, timeline)

    def resume(self, prediction_id: UUID) -> Forecast | None:
        """As `recompute`, going on from what the model remembers; None where it remembers nothing.

        Raises:
            ChangedInputError, RefusedMemoryError
        """
        prediction, timeline = self._asked(prediction_id)
        with self.open_unit_of_work() as uow:
            memory = self._remembered(uow, timeline)
        if memory is None:
            return None
        return self.models.answer(prediction.request, timeline, memory).forecast

    def _asked(self, prediction_id: UUID) -> tuple[Prediction, Timeline]:
        with self.open_unit_of_work() as uow:
            prediction = uow.predictions.get(prediction_id)
            request = prediction.request
            timeline = uow.timelines.of(request.patient_id).cut(
                request.as_of, received_by=request.received_by
            )
        if not timeline.is_input(prediction.forecast.capsule.input_digest):
            raise ChangedInputError("the events that the prediction rested on have changed")
        return prediction, timeline

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
        if uow.predictions.ensure_model(capsule.model, act.at):
            uow.audit_log.append(
                act.entry(
                    self.identities.new(),
                    AuditKind.MODEL_REGISTERED,
                    model=capsule.model.manifest_digest,
                    name=capsule.model.name,
                    version=capsule.model.version,
                )
            )
        if not uow.predictions.add(prediction):
            return self._already(uow, prediction)
        request = prediction.request
        uow.audit_log.append(
            act.entry(
                self.identities.new(),
                AuditKind.PREDICTION_STORED,
                prediction=request.prediction_id,
                input=capsule.input_digest,
                model=capsule.model.manifest_digest,
                config=capsule.config_digest,
                output=prediction.forecast.output_digest,
            )
        )
        if request.purpose is Purpose.REVIEW:
            self._open_review(uow, prediction, act)
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

    def _open_review(self, uow: UnitOfWork, prediction: Prediction, act: Act) -> None:
        request = prediction.request
        review = Review(
            review_id=self.identities.new(),
            prediction_id=request.prediction_id,
            patient_id=request.patient_id,
            priority=priority_of(prediction.forecast),
            opened_at=act.at,
        )
        others = uow.reviews.open_for(request.patient_id)
        best = uow.predictions.answered_until(request.patient_id, request.purpose)
        if best is not None and best > request.received_by:
            return  # overtaken on the way: what knows more is under review, or was
        for older in others:
            uow.reviews.update(older.supersede(act.at, f"prediction {request.prediction_id}"))
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
                prediction=request.prediction_id,
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
