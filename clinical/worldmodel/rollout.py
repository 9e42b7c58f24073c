"""The second step in training: what is foretold from a state that was itself only foretold.

Asks each question of the step again some time later, of the state that the transition gives for then,
with the same windows, outcomes and losses. Does not know the first step's losses.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.composing import after
from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.grounding import Lesson, grounding, outcomes
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.latents import window_targets
from clinical.worldmodel.luck import Luck
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.ranks import ALONE, Ranks

_LEAST_VARIANCE = 1e-4


def drawn_stretch(model: Jepa, lesson: Lesson, luck: Float[Tensor, " Q"]) -> Float[Tensor, "Q 1 2"]:
    """How long each question waits before it is asked again: log-uniform up to the trained reach."""
    clock = model.config.clock_days
    reach = model.config.windows_days[-1][1] / clock
    waited = ((1 + reach) ** luck.to(lesson.bounds) - 1) * clock
    return torch.stack([torch.zeros_like(waited), waited], dim=-1)[:, None]


def asked_later(model: Jepa, lesson: Lesson, stretch: Float[Tensor, "Q 1 2"]) -> Lesson:
    """The lesson with every question put off to the end of its stretch, over the trained windows."""
    waited = stretch[:, 0, 1]
    windows = lesson.bounds.new_tensor(model.config.windows_days)
    return replace(
        lesson,
        day=lesson.day + waited.double(),
        bounds=windows.expand(len(waited), -1, -1),
        followed_days=lesson.followed_days - waited,
    )


def whole_reach(model: Jepa, lesson: Lesson) -> Lesson:
    """The lesson over all that two steps can reach, from which its plan is to be read."""
    reach = lesson.bounds.new_tensor([[0.0, model.config.reach_days]])
    return replace(lesson, bounds=reach.expand(len(lesson.row), -1, -1))


def rollout_loss(
    model: Jepa,
    lesson: Lesson,
    reading: Reading,
    plan: Plan,
    events: Float[Tensor, "N D"],
    *,
    config: LossConfig,
    luck: Luck,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """The latent error and the grounding losses of the second step; `plan` is over the whole reach.

    The targets are those of the first step's kind and learn nothing from it. Their error is in units
    of their variance, so that it weighs as the projected error of the first step does.
    """
    stretch = drawn_stretch(model, lesson, luck.questions(len(lesson.row)))
    later, plans = after(model, reading, stretch, plan)
    put_off = asked_later(model, lesson, stretch)
    found = outcomes(model, put_off, lesson.row.new_zeros(0))  # no actions are told apart
    windows, counts = window_targets(model, put_off, events)
    latents = model.predictor(later.state, put_off.bounds, plans)
    error = _latent_error(
        latents, windows.detach(), found.is_followed & (counts > 0), lesson, ranks
    )
    head = luck.heads(len(lesson.row), model.config.num_heads)
    question = torch.arange(len(head), device=head.device)
    spoken = latents[question, :, head][:, :, None]
    hazards = model.hazards(later, plans)
    hazards = hazards and hazards.of_head(head)
    raw = model.readouts(spoken, later.state, later.features, put_off.bounds, hazards)
    parts = grounding(raw, found, lesson.bootstrap[question, head], ranks)
    ground = 2 * parts["values"] + parts["measured"] + parts["happened"]
    return config.latent * (1 - config.regulariser) * error + config.grounding * ground


def _latent_error(
    latents: Float[Tensor, "Q H K L"],
    targets: Float[Tensor, "Q H L"],
    is_target: Bool[Tensor, "Q H"],
    lesson: Lesson,
    ranks: Ranks,
) -> Float[Tensor, ""]:
    counted = is_target[..., None]
    mean = ranks.mean_row(targets[is_target])
    wide = objective.masked_mean((targets - mean) ** 2, counted.expand_as(targets), ranks)
    errors = ((latents - targets[:, :, None]) ** 2).mean(-1) * lesson.bootstrap[:, None]
    error = objective.masked_mean(errors, counted.expand_as(errors), ranks)
    return error / ranks.mean(wide.detach()).clamp(min=_LEAST_VARIANCE)
