"""J2: from a timeline to a stored prediction and an open review."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.prediction import Forecast, Prediction
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.review.review import Review
from clinical.services.ports import Clock, Identities, ModelServer, OpenUnitOfWork, UnitOfWork


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
        if timeline.known_until is None:
            raise UnknownPatientError("nothing is known of this patient by that moment")
        request = PredictionRequest(
            prediction_id=self.identities.new(),
            patient_id=patient_id,
            as_of=as_of or timeline.known_until,
            received_by=now,
            purpose=purpose,
        )
        forecast = self.models.forecast(request, timeline)
        prediction = Prediction(request=request, forecast=forecast, made_at=self.clock.now())
        with self.open_unit_of_work() as uow:
            prediction_id = self._store(uow, prediction, act)
            if message_id is not None:
                uow.outbox.done(message_id, self.clock.now())
            uow.commit()
        return prediction_id

    def recompute(self, prediction_id: UUID) -> tuple[Prediction, Forecast]:
        """The stored prediction, and what the model answers to the same question now.

        Raises:
            ChangedInputError: the events are not those that it rested on.
        """
        with self.open_unit_of_work() as uow:
            prediction = uow.predictions.get(prediction_id)
            request = prediction.request
            timeline = uow.timelines.of(request.patient_id).cut(
                request.as_of, received_by=request.received_by
            )
        if timeline.digest != prediction.forecast.capsule.input_digest:
            raise ChangedInputError("the events that the prediction rested on have changed")
        return prediction, self.models.forecast(request, timeline)

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
        for older in uow.reviews.open_for(request.patient_id):
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
