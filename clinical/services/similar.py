"""Patients whose latent states are nearest to that of a prediction, told only as an aggregate."""

import struct
from dataclasses import dataclass
from uuid import UUID

from clinical.prediction.horizon import Horizon
from clinical.prediction.outcome import Risk
from clinical.prediction.prediction import Forecast
from clinical.prediction.similar import Neighbour, SimilarPatients, Untold, summarised
from clinical.services.ports import OpenUnitOfWork, UnitOfWork
from clinical.timeline.timeline import Timeline

GROUP = 60
"""So many nearest patients make the group, or all there are; some windows need the spare ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarService:
    """Looks for them among the patients of the same site, asked about by the same model."""

    open_unit_of_work: OpenUnitOfWork

    def of_review(self, review_id: UUID) -> SimilarPatients:
        """What is on record of patients like that of the review; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            prediction = uow.predictions.get(uow.reviews.get(review_id).prediction_id)
            forecast = prediction.forecast
            state = _state(forecast)
            if not state:
                return SimilarPatients(untold=Untold.NO_STATE)
            model = forecast.capsule.model.manifest_digest
            near = uow.states.nearest(prediction.request.patient_id, model, state, GROUP)
            group = [
                (each, timeline) for each in near if (timeline := _held(uow, each)) is not None
            ]
            typical = uow.states.typical_distance(prediction.request.patient_id, model, state)
        return summarised(group, _asked(forecast), typical)


def _held(uow: UnitOfWork, neighbour: Neighbour) -> Timeline | None:
    """All that is held of them; None where what was known then was withdrawn since."""
    timeline = uow.timelines.of(neighbour.patient_id)
    stands = any(known.at <= neighbour.as_of for known in timeline.standing)
    return timeline if stands else None


def _state(forecast: Forecast) -> tuple[float, ...]:
    trajectory = forecast.trajectory
    if trajectory is None:
        return ()
    return struct.unpack(f"<{len(trajectory.state) // 4}f", trajectory.state)


def _asked(forecast: Forecast) -> list[tuple[Risk, Horizon]]:
    """The risks and windows of which the model spoke, in its order."""
    names = {risk.value: risk for risk in Risk}
    return [
        (names[readout.name], readout.horizon)
        for readout in forecast.readouts
        if readout.name in names
    ]
