"""Running statistics of a series: what a clinician keeps in mind of each lab value and each visit type.

Knows how one more value changes them, in constant time, and how they look some time later. Used
alike by training (all at once) and by appending (one by one), so that the two cannot differ.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clinical.worldmodel.shapes import DAYS_PER_YEAR

NUM_RUNNING = 9  # count, mean, M2, minimum, maximum, first, last, last time, recent count
NUM_FEATURES = 10
VALUE_COLUMNS = (0, 1, 2, 3, 5)
"""Of the features: last, minimum, maximum, mean and first, which are values of the series."""
LAST = 0  # column of the features
LIMIT = 20.0  # standard deviations; beyond, a value says no more to the network


@dataclass(slots=True)
class Running:
    """Of the values so far, in standard deviations of the training values (Welford 1962).

    Times are in units of the model's clock; `recent` is the count with each value fading by
    `exp(-age / 365.25)`.
    """

    count: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    low: float = 0.0
    high: float = 0.0
    first: float = 0.0
    last: float = 0.0
    last_time: float = 0.0
    recent: float = 0.0

    @classmethod
    def restored(cls, numbers: list[float]) -> "Running":
        """The statistics that `numbers` gave."""
        return cls(*numbers)

    def add(self, value: float, time: float) -> None:
        """Take in one more value, known at `time`."""
        if self.count == 0:
            self.low = self.high = self.first = value
        else:
            self.recent *= math.exp(-max(0.0, time - self.last_time) / DAYS_PER_YEAR)
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.m2 += delta * (value - self.mean)
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.last, self.last_time = value, time
        self.recent += 1

    def numbers(self) -> list[float]:
        """The nine numbers, in the order of the fields."""
        return [
            self.count,
            self.mean,
            self.m2,
            self.low,
            self.high,
            self.first,
            self.last,
            self.last_time,
            self.recent,
        ]


def features(
    running: Float[Tensor, "Q S R"], time: Float[Tensor, " Q"], kept: Bool[Tensor, "Q S"]
) -> Float[Tensor, "Q S F"]:
    """How the series look at `time`: last, min, max, mean, sd, first, counts and age, or all zero.

    The last feature says whether the series was ever seen. Computed in float64, returned in float32.
    """
    count, mean, m2, low, high, first, last, last_time, recent = running.unbind(-1)
    seen = (count > 0) & kept
    age = (time[:, None] - last_time).clamp(min=0.0)
    sd = (m2.clamp(min=0.0) / count.clamp(min=1.0)).sqrt()
    values = [column.clamp(-LIMIT, LIMIT) for column in (last, low, high, mean, sd, first)]
    columns = [
        *values,
        count.log1p(),
        age.log1p() / 4,
        recent * (-age / DAYS_PER_YEAR).exp() / 4,
        torch.ones_like(count),
    ]
    table = torch.stack(columns, dim=-1)
    return torch.where(seen[..., None], table, torch.zeros_like(table)).float()
