"""The window encoder: what a stretch of the future holds, seen without any of the past.

Knows observations inside a window and their time relative to the question. Has no access to the
memory or to anything before the window: a target that contained the past could be predicted by
copying it. Only training uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.encoder import SetPool
from clinical.worldmodel.tensorize import OBSERVATION, ROLE_COLUMN

NUM_DELAY_FEATURES = 5
NUM_WINDOW_FEATURES = 3 * NUM_DELAY_FEATURES


def delay_features(delay: Float[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
    """How far ahead, in units of the model's clock: on a logarithmic scale, and fading on four others."""
    scales = [(-delay / scale).exp() for scale in (7.0, 30.0, 90.0, 365.0)]
    return torch.stack([delay.clamp(min=0.0).log1p() / 6, *scales], dim=-1).float()


def window_features(bounds: Float[Tensor, "*n 2"], clock_days: float) -> Float[Tensor, "*n w"]:
    """Start, end and length of windows given in days, as `delay_features` has them."""
    start, end = (bounds / clock_days).unbind(-1)
    return torch.cat([delay_features(time) for time in (start, end, end - start)], dim=-1)


@dataclass(frozen=True, slots=True)
class WindowMembers:
    """Which observations lie in which window `(day + start, day + end]`."""

    event: Int[Tensor, " P"]
    window: Int[Tensor, " P"]
    delay: Float[Tensor, " P"]  # days after the question
    num_windows: int

    @property
    def counts(self) -> Float[Tensor, " W"]:
        """How many observations each window holds."""
        ones = torch.ones_like(self.window, dtype=torch.float32)
        return ones.new_zeros(self.num_windows).index_add(0, self.window, ones)


def members(
    batch: TimelineBatch,
    row: Int[Tensor, " Q"],
    day: Float[Tensor, " Q"],
    bounds: Float[Tensor, "Q H 2"],
    may_enter: Bool[Tensor, " N"] | None = None,
    role: int = OBSERVATION,
) -> WindowMembers:
    """The events of `role` of timeline `row` that became known in each window, in that order."""
    order, start_of = _by_row(batch)
    num_questions, num_horizons = bounds.shape[:2]
    is_asked = batch.event_attributes[:, ROLE_COLUMN] == role
    if may_enter is not None:
        is_asked = is_asked & may_enter
    size = start_of[row + 1] - start_of[row]
    question = torch.arange(num_questions, device=row.device).repeat_interleave(size)
    offset = torch.arange(len(question), device=row.device)
    offset = offset - (size.cumsum(0) - size).repeat_interleave(size)
    event = order[start_of[row][question] + offset]
    delay = batch.event_day[event] - day[question]
    inside = (delay[:, None] > bounds[question, :, 0]) & (delay[:, None] <= bounds[question, :, 1])
    pair, horizon = torch.nonzero(inside & is_asked[event][:, None], as_tuple=True)
    window = question[pair] * num_horizons + horizon
    return WindowMembers(event[pair], window, delay[pair].float(), num_questions * num_horizons)


def counted_windows(
    batch: TimelineBatch,
    row: Int[Tensor, " Q"],
    day: Float[Tensor, " Q"],
    may_enter: Bool[Tensor, " N"] | None,
    counts: Sequence[int],
    reach_days: float,
) -> Float[Tensor, "Q C 2"]:
    """From the question to its 16th, 64th, … next observation, as windows like any other.

    Where fewer follow within the reach, the whole reach. Such a window knows by its length how busy
    the future was: it teaches latents of even content, and is not for asking how much will happen.
    """
    whole = torch.tensor([[[0.0, reach_days]]], device=day.device).expand(len(row), 1, 2)
    inside = members(batch, row, day, whole, may_enter)
    # Events of a row are in the order in which they became known.
    first = torch.searchsorted(inside.window, torch.arange(len(row), device=row.device))
    sizes = torch.bincount(inside.window, minlength=len(row))
    ends = []
    for count in counts:
        is_enough = sizes >= count
        place = (first + count - 1).clamp(max=max(0, len(inside.delay) - 1))
        last = inside.delay[place] if len(inside.delay) else whole[:, 0, 1]
        ends.append(torch.where(is_enough, last, whole[:, 0, 1]))
    end = torch.stack(ends, dim=1)
    return torch.stack([torch.zeros_like(end), end], dim=-1)


def _by_row(batch: TimelineBatch) -> tuple[Int[Tensor, " n"], Int[Tensor, " B1"]]:
    row = batch.event_row
    order = torch.nonzero(row >= 0).squeeze(1)
    order = order[torch.argsort(row[order], stable=True)]
    counts = torch.bincount(row[order], minlength=batch.num_timelines)
    return order, torch.cat([counts.new_zeros(1), counts.cumsum(0)])


class WindowEncoder(nn.Module):
    """One latent per window; the last layer is linear, as the Gaussian regulariser needs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.clock_days = config.clock_days
        self.delay = nn.Linear(NUM_DELAY_FEATURES, config.width)
        self.pool = SetPool(config.width, config.num_window_queries)
        self.count = nn.Linear(1, config.width)
        self.out = nn.Linear(config.width, config.latent)

    @override
    def forward(self, events: Float[Tensor, "N D"], inside: WindowMembers) -> Float[Tensor, "W L"]:
        """The latent of each window, from the events inside it and nothing else."""
        tokens = events[inside.event] + self.delay(delay_features(inside.delay / self.clock_days))
        pooled = self.pool(tokens, inside.window, inside.num_windows)
        pooled = pooled + self.count(inside.counts.log1p()[:, None])
        latent: Tensor = self.out(nn.functional.silu(pooled))
        return latent
