"""What a series of measurements comes to: its middle, its range, its quantiles with intervals."""

import statistics
from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000


def middle(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median, and the range seen."""
    return statistics.median(values), (min(values), max(values))


def quantile(
    values: Sequence[float], level: float, *, seed: int
) -> tuple[float, tuple[float, float]]:
    """The quantile, and its 95 % bootstrap interval (percentile method)."""
    measured = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).choice(measured, size=(_RESAMPLES, measured.size))
    low, high = np.quantile(np.quantile(drawn, level, axis=1), (0.025, 0.975))
    return float(np.quantile(measured, level)), (float(low), float(high))
