"""What a model makes of some patients: their windows, its forecasts of them, and what stands beside.

Knows how questions are put to the model for its diagnostics. Does not judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clinical.timeline.event import EventKind
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.latents import persisted, window_targets
from clinical.worldmodel.learning import true_plan
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.shapes import DAYS_PER_YEAR
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, lesson_of
from pipelines.training.recipes import Recipe

_PER_PATIENT = 20
_COUNT_FEATURE = 6  # of a series: the logarithm of how often it was seen


@dataclass(frozen=True, slots=True)
class Seen:
    """Projected latents of the windows that held something, `[n, L]`, and facts of each question."""

    question: Tensor
    horizon: Tensor
    owner: Tensor  # the patient of each row
    target: Tensor
    usual: Tensor
    planned: Tensor
    shuffled: Tensor
    persisted: Tensor
    has_actions: Tensor  # whether the plan of the row's question holds any
    states: Tensor  # [Q, D], ordered by patient and day
    state_owner: Tensor
    counts: Tensor  # [Q, S]: how often each series was seen by then
    facts: Tensor  # [Q, 3]: age in years, length of the record, events of the year before
    is_female: Tensor  # [Q]


@torch.no_grad()
def look(
    model: Jepa,
    tensorizer: Tensorizer,
    cases: Sequence[Case],
    recipe: Recipe,
    generator: torch.Generator,
) -> Seen:
    """Up to twenty questions a patient, each over the trained windows."""
    lesson, patients = _lesson(cases, tensorizer, recipe, generator)
    encoded = model.encode(lesson.context)
    reading = model.read(lesson.context, encoded, lesson.row, lesson.day)
    events = model.embedding(lesson.future)
    targets, counts = window_targets(model, lesson, events)
    is_target = (counts > 0) & (lesson.bounds[..., 1] <= lesson.followed_days[:, None])
    given = torch.ones(len(lesson.row), dtype=torch.bool)
    plan = true_plan(model, lesson, events, given)
    half = len(given) // 2
    rolled = Plan(
        plan.actions.roll(half, 0),
        plan.days.roll(half, 0),
        plan.is_action.roll(half, 0),
        plan.is_given,
    )
    question, horizon = torch.nonzero(is_target, as_tuple=True)
    means = [_mean(model, reading, lesson, one) for one in (None, plan, rolled)]
    shown = [targets, *means, persisted(model, lesson, events)]
    projected = [model.projector(one[is_target], one[is_target])[0] for one in shown]
    female = torch.tensor([float(_is_female(case)) for case in cases])
    return Seen(
        question,
        horizon,
        patients[question],
        projected[0],
        projected[1],
        projected[2],
        projected[3],
        projected[4],
        plan.is_action.any(1)[question],
        reading.state,
        patients,
        reading.features[..., _COUNT_FEATURE],
        _facts(lesson),
        female[patients],
    )


def _lesson(
    cases: Sequence[Case], tensorizer: Tensorizer, recipe: Recipe, generator: torch.Generator
) -> tuple[Lesson, Tensor]:
    asked, patients = [], []
    for number, case in enumerate(cases):
        order = torch.randperm(len(case.asked_days), generator=generator)[:_PER_PATIENT]
        asked += [(case, case.asked_days[place]) for place in sorted(order.tolist())]
        patients += [number] * len(order)
    bounds = torch.tensor(recipe.model.windows_days, dtype=torch.float32)
    bounds = bounds.expand(len(asked), -1, -1)
    bootstrap = torch.ones(len(asked), recipe.model.num_heads)
    return lesson_of(asked, tensorizer, bounds, bootstrap), torch.tensor(patients)


def _mean(model: Jepa, reading: Reading, lesson: Lesson, plan: Plan | None) -> Tensor:
    latents, _ = model.forecast(reading, lesson.bounds, plan)
    return latents.mean(2)


def _facts(lesson: Lesson) -> Tensor:
    """Age, length of the record and events of the year before, on logarithmic scales but for age."""
    context, row, day = lesson.context, lesson.row, lesson.day
    first = torch.full((context.num_timelines,), torch.inf, dtype=torch.float64)
    first = first.scatter_reduce(0, context.bundle_row, context.bundle_day, reduce="amin")
    is_own = context.event_row == row[:, None]
    is_recent = (context.event_day <= day[:, None]) & (
        context.event_day > day[:, None] - DAYS_PER_YEAR
    )
    age = torch.nan_to_num((day - context.birth_day[row]) / DAYS_PER_YEAR, nan=0.0)
    length = (day - first[row]).clamp(min=0.0).log1p()
    return torch.stack([age, length, (is_own & is_recent).sum(1).log1p()], dim=1).float()


def _is_female(case: Case) -> bool:
    return any(
        known.event.kind is EventKind.PATIENT and known.event.code.value == "female"
        for known in case.timeline.standing
    )
