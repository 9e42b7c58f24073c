"""The latent part of a step's loss: targets foretold, and kept spread.

Knows what is compared with what, in the space of the projector. Does not know the readouts, nor how
questions were drawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.config import LossConfig, Target
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.luck import Luck
from clinical.worldmodel.ranks import Ranks
from clinical.worldmodel.regulariser import Spread
from clinical.worldmodel.targets import members


@dataclass(frozen=True, slots=True)
class Aim:
    """Targets of one kind, and the latents that foretell them."""

    targets: Float[Tensor, "Q H L"]
    foretold: Float[Tensor, "Q H K L"]


def window_targets(
    model: Jepa, lesson: Lesson, events: Float[Tensor, "N D"]
) -> tuple[Float[Tensor, "Q H L"], Float[Tensor, "Q H"]]:
    """The latent of each window, and how many observations it holds."""
    inside = members(lesson.future, lesson.future_row, lesson.day, lesson.bounds, lesson.may_enter)
    shape = lesson.bounds.shape[:2]
    return model.windows(events, inside).reshape(*shape, -1), inside.counts.reshape(shape)


def state_targets(model: Jepa, lesson: Lesson) -> Float[Tensor, "Q H L"]:
    """The state at the end of each window, as latents; it knows the past as well as the window."""
    assert model.ending is not None
    num, num_windows = lesson.bounds.shape[:2]
    row = lesson.future_row.repeat_interleave(num_windows)
    day = (lesson.day[:, None] + lesson.bounds[..., 1].double()).flatten()
    encoded = model.encode(lesson.future)
    states = model.read(lesson.future, encoded, row, day).state
    latents: Tensor = model.ending(states)
    return latents.reshape(num, num_windows, -1)


def persisted(model: Jepa, lesson: Lesson, events: Float[Tensor, "N D"]) -> Float[Tensor, "Q H L"]:
    """The latent of the stretch just before the question, of the same length, as if it came again."""
    past = []
    for place in range(lesson.bounds.shape[1]):
        bounds = lesson.bounds[:, place : place + 1]
        day = lesson.day - bounds[:, 0, 1].double()
        inside = members(lesson.future, lesson.future_row, day, bounds)
        past.append(model.windows(events, inside))
    return torch.stack(past, dim=1)


def aims(
    model: Jepa,
    lesson: Lesson,
    windows: Float[Tensor, "Q H L"],
    latents: Float[Tensor, "Q H K L"],
) -> list[Aim]:
    """What the configured model foretells."""
    target = model.config.target
    if target is Target.WINDOW:
        return [Aim(windows, latents)]
    ends = state_targets(model, lesson)
    if target is Target.STATE:
        return [Aim(ends, latents)]
    assert model.to_ending is not None
    return [Aim(windows, latents), Aim(ends, model.to_ending(latents))]


def latent_parts(
    model: Jepa,
    found: list[Aim],
    is_target: Bool[Tensor, "Q H"],
    lesson: Lesson,
    events: Float[Tensor, "N D"],
    config: LossConfig,
    luck: Luck,
    ranks: Ranks,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How far the targets were foretold wrongly, and how badly they are spread: means over the aims."""
    question, horizon = torch.nonzero(is_target, as_tuple=True)
    weights = lesson.bootstrap[question]
    taught = _taught(model, lesson, found, is_target, ranks)
    choice = _one_each(lesson, question, horizon, is_target.shape[1], config, luck)
    spread = Spread(model.config.num_compared, config, luck.generator, ranks)
    matches, spreads = [], []
    for place, aim in enumerate(found):
        projected, foretold, past = _projected(model, aim, is_target, lesson, events, ranks)
        if model.horizon_errors is not None:
            if model.training:
                errors = (past - projected).square().mean(-1)
                model.horizon_errors.learn(errors, horizon, ranks)
            weights = (
                lesson.bootstrap[question]
                * (model.horizon_errors.weights(is_target.shape[1])[horizon, None])
            )
        goal = projected if taught is None else taught[place]
        matches.append(objective.latent_loss(foretold, goal, weights, ranks))
        num_windows = is_target.shape[1]
        spreads.append(_spread(spread, projected, choice, horizon, num_windows, config, ranks))
    return torch.stack(matches).mean(), torch.stack(spreads).mean()


def _projected(
    model: Jepa,
    aim: Aim,
    is_target: Bool[Tensor, "Q H"],
    lesson: Lesson,
    events: Float[Tensor, "N D"],
    ranks: Ranks,
) -> tuple[Float[Tensor, "n L"], Float[Tensor, "n K L"], Float[Tensor, "m L"]]:
    """Targets, forecasts and, where windows are weighed by it, persistence, by one projection."""
    num_heads = aim.foretold.shape[2]
    compared = aim.foretold[is_target].flatten(0, 1)
    num_foretold = len(compared)
    if model.horizon_errors is not None:
        with torch.no_grad():
            past = persisted(model, lesson, events)[is_target]
        compared = torch.cat([compared, past])
    targets = aim.targets[is_target]
    projected, others = model.projector(targets, compared, ranks)
    if model.teacher is not None:  # forecasts must not teach the targets through their statistics
        _, others = model.projector(targets.detach(), compared, ranks)
    foretold = others[:num_foretold].reshape(-1, num_heads, others.shape[-1])
    return projected, foretold, others[num_foretold:].detach()


@torch.no_grad()
def _taught(
    model: Jepa, lesson: Lesson, found: list[Aim], is_target: Bool[Tensor, "Q H"], ranks: Ranks
) -> list[Float[Tensor, "n L"]] | None:
    """The targets of the slow copy, projected by it; None where the network is its own teacher."""
    if model.teacher is None:
        return None
    slow = model.teacher.network
    assert isinstance(slow, Jepa)
    windows, _ = window_targets(slow, lesson, slow.embedding(lesson.future))
    slow_aims = aims(slow, lesson, windows, found[0].foretold)
    targets = [aim.targets[is_target] for aim in slow_aims]
    return [slow.projector(rows, rows, ranks)[0] for rows in targets]


def _one_each(
    lesson: Lesson,
    question: Int[Tensor, " n"],
    horizon: Int[Tensor, " n"],
    num_horizons: int,
    config: LossConfig,
    luck: Luck,
) -> Bool[Tensor, " n"]:
    """One row chosen per question, or per patient: several of one are no independent sample."""
    drawn = luck.cells(question, horizon, num_horizons)
    owner = lesson.future_row[question] if config.is_one_per_patient else question
    best = torch.zeros(len(lesson.row), device=drawn.device)
    best = best.scatter_reduce(0, owner, drawn, reduce="amax", include_self=True)
    return drawn == best[owner]


def _spread(
    spread: Spread,
    projected: Float[Tensor, "n L"],
    is_chosen: Bool[Tensor, " n"],
    horizon: Int[Tensor, " n"],
    num_windows: int,
    config: LossConfig,
    ranks: Ranks,
) -> Float[Tensor, ""]:
    """Of the chosen rows together, or of each window that has rows enough by itself."""
    if not config.is_by_horizon:
        return spread(projected[is_chosen])
    parts, is_rest = [], torch.ones_like(is_chosen)
    for place in range(num_windows):
        own = horizon == place
        if float(ranks.rows(int(own.sum()), projected)) >= config.min_horizon_rows:
            parts.append(spread(projected[own]))
            is_rest &= ~own
    rest = is_rest & is_chosen
    if float(ranks.rows(int(rest.sum()), projected)) >= 2:
        parts.append(spread(projected[rest]))
    return torch.stack(parts).mean() if parts else projected.sum() * 0.0


@torch.no_grad()
def recount_projection(model: Jepa, lessons: Iterable[Lesson]) -> None:
    """Give the projector the batch statistics of its weights as they are: the mean over `lessons`.

    Averaged weights have met no batch yet: the running statistics are those of the last steps.
    """
    norm = model.projector.norm
    norm.reset_running_stats()
    momentum, norm.momentum = norm.momentum, None  # a plain mean
    model.eval()
    model.projector.train()
    for lesson in lessons:
        windows, counts = window_targets(model, lesson, model.embedding(lesson.future))
        is_target = (counts > 0) & (lesson.bounds[..., 1] <= lesson.followed_days[:, None])
        for aim in aims(model, lesson, windows, windows[:, :, None]):
            model.projector(aim.targets[is_target], aim.targets[is_target])
    norm.momentum = momentum
    model.projector.eval()
