"""What one step of training learns from: questions about some patients, drawn at random.

The loop knows only `Lessons`: whoever trains on other data brings another source. Whatever a source
draws comes from the generator that it is given, so that a run that was cut off draws the same again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from clinical.errors import RejectedError
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.luck import Part
from clinical.worldmodel.targets import counted_windows
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, draw_day, lesson_of
from pipelines.training.recipes import Recipe

Lessons = Callable[[torch.Generator], Lesson]


class TooManyProcessesError(RejectedError):
    """There are more processes than patients in a lesson."""

    code = "training.too_many_processes"


@dataclass(frozen=True, slots=True)
class Share:
    """Every `number`-th patient of a lesson, from the `rank`-th on: the part of one process."""

    rank: int
    number: int


def require_enough(recipe: Recipe, num_patients: int, share: Share | None) -> None:
    """That every process has a patient in each lesson; raises TooManyProcessesError."""
    if share is not None and share.number > min(num_patients, recipe.patients_per_step):
        raise TooManyProcessesError("a lesson has fewer patients than there are processes")


class CaseLessons:
    """Lessons about cases; each bootstrap head has a resample of the patients of its own.

    With a `share`, the lessons are that part of the lessons that one process would draw: no patient
    is in two parts, and who is asked what does not depend on the number of processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        cases: Sequence[Case],
        tensorizer: Tensorizer,
        share: Share | None = None,
    ) -> None:
        require_enough(recipe, len(cases), share)
        self._recipe = recipe
        self._cases = cases
        self._tensorizer = tensorizer
        self._draws = _bootstrap(len(cases), recipe)
        self._share = share

    def __call__(self, generator: torch.Generator) -> Lesson:
        """The questions of one lesson."""
        recipe, cases, draws = self._recipe, self._cases, self._draws
        lesson = draw_lesson(recipe, cases, draws, self._tensorizer, generator, self._share)
        return with_counted_windows(lesson, recipe) if recipe.counted_windows else lesson


def _bootstrap(num_cases: int, recipe: Recipe) -> torch.Tensor:
    """How often each head's resample of the patients drew each patient (Poisson bootstrap)."""
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    return torch.poisson(torch.ones(num_cases, recipe.model.num_heads), generator=generator)


def with_counted_windows(lesson: Lesson, recipe: Recipe) -> Lesson:
    """The lesson with the recipe's windows by number of observations beside those by the clock."""
    counted = counted_windows(
        lesson.future,
        lesson.future_row,
        lesson.day,
        lesson.may_enter,
        recipe.counted_windows,
        recipe.model.windows_days[-1][1],
    )
    return replace(lesson, bounds=torch.cat([lesson.bounds, counted], dim=1))


def draw_lesson(
    recipe: Recipe,
    cases: Sequence[Case],
    draws: torch.Tensor,
    tensorizer: Tensorizer,
    generator: torch.Generator,
    share: Share | None = None,
) -> Lesson:
    """Questions about some patients, each over the trained windows and one drawn at random."""
    order = torch.randperm(len(cases), generator=generator)[: recipe.patients_per_step].tolist()
    chosen = [place for place in order for _ in range(recipe.questions_per_patient)]
    asked = [(cases[place], draw_day(cases[place], generator)) for place in chosen]
    bounds = torch.tensor(recipe.model.windows_days, dtype=torch.float32)
    bounds = bounds.expand(len(asked), -1, -1)
    bounds = torch.cat([bounds, _random_windows(len(asked), recipe, generator)], dim=1)
    per_patient = recipe.questions_per_patient
    return divided(asked, tensorizer, bounds, draws[chosen], per_patient, share)


def divided(
    asked: Sequence[tuple[Case, float]],
    tensorizer: Tensorizer,
    bounds: torch.Tensor,
    bootstrap: torch.Tensor,
    per_patient: int,
    share: Share | None,
) -> Lesson:
    """The lesson of these questions, `per_patient` in a row of each patient; of it only the share."""
    if share is None:
        return lesson_of(asked, tensorizer, bounds, bootstrap)
    position = torch.arange(len(asked)) // per_patient
    own = torch.nonzero(position % share.number == share.rank).squeeze(1)
    lesson = lesson_of([asked[place] for place in own], tensorizer, bounds[own], bootstrap[own])
    return replace(lesson, part=_part(lesson, own, len(asked)))


def _part(lesson: Lesson, own: torch.Tensor, num_questions: int) -> Part:
    first = torch.full((lesson.context.num_timelines,), num_questions)
    first = first.scatter_reduce(0, lesson.row, own, reduce="amin")
    return Part(own, first, num_questions)


def _random_windows(num: int, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """One window per question anywhere in the trained reach, short ones as often as long ones.

    Its bounds are whole units of the model's clock.
    """
    clock = recipe.model.clock_days
    reach = recipe.model.windows_days[-1][1] / clock
    luck = torch.rand(num, 2, generator=generator)
    start = ((1 + 0.8 * reach) ** luck[:, 0] - 1).floor()
    length = ((reach - start) ** luck[:, 1]).ceil().clamp(min=1.0)
    return torch.stack([start, start + length], dim=-1)[:, None] * clock
