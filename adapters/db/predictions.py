"""Stored answers, the models that gave them, and the latent state behind each.

Knows the tables `predictions`, `model_versions` and `patient_states`.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.prediction_rows import prediction_of, row_of
from adapters.db.tables import model_versions, patient_states, predictions
from clinical.errors import NotFoundError
from clinical.prediction.prediction import ModelFingerprint, Prediction
from clinical.prediction.request import Purpose

_MAX_DIMENSIONS = 16_000  # of pgvector


class SqlPredictions:
    """Implements the port `Predictions` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def find(
        self,
        *,
        input_digest: str,
        config_digest: str,
        manifest_digest: str,
        purpose: Purpose,
        patient_id: UUID,
    ) -> UUID | None:
        """The prediction that answered this very question, if any."""
        return self._connection.scalar(
            select(predictions.c.prediction_id).where(
                predictions.c.patient_id == patient_id,
                predictions.c.input_digest == input_digest,
                predictions.c.manifest_digest == manifest_digest,
                predictions.c.config_digest == config_digest,
                predictions.c.purpose == purpose.value,
            )
        )

    def answered_until(self, patient_id: UUID, purpose: Purpose) -> datetime | None:
        """Up to which receipt the best informed answer of this purpose read."""
        newest: datetime | None = self._connection.scalar(
            select(func.max(predictions.c.received_by)).where(
                predictions.c.patient_id == patient_id, predictions.c.purpose == purpose.value
            )
        )
        return newest

    def newest(self, patient_id: UUID, purpose: Purpose) -> Prediction | None:
        """The best informed answer of this purpose, of several the one made last."""
        query = (
            select(predictions)
            .where(predictions.c.patient_id == patient_id, predictions.c.purpose == purpose.value)
            .order_by(
                predictions.c.received_by.desc(),
                predictions.c.made_at.desc(),
                predictions.c.prediction_id.desc(),
            )
            .limit(1)
        )
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else prediction_of(row)

    def add(self, prediction: Prediction) -> bool:
        """Store; the unique key of a question closes the race between two answers."""
        added = self._connection.execute(
            upsert(predictions)
            .values(row_of(prediction))
            .on_conflict_do_nothing(constraint="uq_predictions_question")
            .returning(predictions.c.prediction_id)
        ).scalar()
        if added is None:
            return False
        self._remember_state(prediction)
        return True

    def get(self, prediction_id: UUID) -> Prediction:
        """The prediction; raises NotFoundError."""
        return self.get_many([prediction_id])[0]

    def get_many(self, prediction_ids: Sequence[UUID]) -> list[Prediction]:
        """The predictions, in the order asked for; raises NotFoundError if one does not exist."""
        found = {each.request.prediction_id: each for each in self.held(prediction_ids)}
        if any(prediction_id not in found for prediction_id in prediction_ids):
            raise NotFoundError("no such prediction")
        return [found[prediction_id] for prediction_id in prediction_ids]

    def held(self, prediction_ids: Iterable[UUID]) -> list[Prediction]:
        """Those of the predictions that are stored, in no order."""
        query = select(predictions).where(predictions.c.prediction_id.in_(prediction_ids))
        return [prediction_of(row) for row in self._connection.execute(query).mappings()]

    def all(self) -> Iterator[Prediction]:
        """Every prediction in the order of making, streamed."""
        query = select(predictions).order_by(predictions.c.made_at, predictions.c.prediction_id)
        streamed = self._connection.execute(query.execution_options(yield_per=200))
        for row in streamed.mappings():
            yield prediction_of(row)

    def ensure_model(self, model: ModelFingerprint, at: datetime) -> bool:
        """Register the model version; True where it was new."""
        added = self._connection.execute(
            upsert(model_versions)
            .values(
                manifest_digest=model.manifest_digest,
                name=model.name,
                version=model.version,
                vocabulary_digest=model.vocabulary_digest,
                registered_at=at,
            )
            .on_conflict_do_nothing()
            .returning(model_versions.c.manifest_digest)
        ).scalar()
        return added is not None

    def _remember_state(self, prediction: Prediction) -> None:
        """Keep the state as a vector, for the search of similar patients."""
        trajectory = prediction.forecast.trajectory
        if trajectory is None or not trajectory.state:
            return
        request = prediction.request
        state = struct.unpack(f"<{len(trajectory.state) // 4}f", trajectory.state)
        if len(state) > _MAX_DIMENSIONS or not all(map(math.isfinite, state)):
            return  # nothing that could be compared
        row = {
            "prediction_id": request.prediction_id,
            "patient_id": request.patient_id,
            "manifest_digest": prediction.forecast.capsule.model.manifest_digest,
            "as_of": request.as_of,
            "state": list(state),
        }
        self._connection.execute(insert(patient_states).values(row))
