"""What lies outside the service: the clock, fresh identities, readers, the model process, the EHR."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinical.errors import OperationalError
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.plan import PlanComparison, PlanQuestion
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.review.writeback import Told, WriteBack
from clinical.services.delivery import Delivery, Reading
from clinical.timeline.timeline import Timeline


class ModelUnavailableError(OperationalError):
    """The model process is not there, not warm, or answered with an error: ask again later."""

    code = "model.unavailable"


class ModelBusyError(OperationalError):
    """The model process refused: its queue is full or the request waited too long."""

    code = "model.busy"


class EhrUnavailableError(OperationalError):
    """The EHR did not answer, or not with an answer: whether it acted is unknown."""

    code = "ehr.unavailable"


class Clock(Protocol):
    """The moment, in UTC."""

    def now(self) -> datetime: ...


class Identities(Protocol):
    """Fresh identities, and salts that nobody can guess."""

    def new(self) -> UUID: ...

    def salt(self) -> bytes:
        """32 random bytes."""
        ...


class Reader(Protocol):
    """Understands the deliveries of one door; never raises for a bad record, it quarantines it."""

    def read(self, delivery: Delivery) -> Reading: ...


class ModelServer(Protocol):
    """The model process."""

    def fingerprint(self) -> ModelFingerprint:
        """Which model serves; raises ModelUnavailableError."""
        ...

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        """The answer of the model to a timeline already cut; raises ModelUnavailableError, ModelBusyError."""
        ...

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        """The same forecast, bit for bit, going on from `memory`; and what is then remembered.

        `timeline` is the whole; of it the model is given what comes after `memory`.

        Raises:
            RefusedMemoryError: ask without it.
            ModelUnavailableError, ModelBusyError
        """
        ...


class PlanModel(Protocol):
    """The model process, as it compares plans."""

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        """Of each action, by `Code.key`, whether it can be planned; raises as `compare_plans` does."""
        ...

    def compare_plans(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        """The comparison, for a timeline already cut.

        Raises:
            ModelUnavailableError, ModelBusyError
            UnknownPlanActionError, UnusableGoalError, MalformedPlanQuestionError
        """
        ...


class EhrGateway(Protocol):
    """The EHR as something that can be told."""

    def take_back(self, write_back: WriteBack, ehr_id: str) -> Told:
        """Mark as entered in error what it was told, where the site wants that; what was marked.

        Raises:
            EhrUnavailableError
        """
        ...

    def write_back(self, write_back: WriteBack) -> Told:
        """Tell the EHR once, however often called.

        Raises:
            EhrUnavailableError
        """
        ...
