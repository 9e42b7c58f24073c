"""What is read from the latents: quantiles of the next values, and how often things happen.

Knows latents, the state and the running statistics. Does not know codes, units or calibration: its
values are in standard deviations of the training values, its probabilities are raw.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import QUANTILES, ModelConfig
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.hazards import Hazards
from clinical.worldmodel.shapes import DAYS_PER_YEAR
from clinical.worldmodel.statistics import NUM_FEATURES
from clinical.worldmodel.targets import NUM_WINDOW_FEATURES, window_features

_LAST, _MEAN = 0, 3  # columns of the running-statistic features
_MEDIAN = len(QUANTILES) // 2


@dataclass(frozen=True, slots=True)
class RawReadouts:
    """Per question, horizon and head."""

    quantiles: Float[Tensor, "Q H K C X"]  # standard deviations from the training mean, ascending
    measured: Float[Tensor, "Q H K C"]  # logit of being measured in the window
    intensity: Float[Tensor, "Q H K F"]  # expected number of happenings in the window
    hazards: Hazards | None = None  # where the model has them: `intensity` then follows from them
    beyond: Hazards | None = None  # the same, on to twice the trained reach
    variance: Float[Tensor, "Q H K"] | None = None  # of a latent, as its head expects to miss it


class Readouts(nn.Module):
    """Heads shared by all horizons, trained together with the encoder."""

    def __init__(self, config: ModelConfig, num_numeric: int) -> None:
        super().__init__()
        width = config.width
        self.num_numeric = num_numeric
        self.clock_days = config.clock_days
        num_series = num_numeric + len(FORETOLD)
        self.context = nn.Linear(config.latent + width + NUM_WINDOW_FEATURES, width)
        self.series = nn.Embedding(num_series, width)
        self.history = nn.Linear(NUM_FEATURES, width, bias=False)
        self.values = nn.Linear(width, len(QUANTILES) + 2)
        self.rates = None if config.has_hazards else nn.Linear(width, 1)

    def settle(self) -> None:
        """Begin near persistence: the last value is the forecast, and little happens."""
        self.values.weight.mul_(0.1)
        self.values.bias.zero_()
        if self.rates is not None:
            self.rates.weight.mul_(0.1)
            self.rates.bias.fill_(-1.0)

    @override
    def forward(
        self,
        latents: Float[Tensor, "Q H K L"],
        state: Float[Tensor, "Q D"],
        features: Float[Tensor, "Q S F"],
        bounds: Float[Tensor, "Q H 2"],
        hazards: Hazards | None = None,
    ) -> RawReadouts:
        """Readouts of every window in `bounds` (days) from its latents.

        A model with hazards is given them, and counts happenings by them.
        """
        asked = window_features(bounds, self.clock_days)
        num_heads = latents.shape[2]
        beside = torch.cat([state[:, None].expand(-1, bounds.shape[1], -1), asked], dim=-1)
        beside = beside[:, :, None].expand(-1, -1, num_heads, -1)
        context = self.context(torch.cat([latents, beside], dim=-1))[:, :, :, None]
        about = self.series.weight + self.history(features[:, : len(self.series.weight)])
        hidden = nn.functional.silu(context + about[:, None, None])
        numeric, families = hidden[:, :, :, : self.num_numeric], hidden[:, :, :, self.num_numeric :]
        values = self.values(numeric)
        quantiles, measured = self._quantiles(values, features), values[..., -1]
        if self.rates is None:
            assert hazards is not None, "a model with hazards counts happenings by them"
            return RawReadouts(quantiles, measured, hazards.intensity(bounds), hazards)
        start, end = (bounds / self.clock_days).unbind(-1)
        span = ((end - start) / DAYS_PER_YEAR)[:, :, None, None].float()
        rate = nn.functional.softplus(self.rates(families).squeeze(-1))
        return RawReadouts(quantiles, measured, rate * span)

    def _quantiles(
        self, values: Float[Tensor, "Q H K C 7"], features: Float[Tensor, "Q S F"]
    ) -> Float[Tensor, "Q H K C X"]:
        """Ascending by construction, around a mixture of the last value and the mean so far."""
        known = features[:, None, None, : self.num_numeric]
        share = (values[..., 0] + 2).sigmoid()
        anchor = share * known[..., _LAST] + (1 - share) * known[..., _MEAN]
        median = anchor + values[..., 1]
        q25, q75, q05, q95 = nn.functional.softplus(values[..., 2:6] - 1).unbind(-1)
        low, high = median - q25, median + q75
        return torch.stack([low - q05, low, median, high, high + q95], dim=-1)


def log_odds(intensity: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The logit of `1 - exp(-intensity)`: of at least one happening."""
    return intensity.clamp(min=1e-8).expm1().log()


def at_least_one_loss(
    intensity: Float[Tensor, "*n"], happened: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Negative log-likelihood of whether something happened at all, in a Poisson window."""
    intensity = intensity.clamp(min=1e-8)
    return happened * -(-torch.expm1(-intensity)).log() + (1 - happened) * intensity
