"""Whether a trained model is healthy, apart from how well it foretells (design section 7.10).

Knows the signs of collapse, of copying and of ignoring actions. Computed on validation patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.learning import true_plan
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.regulariser import directions, sigreg, sigreg_null
from clinical.worldmodel.targets import members
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, lesson_of
from pipelines.training.recipes import Recipe

_MIN_RANK_SHARE = 0.4
_MIN_STD = 0.3
_MAX_NULLS = 3.0
_NUM_RESAMPLES = 400
_PER_PATIENT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One sign of health: what was found, what would be healthy, and whether it is."""

    name: str
    found: float
    healthy: str
    is_passed: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """Projected latents of the windows that held something, `[n, L]`."""

    question: Tensor
    horizon: Tensor
    target: Tensor
    usual: Tensor
    planned: Tensor
    shuffled: Tensor
    persisted: Tensor
    states: Tensor


def diagnose(
    model: Jepa, tensorizer: Tensorizer, cases: Sequence[Case], recipe: Recipe
) -> list[Gate]:
    """The gates of a run, in the order of the design's table."""
    generator = torch.Generator().manual_seed(recipe.seed + 2)
    model = model.to("cpu").eval()
    with torch.no_grad():
        lesson, patients = _lesson(cases, tensorizer, recipe, generator)
        seen = _look(model, lesson)
    width = recipe.model.latent
    deviations = seen.target.std(0)
    null = sigreg_null(recipe.loss)
    along = directions(width, recipe.loss, generator)
    first = _one_per_question(seen.question)
    gates = [
        _at_least("rank of target latents / width", rank(seen.target) / width, _MIN_RANK_SHARE),
        _at_least("rank of states / width", rank(seen.states) / width, _MIN_RANK_SHARE),
        _at_least("least deviation of a latent dimension", float(deviations.min()), _MIN_STD),
        _at_least("5 % quantile of the deviations", float(deviations.quantile(0.05)), _MIN_STD),
    ]
    statistic = float(sigreg(seen.target[first], along, recipe.loss)) / null
    gates.append(
        Gate(
            name="SIGReg / its value for a Gaussian",
            found=statistic,
            healthy=f"< {_MAX_NULLS}",
            is_passed=statistic < _MAX_NULLS,
        )
    )
    for place, horizon in enumerate(recipe.model.horizons):
        rows = seen.horizon == place
        if int(rows.sum()) >= 20:
            gates += _skills(seen, rows, horizon.label)
    low, gap = _action_gap(seen, patients, generator)
    gates.append(_above("loss gap under shuffled plans, lower 95 % bound", low))
    gates.append(_above("loss gap under shuffled plans", gap))
    moved = (seen.planned - seen.shuffled).norm(dim=1).mean()
    gates.append(_above("distance between plan and shuffled plan", float(moved)))
    return gates


def rank(vectors: Tensor) -> float:
    """Effective rank: exp of the entropy of the singular values (RankMe, Garrido et al. 2023)."""
    values = torch.linalg.svdvals((vectors - vectors.mean(0)).double())
    share = values / values.sum().clamp(min=1e-12)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())


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


def _look(model: Jepa, lesson: Lesson) -> _Seen:
    encoded = model.encode(lesson.context)
    reading = model.read(lesson.context, encoded, lesson.row, lesson.day)
    events = model.embedding(lesson.future)
    inside = members(lesson.future, lesson.future_row, lesson.day, lesson.bounds, lesson.may_enter)
    shape = lesson.bounds.shape[:2]
    targets = model.windows(events, inside).reshape(*shape, -1)
    is_target = (inside.counts > 0).reshape(shape)
    is_target &= lesson.bounds[..., 1] <= lesson.followed_days[:, None]
    given = torch.ones(len(lesson.row), dtype=torch.bool)
    plan = true_plan(model, lesson, events, given)
    rolled = Plan(*(part.roll(len(given) // 2, 0) for part in _parts(plan)))
    question, horizon = torch.nonzero(is_target, as_tuple=True)

    def projected(latents: Tensor) -> Tensor:
        one: Tensor = model.projector(latents[is_target], latents[is_target])[0]
        return one

    return _Seen(
        question,
        horizon,
        projected(targets),
        projected(_mean(model, reading, lesson, None)),
        projected(_mean(model, reading, lesson, plan)),
        projected(_mean(model, reading, lesson, rolled)),
        projected(_persisted(model, lesson, events)),
        reading.state,
    )


def _parts(plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (plan.actions, plan.days, plan.is_action, plan.is_given)


def _mean(model: Jepa, reading: Reading, lesson: Lesson, plan: Plan | None) -> Tensor:
    latents, _ = model.forecast(reading, lesson.bounds, plan)
    return latents.mean(2)


def _persisted(model: Jepa, lesson: Lesson, events: Tensor) -> Tensor:
    """The latent of the stretch just before the question, of the same length, as if it came again."""
    past = []
    for place in range(lesson.bounds.shape[1]):
        bounds = lesson.bounds[:, place : place + 1]
        earlier = replace(lesson, day=lesson.day - bounds[:, 0, 1].double(), bounds=bounds)
        inside = members(lesson.future, lesson.future_row, earlier.day, bounds)
        past.append(model.windows(events, inside))
    return torch.stack(past, dim=1)


def _one_per_question(question: Tensor) -> Tensor:
    is_first = torch.ones_like(question, dtype=torch.bool)
    is_first[1:] = question[1:] != question[:-1]
    return is_first


def _skills(seen: _Seen, rows: Tensor, label: str) -> list[Gate]:
    def error(guess: Tensor) -> float:
        return float((guess - seen.target[rows]).square().mean())

    own = error(seen.usual[rows])
    persistence, mean = error(seen.persisted[rows]), error(seen.target[rows].mean(0))
    return [
        _above(f"latent skill over persistence, {label}", 1 - own / persistence),
        _above(f"latent skill over the mean, {label}", 1 - own / mean),
    ]


def _action_gap(seen: _Seen, patients: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """How much worse the forecast is under another patient's plan: lower 95 % bound and mean."""
    worse = (seen.shuffled - seen.target).square().mean(1)
    gaps = worse - (seen.planned - seen.target).square().mean(1)
    owner = patients[seen.question]
    num = int(patients.max()) + 1
    sums = torch.zeros(num).index_add(0, owner, gaps)
    counts = torch.zeros(num).index_add(0, owner, torch.ones_like(gaps))
    drawn = torch.randint(num, (_NUM_RESAMPLES, num), generator=generator)
    means = sums[drawn].sum(1) / counts[drawn].sum(1).clamp(min=1)
    return float(means.quantile(0.025)), float(gaps.mean())


def _at_least(name: str, found: float, limit: float) -> Gate:
    return Gate(name=name, found=found, healthy=f"≥ {limit}", is_passed=found >= limit)


def _above(name: str, found: float) -> Gate:
    return Gate(name=name, found=found, healthy="> 0", is_passed=found > 0)
