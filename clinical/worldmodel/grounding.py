"""A step's questions, and how well the readouts say what came of them.

Knows which events answer which question, and the losses of the readouts. Does not know latents,
nor how the questions were drawn.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.families import FAMILIES, FORETOLD
from clinical.worldmodel.hazards import AT_ONCE, first_happening_loss
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.luck import Part
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.readout import RawReadouts, at_least_one_loss
from clinical.worldmodel.targets import WindowMembers, members
from clinical.worldmodel.tensorize import ACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """`Q` questions about `context`, and `future`, which holds what came of them.

    The trained windows come first in `bounds`. `followed_days` says how long after the question the
    record goes on (infinite after a death): windows beyond it teach nothing.
    """

    context: TimelineBatch
    row: Int[Tensor, " Q"]
    day: Float[Tensor, " Q"]
    future: TimelineBatch
    future_row: Int[Tensor, " Q"]
    may_enter: Bool[Tensor, " N"]  # events of `future` that were news when they became known
    bounds: Float[Tensor, "Q H 2"]
    followed_days: Float[Tensor, " Q"]
    bootstrap: Float[Tensor, "Q K"]
    part: Part | None = None  # where these are some of the questions of a larger lesson


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the windows held: `[Q, H, …]`; values in standard deviations, NaN where not measured."""

    values: Float[Tensor, "Q H C"]
    happened: Float[Tensor, "Q H F"]
    actions: Float[Tensor, "Q H n"]
    is_followed: Bool[Tensor, "Q H"]
    # Where the model has hazards: days from the question to the first happening of each family
    # within the trained reach (inf: none), and how long the record goes on.
    first: Float[Tensor, "Q F"] | None = None
    followed_days: Float[Tensor, " Q"] | None = None


def outcomes(model: Jepa, lesson: Lesson, action_tokens: Int[Tensor, " n"]) -> Outcomes:
    """Read from `future` what happened in each window."""
    future, shape = lesson.future, lesson.bounds.shape[:2]
    num_windows = shape[0] * shape[1]
    seen = members(future, lesson.future_row, lesson.day, lesson.bounds, lesson.may_enter)
    num_numeric = model.readouts.num_numeric
    values = _first_values(future, seen, num_numeric)
    families = _families(future, num_numeric)
    happened = families.new_zeros(num_windows, families.shape[1])
    happened = happened.index_add(0, seen.window, families[seen.event]).clamp(max=1.0)
    done = members(
        future, lesson.future_row, lesson.day, lesson.bounds, lesson.may_enter, role=ACTION
    )
    tokens = future.concept_token[future.event_concept[done.event]]
    actions = happened.new_zeros(num_windows, max(1, len(action_tokens)))
    is_action = (tokens[:, None] == action_tokens).float()
    if len(action_tokens):
        actions = actions.index_add(0, done.window, is_action).clamp(max=1.0)
    return Outcomes(
        values.reshape(*shape, -1),
        happened[:, : len(FORETOLD)].reshape(*shape, -1),
        actions.reshape(*shape, -1),
        lesson.bounds[..., 1] <= lesson.followed_days[:, None],
        _first_happenings(model, lesson, families) if model.config.has_hazards else None,
        lesson.followed_days,
    )


def _families(future: TimelineBatch, num_numeric: int) -> Float[Tensor, "N f"]:
    """1 where an event belongs to a family."""
    is_family = future.value_series >= num_numeric
    families = torch.zeros(len(future.event_concept), len(FAMILIES), device=future.birth_day.device)
    families[future.value_event[is_family], future.value_series[is_family] - num_numeric] = 1.0
    return families


def _first_happenings(
    model: Jepa, lesson: Lesson, families: Float[Tensor, "N f"]
) -> Float[Tensor, "Q F"]:
    reach = model.config.windows_days[-1][1]
    bounds = lesson.bounds.new_tensor([[[0.0, reach]]]).expand(len(lesson.row), -1, -1)
    seen = members(lesson.future, lesson.future_row, lesson.day, bounds, lesson.may_enter)
    is_one = families[seen.event, : len(FORETOLD)] > 0
    delay = torch.where(is_one, seen.delay[:, None], torch.inf)
    first = delay.new_full((len(lesson.row), len(FORETOLD)), torch.inf)
    return first.scatter_reduce(0, seen.window[:, None].expand_as(delay), delay, "amin")


def _first_values(
    future: TimelineBatch, seen: WindowMembers, num_numeric: int
) -> Float[Tensor, "W C"]:
    values = torch.full((seen.num_windows, num_numeric), torch.nan, device=seen.delay.device)
    is_numeric = future.value_series < num_numeric
    series = torch.full_like(future.event_concept, -1)
    series[future.value_event[is_numeric]] = future.value_series[is_numeric]
    z = torch.zeros_like(future.event_lag)
    z[future.value_event[is_numeric]] = future.value_z[is_numeric]
    pair = torch.nonzero(series[seen.event] >= 0).squeeze(1)
    event = seen.event[pair]
    cells, first = objective.first_in_window(
        seen.window[pair], series[event], seen.num_windows, num_numeric
    )
    flat = values.flatten().index_put((cells,), z[event[first]])
    return flat.reshape(values.shape)


def grounding(
    raw: RawReadouts, found: Outcomes, weight: Float[Tensor, " Q"], ranks: Ranks = ALONE
) -> dict[str, Float[Tensor, ""]]:
    """How well the first head of `raw` said what was measured, its values, and what happened."""
    weights = weight[:, None, None]
    is_measured = ~torch.isnan(found.values)
    followed = found.is_followed[..., None]
    values = torch.nan_to_num(found.values)
    quantiles = raw.quantiles[:, :, 0]
    errors = objective.pinball(quantiles.flatten(0, 2), values.flatten()).reshape(values.shape)
    measured = torch.nn.functional.binary_cross_entropy_with_logits(
        raw.measured[:, :, 0], is_measured.float(), reduction="none"
    )
    return {
        "values": objective.masked_mean(errors * weights, is_measured, ranks),
        "measured": objective.masked_mean(measured * weights, followed.expand_as(measured), ranks),
        "happened": _happened_loss(raw, found, weights, ranks),
    }


def _happened_loss(
    raw: RawReadouts, found: Outcomes, weights: Float[Tensor, "Q 1 1"], ranks: Ranks
) -> Float[Tensor, ""]:
    """Of when things first happened, where the model has hazards; else of whether, window by window."""
    if raw.hazards is None:
        happened = at_least_one_loss(raw.intensity[:, :, 0], found.happened)
        followed = found.is_followed[..., None]
        return objective.masked_mean(happened * weights, followed.expand_as(happened), ranks)
    assert found.first is not None
    assert found.followed_days is not None
    losses = first_happening_loss(raw.hazards, found.first, found.followed_days)
    told = (found.followed_days > AT_ONCE * raw.hazards.clock_days)[:, None, None]
    told = told.expand_as(losses)
    return objective.masked_mean(losses * weights, told, ranks)
