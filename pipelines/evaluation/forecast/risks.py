"""One risk that both kinds of model speak of: will the first value in a later window lie below a limit?

The world model reads it from the quantiles of that window; the next-event transformer from the share
of its futures. Knows both models' outputs and the record. Does not know how either was trained.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clinical.worldmodel.config import QUANTILES
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.baselines.next_event import Classes
from pipelines.evaluation.baselines.next_event_sampling import Futures

_SURE = 12.0  # log odds beyond which nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class LowValue:
    """The first value of `code` in the window `(start_days, end_days]` lies below `limit`."""

    code: str  # `Code.key`
    limit: float  # in the vocabulary's unit of the code
    start_days: float
    end_days: float


def low_from_quantiles(risk: LowValue, vocabulary: Vocabulary, quantiles: Tensor) -> Tensor:
    """The probability by each head, `[..., K]`, from quantiles `[..., K, C, X]` in deviations.

    The log odds of the level are linear between two quantiles, and go on as at the ends beyond them.
    """
    place = vocabulary.numeric.index(risk.code)
    limit = vocabulary.scales[risk.code].standardised(risk.limit)
    values = quantiles[..., place, :].double()
    odds = torch.tensor([math.log(level / (1 - level)) for level in QUANTILES]).double()
    above = (values < limit).sum(-1, keepdim=True).clamp(min=1, max=len(QUANTILES) - 1)
    low, high = values.gather(-1, above - 1), values.gather(-1, above)
    share = (limit - low) / (high - low).clamp(min=1e-6)
    found = odds[above - 1] + share * (odds[above] - odds[above - 1])
    return found.squeeze(-1).clamp(-_SURE, _SURE).sigmoid()


def low_from_futures(
    risk: LowValue, vocabulary: Vocabulary, classes: Classes, futures: Futures
) -> tuple[Tensor, Tensor]:
    """Per path: how surely its first value in the window is low, and whether it has one.

    A decile that the limit cuts counts by the part of it that lies below, as if evenly filled.
    """
    first = int(classes.first[vocabulary.tokens[risk.code]])
    below = share_below(vocabulary.scales[risk.code].knots, risk.limit)
    decile = futures.classes - first
    is_value = (decile >= 0) & (decile < len(below))
    is_value &= (futures.days > risk.start_days) & (futures.days <= risk.end_days)
    has = is_value.any(1)
    if not futures.classes.shape[1]:
        return torch.zeros(len(has)).double(), has
    found = decile.gather(1, is_value.int().argmax(1, keepdim=True)).squeeze(1)
    return below[found.clamp(0, len(below) - 1)] * has, has


def share_below(knots: tuple[float, ...], limit: float) -> Tensor:
    """Of each decile between the knots, how much lies below `limit`, float64 `[10]`."""
    knot = torch.tensor(knots, dtype=torch.float64)
    wide = (knot[1:] - knot[:-1]).clamp(min=1e-9)
    return ((limit - knot[:-1]) / wide).clamp(0.0, 1.0)
