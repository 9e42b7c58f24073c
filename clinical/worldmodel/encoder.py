"""From the events known at one moment to one vector, whatever their order.

Knows sets and the clock. Does not know what came before: that is the memory's.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.shapes import DAYS_PER_YEAR

_AGE_SCALES = (1.0, 4.0, 16.0, 64.0)  # periods in years, quartered
NUM_AGE_FEATURES = 2 + 2 * len(_AGE_SCALES)
_MAX_SCORE = 8.0


def age_features(day: Float[Tensor, " n"], birth_day: Float[Tensor, " n"]) -> Float[Tensor, "n a"]:
    """Age in centuries and on several circles, and whether it is known at all."""
    years = (day - birth_day) / DAYS_PER_YEAR
    is_known = ~torch.isnan(years)
    years = torch.where(is_known, years, torch.zeros_like(years))
    columns = [is_known.to(years), years / 100]
    for scale in _AGE_SCALES:
        turns = years / scale * (math.pi / 2)
        columns += [turns.sin() * is_known, turns.cos() * is_known]
    return torch.stack(columns, dim=1).float()


class SetPool(nn.Module):
    """Attention of a few learned queries over each set; the order of its members does not matter.

    Scores are held within ±8 so that their exponentials need no running maximum. An empty set
    gives the zero vector before the last layer.
    """

    def __init__(self, width: int, num_queries: int) -> None:
        super().__init__()
        self.scores = nn.Linear(width, num_queries)
        self.values = nn.Linear(width, width)
        self.out = nn.Linear(num_queries * width, width)

    @override
    def forward(
        self, members: Float[Tensor, "n D"], set_of: Int[Tensor, " n"], num_sets: int
    ) -> Float[Tensor, "sets D"]:
        """One vector per set; `set_of` says to which set each member belongs."""
        weights = (_MAX_SCORE * torch.tanh(self.scores(members) / _MAX_SCORE)).exp()
        values = nn.functional.silu(self.values(members))
        weighted = (weights[:, :, None] * values[:, None, :]).flatten(1)
        sums = weighted.new_zeros(num_sets, weighted.shape[1]).index_add(0, set_of, weighted)
        norms = weights.new_zeros(num_sets, weights.shape[1]).index_add(0, set_of, weights)
        width = values.shape[1]
        pooled = sums / norms.clamp(min=1e-6).repeat_interleave(width, dim=1)
        result: Tensor = self.out(pooled)
        return result


class BundleEncoder(nn.Module):
    """One vector per bundle: its set of events, how many of each role, and the clocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pool = SetPool(config.width, config.num_bundle_queries)
        self.counts = nn.Linear(3, config.width, bias=False)
        self.clocks = nn.Linear(1 + NUM_AGE_FEATURES, config.width)

    @override
    def forward(
        self,
        batch: TimelineBatch,
        events: Float[Tensor, "N D"],
        chosen: Int[Tensor, " n"],
        gap: Float[Tensor, " M"],
    ) -> Float[Tensor, "M D"]:
        """Only the `chosen` events enter; `gap` is the time since the bundle before, in units of the model's clock."""
        num_bundles = batch.bundle_day.shape[0]
        pooled = self.pool(events[chosen], batch.event_bundle[chosen], num_bundles)
        age = age_features(batch.bundle_day, batch.birth_day[batch.bundle_row])
        clocks = torch.cat([gap.log1p()[:, None] / 4, age], dim=1)
        total: Tensor = pooled + self.counts(batch.bundle_counts) + self.clocks(clocks)
        return total
