"""Two readouts on the same rows: each value with its interval, and their difference, paired over patients."""

from collections.abc import Callable

import numpy as np

from pipelines.evaluation.figures import Figure, Floats, Sampling, Statistic, estimate

RESAMPLES_OF_MANY = 300
"""Where every resample is judged many times over."""
Measure = Callable[[Floats, Floats], Statistic]
"""Outcome and score to a statistic of weighted rows, as in `pipelines.evaluation.metrics`."""


def sampling_of(had: Floats) -> Sampling:
    """Every row is a patient of its own."""
    return Sampling(patients=np.arange(len(had)))


def value(measure: Measure, had: Floats, score: Floats) -> float:
    """The value alone, of the rows as they are."""
    return float(measure(had, score)(np.ones((1, len(had))))[0])


def measured(measure: Measure, had: Floats, score: Floats) -> Figure:
    """The value, with its interval."""
    return estimate(measure(had, score), sampling_of(had))


def difference(measure: Measure, had: Floats, score: Floats, other: Floats) -> Figure:
    """`score` less `other`, both of the same resampled patients."""
    return mean_difference(measure, had, [score], [other])


def mean_difference(
    measure: Measure, had: Floats, scores: list[Floats], others: list[Floats]
) -> Figure:
    """The mean value over `scores` less that over `others`, as over repeated draws of few labels."""
    ours = [measure(had, score) for score in scores]
    theirs = [measure(had, other) for other in others]

    def statistic(weights: Floats) -> Floats:
        mine = np.mean([each(weights) for each in ours], axis=0)
        gap: Floats = mine - np.mean([each(weights) for each in theirs], axis=0)
        return gap

    few = Sampling(patients=np.arange(len(had)), resamples=RESAMPLES_OF_MANY)
    return estimate(statistic, few if len(scores) > 1 else sampling_of(had))
