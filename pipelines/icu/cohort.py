"""The stays of the PhysioNet 2012 challenge as patients to train on: asked by the hour, with their outcome.

The record of a stay ends after 48 hours; death in hospital is told beside it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from clinical.errors import RejectedError
from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.prediction.outcome import Risk
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.tensorize import Tensorizer, day_of
from pipelines.icu.challenge import ADMISSION, read_stays
from pipelines.training.dataset import Case
from pipelines.training.lessons import Share, divided, require_enough
from pipelines.training.recipes import Recipe
from pipelines.training.setting import Labelled, Setting

ADMISSION_DAY = day_of(ADMISSION)
RECORDED_HOURS = 48.0
OUTCOME_HOURS = (12.0, 24.0, 36.0, 48.0)
VALUE_HOURS = (6.0, 12.0, 18.0, 24.0)
"""So that every window of the next 24 hours is on record."""
_FIRST_HOUR = 1.0
_ARCHIVE, _OUTCOMES = "set-a.tar.gz", "Outcomes-a.txt"


class MissingChallengeError(RejectedError):
    """The folder lacks set-a of the challenge, or its outcomes."""

    code = "icu.missing_challenge"


def cohort(folder: Path) -> tuple[list[Timeline], int, Setting]:
    """The stays of set-a in `folder`, how many rows were refused, and how they are asked.

    Raises:
        MissingChallengeError, MalformedStayError
    """
    archive, outcomes = folder / _ARCHIVE, folder / _OUTCOMES
    if not (archive.exists() and outcomes.exists()):
        raise MissingChallengeError(f"the folder has no {_ARCHIVE} or no {_OUTCOMES}")
    stays = read_stays(archive, outcomes)
    labels = {
        stay.timeline.patient_id: stay.outcome.died_in_hospital
        for stay in stays
        if stay.outcome is not None
    }
    labelled = Labelled(
        name=str(Risk.DEATH_IN_HOSPITAL),
        horizon=UNTIL_DISCHARGE,
        labels=labels,
        since=ADMISSION,
        hours=OUTCOME_HOURS,
    )
    setting = Setting(lessons=HourlyLessons, days_of=value_days, labelled=labelled)
    return [stay.timeline for stay in stays], sum(stay.num_refused for stay in stays), setting


def value_days(_: Case) -> Sequence[float]:
    """When to ask for values: every window that is foretold then lies within the record."""
    return tuple(ADMISSION_DAY + hour / 24 for hour in VALUE_HOURS)


class HourlyLessons:
    """Lessons about stays at moments that are uniform, or uniform on a log scale, since admission."""

    def __init__(
        self,
        recipe: Recipe,
        cases: Sequence[Case],
        tensorizer: Tensorizer,
        share: Share | None = None,
    ) -> None:
        """Each bootstrap head has a resample of the stays of its own."""
        require_enough(recipe, len(cases), share)
        self._recipe, self._cases, self._tensorizer = recipe, cases, tensorizer
        self._share = share
        generator = torch.Generator().manual_seed(recipe.seed + 1)
        shape = (len(cases), recipe.model.num_heads)
        self._draws = torch.poisson(torch.ones(shape), generator=generator)

    def __call__(self, generator: torch.Generator) -> Lesson:
        """The questions of one step."""
        recipe = self._recipe
        order = torch.randperm(len(self._cases), generator=generator)
        order = order[: recipe.patients_per_step].repeat_interleave(recipe.questions_per_patient)
        days = (ADMISSION_DAY + draw_hours(len(order), generator) / 24).tolist()
        asked = [(self._cases[n], day) for n, day in zip(order.tolist(), days, strict=True)]
        bounds = torch.tensor(recipe.model.windows_days, dtype=torch.float32)
        bounds = bounds.expand(len(asked), -1, -1)
        draws, per_patient = self._draws[order], recipe.questions_per_patient
        return divided(asked, self._tensorizer, bounds, draws, per_patient, self._share)


def draw_hours(num: int, generator: torch.Generator) -> torch.Tensor:
    """Hours since admission, half of them uniform and half log-uniform, float64."""
    luck = torch.rand(num, 2, generator=generator, dtype=torch.float64)
    uniform = _FIRST_HOUR + luck[:, 1] * (RECORDED_HOURS - _FIRST_HOUR)
    logarithmic = _FIRST_HOUR * (luck[:, 1] * math.log(RECORDED_HOURS / _FIRST_HOUR)).exp()
    return torch.where(luck[:, 0] < 0.5, uniform, logarithmic)
