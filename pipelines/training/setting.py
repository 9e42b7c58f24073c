"""How patients of one setting of care are asked about: what a step draws, when to ask, what became of them.

Outpatient life is asked at the ends of visits, and its outcomes lie in the record. A stay in intensive
care is asked by the hour, and what became of the patient may be told beside the record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.prediction.horizon import Horizon
from clinical.worldmodel.tensorize import Tensorizer, day_of
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons, Lessons, Share
from pipelines.training.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """An outcome told beside the record, and how long after `since` to ask about it."""

    name: str  # of the readout
    horizon: Horizon
    labels: Mapping[UUID, bool]  # by patient
    since: datetime
    hours: tuple[float, ...]

    @property
    def days(self) -> tuple[float, ...]:
        """When to ask, by the day numbers of `tensorize`."""
        first = day_of(self.since)
        return tuple(first + hour / 24 for hour in self.hours)


def quiet_days(case: Case) -> Sequence[float]:
    """The moments after which the record was quiet."""
    return case.asked_days


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The ways of one setting."""

    lessons: Callable[[Recipe, Sequence[Case], Tensorizer, Share | None], Lessons] = CaseLessons
    days_of: Callable[[Case], Sequence[float]] = quiet_days
    labelled: Labelled | None = None


OUTPATIENT = Setting()
