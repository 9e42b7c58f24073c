"""A figure is never bare: it comes with its interval and with how much it rests on.

Intervals are bootstrap percentiles over patients (Efron & Tibshirani 1993, chapter 13): a patient's
rows are drawn together, because they are not independent. Knows nothing of what is measured.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights `[B resamples, N rows]` to one value for each resample; nan where it is not defined."""

MIN_EVENTS = 20
RESAMPLES = 1000
_MAX_CELLS = 4_000_000  # of a block of weights: 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value with its 95 % interval, `n` rows, `patients`, and events where it counts them.

    `value` is None where there is too little to say, and `why_not` then says what was missing.
    """

    n: int
    patients: int
    events: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""

    @property
    def is_sufficient(self) -> bool:
        """Whether a number is given."""
        return self.value is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Whose rows they are (`patients`, one id a row), how often to resample, and from which seed."""

    patients: NDArray[np.int64]
    seed: int = 0
    resamples: int = RESAMPLES

    @property
    def num_patients(self) -> int:
        """How many patients the rows belong to."""
        return int(np.unique(self.patients).size)

    def weights(self) -> Iterator[Floats]:
        """Blocks of resampled weights `[b, N]`: how often each row's patient was drawn."""
        distinct, position = np.unique(self.patients, return_inverse=True)
        generator = np.random.default_rng(self.seed)
        share = np.full(distinct.size, 1 / distinct.size)
        left, block = self.resamples, max(1, _MAX_CELLS // max(1, self.patients.size))
        while left > 0:
            drawn = generator.multinomial(distinct.size, share, size=min(block, left))
            yield drawn.astype(np.float64)[:, position]
            left -= block


def estimate(
    statistic: Statistic, sampling: Sampling, *, events: int | None = None, is_biased: bool = False
) -> Figure:
    """The statistic of the rows as they are, with its interval.

    `is_biased` takes the basic interval, reflected about the value (Davison & Hinkley 1997, section
    5.2), for a statistic that resampling inflates; it never ends below the value itself.
    """
    value = float(statistic(np.ones((1, sampling.patients.size)))[0])
    drawn = np.concatenate([statistic(weights) for weights in sampling.weights()])
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or drawn.size < sampling.resamples / 2:
        return insufficient(sampling, "not defined on these rows", events=events)
    low, high = (float(bound) for bound in np.quantile(drawn, (0.025, 0.975)))
    if is_biased:
        low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
    return Figure(
        n=sampling.patients.size,
        patients=sampling.num_patients,
        events=events,
        value=value,
        low=low,
        high=high,
    )


def insufficient(sampling: Sampling, why_not: str, *, events: int | None = None) -> Figure:
    """The figure that says why there is none."""
    return Figure(
        n=sampling.patients.size, patients=sampling.num_patients, events=events, why_not=why_not
    )


def mean_of(values: Floats) -> Statistic:
    """The mean of one value a row."""

    def statistic(weights: Floats) -> Floats:
        return np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)

    return statistic


def proportion(hits: NDArray[np.bool_], sampling: Sampling) -> Figure:
    """The share of hits with Wilson's interval (1927), on the effective number of rows.

    Rows of one patient are not independent: the number of rows is divided by the design effect
    (Kish 1965), estimated from the variation between patients. Where every row is a hit or none
    is, the effect cannot be seen and each patient counts once.
    """
    _, position = np.unique(sampling.patients, return_inverse=True)
    sizes = np.bincount(position).astype(np.float64)
    n, share = float(hits.size), float(hits.mean())
    if 0 < share < 1:
        misses = np.bincount(position, weights=hits.astype(np.float64)) - sizes * share
        groups = sizes.size
        between = (misses**2).sum() / n**2 * groups / max(1, groups - 1)
        effect = max(1.0, between / (share * (1 - share) / n))
    else:
        effect = n / sizes.size
    low, high = wilson(share, n / effect)
    return Figure(
        n=hits.size,
        patients=sampling.num_patients,
        events=int(hits.sum()),
        value=share,
        low=low,
        high=high,
    )


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (1927) at 95 % for a share of `count`."""
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    # At 0 and 1 the share is an end of its interval, to the last bit.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
