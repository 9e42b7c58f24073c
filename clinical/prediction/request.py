"""The frozen question: whose timeline, cut when, over which horizons, under which plan."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.prediction.action import Action
from clinical.prediction.contradiction import require_consistent
from clinical.prediction.horizon import Horizon
from clinical.timeline.event import Phase


class Purpose(StrEnum):
    """Why the question is asked."""

    REVIEW = "review"  # a clinician will judge the answer
    RETROSPECTIVE = "retrospective"  # asked of the past, to be compared with what happened


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRequest:
    """A question; asked again of the same model and device it gives the same answer.

    `received_by` bounds what had reached us when it was first asked. `horizons` empty means those
    that the model was trained for. An empty plan (`actions`) asks for the course under usual care.

    Raises:
        ContradictoryPlanError: the plan cannot be meant.
    """

    prediction_id: UUID
    patient_id: UUID
    as_of: datetime
    received_by: datetime
    purpose: Purpose = Purpose.REVIEW
    horizons: tuple[Horizon, ...] = ()
    actions: tuple[Action, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        require_consistent(self.actions, self.horizons)

    @property
    def config_digest(self) -> str:
        """Hex SHA-256 of what was asked apart from whom and when: horizons, plan, seed."""
        parts = [horizon.label for horizon in self.horizons]
        parts += [
            f"{a.kind}|{a.code.key}|{a.after.total_seconds()}|{a.dose.value if a.dose else ''}"
            f"|{(a.dose.unit if a.dose else '') or ''}"
            f"{'' if a.phase is Phase.POINT else f'|{a.phase}'}"
            for a in self.actions
        ]
        return hashlib.sha256("\n".join([str(self.seed), *parts]).encode()).hexdigest()
