"""The expected value of some series in each window, as a change in proportion to the last value.

Quantiles say what is likely; a cost or an error that is squared asks for the mean, and many
quantities (a tumour, a creatinine, a count of cells) grow and shrink in proportion to what they are.
Knows latents, the state and the running statistics, in standard deviations of the training values.

    mean = last + size * (exp(x) - 1),   size = sqrt((last - zero)^2 + c^2),   c = 0.5
    x = course(latent, state, window) + sum of effect(state, action, time since it) over the plan

with `zero` where the quantity itself is 0. What each planned action does is added up, on the scale on
which repeated proportional changes add up: so a plan can be sparser or denser than those that training
met. The course may know of the plan too, through the latent. The loss is the squared error in units of `size`: of the
relative change for values far from zero, and of the plain difference for values near it. That of a
window is divided by the time to its end, for what is far ahead errs more: else it alone would count.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.objective import masked_mean
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.targets import (
    NUM_DELAY_FEATURES,
    NUM_WINDOW_FEATURES,
    delay_features,
    window_features,
)
from clinical.worldmodel.vocabulary import Vocabulary

_LAST = 0  # column of the running-statistic features
_SMALLEST_SIZE = 0.5
_EFFECT_WIDTH = 32
_LARGEST_LOGARITHM = 3.0


class Means(nn.Module):
    """One number per window, head and series, trained by squared error."""

    zero: Tensor

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        width = config.width
        self.clock_days = config.clock_days
        self.series = [vocabulary.numeric.index(key) for key in config.means_of]
        scales = [vocabulary.scales[key] for key in config.means_of]
        zeros = torch.tensor([-scale.mean / scale.sd for scale in scales], dtype=torch.float32)
        self.register_buffer("zero", zeros, persistent=False)
        self.into = nn.Linear(config.latent + width + NUM_WINDOW_FEATURES, 2 * width)
        self.between = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, len(self.series))
        self.action = nn.Linear(width, _EFFECT_WIDTH)
        self.state = nn.Linear(width, _EFFECT_WIDTH, bias=False)
        self.since = nn.Linear(1 + NUM_DELAY_FEATURES, _EFFECT_WIDTH, bias=False)
        self.mixed = nn.Linear(_EFFECT_WIDTH, _EFFECT_WIDTH)
        self.effect = nn.Linear(_EFFECT_WIDTH, len(self.series))

    def settle(self) -> None:
        """Begin at persistence."""
        for last in (self.out, self.effect):
            last.weight.mul_(0.1)
            last.bias.zero_()

    @override
    def forward(
        self,
        latents: Float[Tensor, "Q H K L"],
        state: Float[Tensor, "Q D"],
        features: Float[Tensor, "Q S F"],
        bounds: Float[Tensor, "Q H 2"],
        plan: Plan,
    ) -> Float[Tensor, "Q H K m"]:
        """The expected value of the series in every window (days), in standard deviations."""
        asked = window_features(bounds, self.clock_days)
        beside = torch.cat([state[:, None].expand(-1, bounds.shape[1], -1), asked], dim=-1)
        beside = beside[:, :, None].expand(-1, -1, latents.shape[2], -1)
        hidden = nn.functional.silu(self.into(torch.cat([latents, beside], dim=-1)))
        course = self.out(nn.functional.silu(self.between(hidden)))
        logarithm = course + self._effects(state, bounds, plan)[:, :, None]
        change = logarithm.clamp(max=_LARGEST_LOGARITHM).expm1()
        last = features[:, None, None, self.series, _LAST]
        expected: Tensor = last + self.size(features)[:, None, None] * change
        return expected

    def _effects(
        self, state: Float[Tensor, "Q D"], bounds: Float[Tensor, "Q H 2"], plan: Plan
    ) -> Float[Tensor, "Q H m"]:
        """What the actions planned before a window's end add up to."""
        since = (bounds[:, :, None, 1] - plan.days[:, None]) / self.clock_days
        is_seen = (since > 0) & (plan.is_action & plan.is_given[:, None])[:, None]
        since = since.clamp(min=0.0)
        times = torch.cat([since[..., None] / 8, delay_features(since)], dim=-1)
        known = self.action(plan.actions)[:, None] + self.state(state)[:, None, None]
        mixed = self.mixed(nn.functional.silu(known + self.since(times)))
        each = self.effect(nn.functional.silu(mixed))
        added: Tensor = (each * is_seen[..., None]).sum(2)
        return added

    def size(self, features: Float[Tensor, "Q S F"]) -> Float[Tensor, "Q m"]:
        """How large each series was when last measured, in standard deviations, and never below a half."""
        last = features[:, self.series, _LAST]
        size: Tensor = ((last - self.zero) ** 2 + _SMALLEST_SIZE**2).sqrt()
        return size

    def loss(
        self,
        expected: Float[Tensor, "Q H K m"],
        values: Float[Tensor, "Q H C"],
        features: Float[Tensor, "Q S F"],
        bounds: Float[Tensor, "Q H 2"],
        weights: Float[Tensor, "Q K"],
        ranks: Ranks = ALONE,
    ) -> Float[Tensor, ""]:
        """The mean squared error of all heads in units of `size`; `values` are NaN where not measured."""
        own = values[..., self.series]
        is_measured: Bool[Tensor, "Q H m"] = ~torch.isnan(own)
        error = expected - torch.nan_to_num(own)[:, :, None]
        error = (error / self.size(features)[:, None, None]) ** 2
        ahead = (bounds[..., 1] / self.clock_days)[:, :, None, None]
        error = error / ahead * weights[:, None, :, None]
        return masked_mean(error, is_measured[:, :, None].expand_as(error), ranks)
