"""Whether a trained model is healthy, apart from how well it foretells (design section 7.10).

Knows the signs of collapse, of copying and of ignoring actions, and which are decisive. Judged on
validation patients; the baselines that must be fitted are fitted on training patients.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case
from pipelines.training.gates import (
    Gate,
    at_least,
    below,
    better,
    positive,
    told,
    without_actions,
)
from pipelines.training.recipes import Recipe
from pipelines.training.seen import Seen, look
from pipelines.training.signs import (
    explained,
    lidar,
    lower_bound,
    most_skill,
    nulls,
    own_to_nearest,
    rank,
    ridge,
    separation,
    straightness,
)

_MIN_RANK_SHARE = 0.4
_MIN_STD = 0.3
_MAX_NULLS = 3.0
_MIN_ROWS = 20
_MAX_AGE_EXPLAINED = 0.1
_MAX_SEX_SEPARATION = 0.65


def diagnose(
    model: Jepa,
    tensorizer: Tensorizer,
    cases: Sequence[Case],
    recipe: Recipe,
    training: Sequence[Case],
) -> list[Gate]:
    """The gates of a run, in the order of the design's table: of `cases`, set beside `training`."""
    generator = torch.Generator().manual_seed(recipe.seed + 2)
    model = model.to("cpu").eval()
    seen = look(model, tensorizer, cases, recipe, generator)
    fitted = look(model, tensorizer, training, recipe, generator)
    return [
        *_spread(seen, recipe, generator),
        *_foretelling(seen, fitted, recipe, generator),
        *_actions(seen, generator),
        *_shortcuts(seen, fitted),
        *_paths(seen, recipe),
    ]


def _spread(seen: Seen, recipe: Recipe, generator: torch.Generator) -> list[Gate]:
    width, deviations = recipe.model.num_compared, seen.target.std(0)
    share = rank(seen.states) / recipe.model.width
    name = "SIGReg / its value for a Gaussian"
    by_patient = nulls(seen.target, seen.owner, recipe.loss, generator)
    by_question = nulls(seen.target, seen.question, recipe.loss, generator)
    return [
        at_least("rank of target latents / width", rank(seen.target) / width, _MIN_RANK_SHARE),
        at_least("rank of states / width", share, _MIN_RANK_SHARE),
        at_least("least deviation of a latent dimension", float(deviations.min()), _MIN_STD),
        at_least("5 % quantile of the deviations", float(deviations.quantile(0.05)), _MIN_STD),
        below(f"{name}, one window a patient", by_patient, _MAX_NULLS),
        # Windows of one patient are no independent sample: each counts as several of the same.
        told(f"{name}, one window a question", by_question),
        told(
            "LiDAR over patients / width",
            lidar(seen.target, seen.owner) / width,
            "rising, then flat",
        ),
    ]


def _foretelling(
    seen: Seen, fitted: Seen, recipe: Recipe, generator: torch.Generator
) -> list[Gate]:
    """Skill over three baselines for each window with rows enough."""
    gates = []
    for place, horizon in enumerate(recipe.model.horizons):
        rows, own = seen.horizon == place, fitted.horizon == place
        if int(rows.sum()) < _MIN_ROWS or int(own.sum()) < _MIN_ROWS:
            continue
        baselines = {
            "persistence": seen.persisted[rows],
            "the training mean": fitted.target[own].mean(0),
            "ridge on counts": ridge(
                _counts(fitted)[own], fitted.target[own], fitted.owner[own], _counts(seen)[rows]
            ),
        }
        own_errors = _errors(seen.usual[rows], seen.target[rows])
        for name, guess in baselines.items():
            errors = _errors(guess, seen.target[rows])
            most = most_skill(own_errors, errors, seen.owner[rows], generator)
            skill = 1 - float(own_errors.mean() / errors.mean())
            gates.append(better(f"latent skill over {name}, {horizon.label}", skill, most))
    return gates


def _counts(seen: Seen) -> Tensor:
    return torch.cat([seen.counts[seen.question], seen.facts[seen.question]], dim=1)


def _errors(guess: Tensor, target: Tensor) -> Tensor:
    return (guess - target).square().mean(1)


def _error(guess: Tensor, target: Tensor) -> float:
    return float((guess - target).square().mean())


def _actions(seen: Seen, generator: torch.Generator) -> list[Gate]:
    """How much worse the forecast is under another patient's plan, and how far it moves."""
    names = (
        "loss gap under shuffled plans, lower 95 % bound",
        "loss gap under shuffled plans",
        "distance between plan and shuffled plan, lower 95 % bound",
    )
    if not seen.has_actions.any():
        return [without_actions(name) for name in names]
    worse = (seen.shuffled - seen.target).square().mean(1)
    gaps = worse - (seen.planned - seen.target).square().mean(1)
    moved = (seen.planned - seen.shuffled).norm(dim=1)
    return [
        positive(names[0], lower_bound(gaps, seen.owner, generator)),
        positive(names[1], float(gaps.mean())),
        positive(names[2], lower_bound(moved, seen.owner, generator)),
    ]


def _shortcuts(seen: Seen, fitted: Seen) -> list[Gate]:
    """Whether forecasts are of this patient, and whether their errors still tell who it is."""
    alike = seen.facts[seen.question]
    ratios = [
        (place, own_to_nearest(seen.usual[rows], seen.target[rows], seen.owner[rows], alike[rows]))
        for place in torch.unique(seen.horizon).tolist()
        if int((rows := seen.horizon == place).sum()) >= _MIN_ROWS
    ]
    known = [ratio for _, ratio in ratios if ratio is not None]
    gates = []
    if known:
        name = "distance to the own future / to the nearest of five alike, mean over windows"
        gates.append(below(name, sum(known) / len(known), 1.0))
    residual, held = fitted.usual - fitted.target, seen.usual - seen.target
    for name, facts, asked in (
        ("age", fitted.facts[:, :1], seen.facts[:, 0]),
        ("sex", fitted.is_female[:, None], seen.is_female),
    ):
        truth = asked[seen.question]
        guess = ridge(residual, facts[fitted.question], fitted.owner, held)[:, 0]
        if name == "age":
            found = explained(guess, truth)
            gates.append(below("variance of age told by the error", found, _MAX_AGE_EXPLAINED))
        elif (told_apart := separation(guess, truth)) is not None:
            gates.append(below("AUROC of sex by the error", told_apart, _MAX_SEX_SEPARATION))
    return gates


def _paths(seen: Seen, recipe: Recipe) -> list[Gate]:
    errors = [
        _error(seen.usual[rows], seen.target[rows])
        for place in range(len(recipe.model.horizons))
        if int((rows := seen.horizon == place).sum()) >= _MIN_ROWS
    ]
    rises = sum(later >= earlier for earlier, later in pairwise(errors))
    gates = []
    if len(errors) > 1:
        share = rises / (len(errors) - 1)
        gates.append(told("share of windows with no less error than the one before", share, "1"))
    if (straight := straightness(seen.states, seen.state_owner)) is not None:
        gates.append(told("straightness of the path of states", straight))
    return gates
