"""The expected value of some series in each window, as a change in proportion to the last value.

Quantiles say what is likely; a cost or an error that is squared asks for the mean, and many
quantities (a tumour, a creatinine, a count of cells) grow and shrink in proportion to what they are.
Knows latents, the state and the running statistics, in standard deviations of the training values.

    mean = last + size * change,   size = sqrt((last - zero)^2 + c^2),   c = 0.5

with `zero` where the quantity itself is 0. The loss is the squared error in units of `size`: of the
relative change for values far from zero, and of the plain difference for values near it. That of a
window is divided by the time to its end, for what is far ahead errs more: else it alone would count.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.objective import masked_mean
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.targets import NUM_WINDOW_FEATURES, window_features
from clinical.worldmodel.vocabulary import Vocabulary

_LAST = 0  # column of the running-statistic features
_SMALLEST_SIZE = 0.5


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

    def settle(self) -> None:
        """Begin at persistence."""
        self.out.weight.mul_(0.1)
        self.out.bias.zero_()

    @override
    def forward(
        self,
        latents: Float[Tensor, "Q H K L"],
        state: Float[Tensor, "Q D"],
        features: Float[Tensor, "Q S F"],
        bounds: Float[Tensor, "Q H 2"],
    ) -> Float[Tensor, "Q H K m"]:
        """The expected value of the series in every window (days), in standard deviations."""
        asked = window_features(bounds, self.clock_days)
        beside = torch.cat([state[:, None].expand(-1, bounds.shape[1], -1), asked], dim=-1)
        beside = beside[:, :, None].expand(-1, -1, latents.shape[2], -1)
        hidden = nn.functional.silu(self.into(torch.cat([latents, beside], dim=-1)))
        change = self.out(nn.functional.silu(self.between(hidden)))
        last = features[:, None, None, self.series, _LAST]
        expected: Tensor = last + self.size(features)[:, None, None] * change
        return expected

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
