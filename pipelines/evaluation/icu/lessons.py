"""Questions about stays for pretraining: two cuts a stay, half uniform in time, half on a log scale.

Knows how a step's lesson is drawn from the stays that it was given, and no outcome beyond the events
themselves.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.tensorize import day_of
from pipelines.evaluation.icu.stays import StaySet
from pipelines.icu.challenge import ADMISSION
from pipelines.training.recipes import Recipe

ADMISSION_DAY = day_of(ADMISSION)
RECORDED_HOURS = 48.0
"""The data set ends then: windows beyond teach nothing."""
_FIRST_HOUR = 1.0


class StayLessons:
    """Lessons about the stays at `places`; each bootstrap head has a resample of its own."""

    def __init__(self, recipe: Recipe, stays: StaySet, places: Int[Tensor, " n"]) -> None:
        self._recipe, self._stays, self._places = recipe, stays, places
        generator = torch.Generator().manual_seed(recipe.seed + 1)
        shape = (len(places), recipe.model.num_heads)
        self._draws = torch.poisson(torch.ones(shape), generator=generator)

    def __call__(self, generator: torch.Generator) -> Lesson:
        """The questions of one step."""
        recipe = self._recipe
        chosen = torch.randperm(len(self._places), generator=generator)
        chosen = chosen[: recipe.patients_per_step]
        row = torch.arange(len(chosen)).repeat_interleave(recipe.questions_per_patient)
        hours = draw_hours(len(row), generator)
        batch = self._stays.joined(self._places[chosen].tolist())
        bounds = torch.tensor(recipe.model.windows_days, dtype=torch.float32)
        return Lesson(
            context=batch,
            row=row,
            day=ADMISSION_DAY + hours / 24,
            future=batch,
            future_row=row,
            may_enter=torch.ones(len(batch.event_concept), dtype=torch.bool),
            bounds=bounds.expand(len(row), -1, -1),
            followed_days=((RECORDED_HOURS - hours) / 24).float(),
            bootstrap=self._draws[chosen[row]],
        )


def draw_hours(num: int, generator: torch.Generator) -> Float[Tensor, " Q"]:
    """Hours after admission at which to ask: uniform or log-uniform within the recorded time."""
    luck = torch.rand(num, 2, generator=generator, dtype=torch.float64)
    uniform = _FIRST_HOUR + luck[:, 1] * (RECORDED_HOURS - _FIRST_HOUR)
    logarithmic = _FIRST_HOUR * (luck[:, 1] * math.log(RECORDED_HOURS / _FIRST_HOUR)).exp()
    return torch.where(luck[:, 0] < 0.5, uniform, logarithmic)
