"""Running values as places among the training values: a creatinine of 4 and one of 40 are both "very high".

Standard deviations say little of skewed series: all that is normal lies within a fraction of one. The
decile that a value falls into, linear between the deciles as for the tokens, is even by construction.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.statistics import VALUE_COLUMNS
from clinical.worldmodel.vocabulary import NUM_KNOTS, Vocabulary

_MIDDLE = (NUM_KNOTS - 1) / 2
_SPREAD = 3.0  # about the standard deviation of an even number between 0 and 10
_SLACK = 1e-5  # of a standard deviation: what lies on a knot is not below it by a rounding


class Deciles(nn.Module):
    """Turns the values among the features of the numeric series into centred decile positions.

    The knots follow from the vocabulary: they are no weights and are not stored with them.
    """

    knots: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        scales = [vocabulary.scales[key] for key in vocabulary.numeric]
        knots = [[scale.standardised(knot) for knot in scale.knots] for scale in scales]
        table = torch.tensor(knots, dtype=torch.float32).reshape(-1, NUM_KNOTS)
        self.register_buffer("knots", table, persistent=False)

    @override
    def forward(self, features: Float[Tensor, "Q S F"]) -> Float[Tensor, "Q S F"]:
        """The features with their values replaced; the counts, ages and families are as they were."""
        num_numeric = len(self.knots)
        columns = list(VALUE_COLUMNS)
        values = features[:, :num_numeric, columns]
        by_series = values.permute(1, 0, 2).flatten(1).contiguous()
        upper = self.knots[:, 1:].contiguous()
        index = torch.searchsorted(upper, by_series + _SLACK, right=True).clamp(max=NUM_KNOTS - 2)
        low, high = self.knots.gather(1, index), self.knots.gather(1, index + 1)
        share = ((by_series - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
        centred = (index + share - _MIDDLE) / _SPREAD
        centred = centred.reshape(num_numeric, len(features), len(columns)).permute(1, 0, 2)
        is_seen = features[:, :num_numeric, -1:] > 0
        ranked = features.clone()
        ranked[:, :num_numeric, columns] = torch.where(is_seen, centred, 0.0)
        return ranked
