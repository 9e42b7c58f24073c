"""How well future values were predicted: coverage, width, error, and skill over persistence.

Pure functions of the bands that were said and the values that were measured later.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.figures import (
    MIN_EVENTS,
    Figure,
    Floats,
    Sampling,
    Statistic,
    estimate,
    insufficient,
    mean_of,
    proportion,
)

Bands = Mapping[float, tuple[Floats, Floats]]
"""Level (e.g. 0.9) to the lower and upper ends of the bands, one a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityFigures:
    """How well one quantity was predicted, in its unit where a figure has one.

    `crps` is the weighted interval score (Bracher et al. 2021), which approximates the continuous
    ranked probability score from the median and the bands. `skill` is one minus the ratio of the
    mean absolute errors of the median and of the patient's last known value; it rests on the rows
    that have one, and so does its n.
    """

    coverage: dict[float, Figure]
    width: dict[float, Figure]
    mae: Figure
    crps: Figure
    skill: Figure


def quantity_figures(
    median: Floats, bands: Bands, measured: Floats, last_known: Floats, sampling: Sampling
) -> QuantityFigures:
    """All figures of a quantity; `last_known` is nan where the patient had no value before."""
    if measured.size < MIN_EVENTS:
        none = insufficient(sampling, f"only {measured.size} values", events=None)
        return QuantityFigures(
            coverage=dict.fromkeys(bands, none),
            width=dict.fromkeys(bands, none),
            mae=none,
            crps=none,
            skill=none,
        )
    return QuantityFigures(
        coverage={
            level: proportion((low <= measured) & (measured <= high), sampling)
            for level, (low, high) in bands.items()
        },
        width={
            level: estimate(mean_of(high - low), sampling) for level, (low, high) in bands.items()
        },
        mae=estimate(mean_of(np.abs(measured - median)), sampling),
        crps=estimate(mean_of(weighted_interval_score(median, bands, measured)), sampling),
        skill=_skill(median, measured, last_known, sampling),
    )


def pinball(quantile: Floats, level: float, measured: Floats) -> Floats:
    """The pinball loss of a predicted quantile (Koenker & Bassett 1978)."""
    gap = measured - quantile
    return np.maximum(level * gap, (level - 1) * gap)


def weighted_interval_score(median: Floats, bands: Bands, measured: Floats) -> Floats:
    """Pinball losses of the median and the K pairs of ends, over K + 1/2 (Bracher et al. 2021, eq. 1)."""
    total = pinball(median, 0.5, measured)
    for level, (low, high) in bands.items():
        tail = (1 - level) / 2
        total = total + pinball(low, tail, measured) + pinball(high, 1 - tail, measured)
    return np.asarray(2 * total / (2 * len(bands) + 1), dtype=np.float64)


def _skill(median: Floats, measured: Floats, last_known: Floats, sampling: Sampling) -> Figure:
    has_last = np.isfinite(last_known)
    rows = Sampling(
        patients=sampling.patients[has_last], seed=sampling.seed, resamples=sampling.resamples
    )
    if rows.patients.size < MIN_EVENTS:
        return insufficient(rows, f"only {rows.patients.size} values with an earlier one")
    return estimate(_one_minus_ratio(median, measured, last_known, has_last), rows)


def _one_minus_ratio(
    median: Floats, measured: Floats, last_known: Floats, rows: NDArray[np.bool_]
) -> Statistic:
    ours = np.abs(measured - median)[rows]
    persistence = np.abs(measured - last_known)[rows]

    def statistic(weights: Floats) -> Floats:
        above, below = weights @ ours, weights @ persistence
        ratio = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        return np.asarray(1 - ratio, dtype=np.float64)

    return statistic
