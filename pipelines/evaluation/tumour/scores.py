"""Errors by patient, kept as sums so that seeds and patients can be drawn again.

The error is that of the field: the root mean square over questions of the difference of volumes, in
percent of the lethal volume. Intervals draw the seeds again and within each its patients (a bootstrap
in two stages), the same for everything that is compared, so that differences are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.tumour.counterfactuals import Asked
from pipelines.evaluation.tumour.simulator import LETHAL_CM3, Floats

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one method on one test: squared errors summed by patient, `[patients, S]`, and their number."""

    squared: Floats
    count: Floats

    @classmethod
    def of(
        cls, answers: Floats, asked: Asked, num_patients: int, weights: Floats | None = None
    ) -> "Errors":
        """Of these answers, each question counting by its weight (1: all alike)."""
        weights = np.ones(len(asked)) if weights is None else weights
        squared = weights[:, None] * (answers - asked.truth) ** 2
        total = np.zeros((num_patients, squared.shape[1]))
        np.add.at(total, asked.patient, squared)
        count = np.bincount(asked.patient, weights, minlength=num_patients)
        return cls(total, count.astype(np.float64))

    def rmse(self, weights: Floats | None = None) -> Floats:
        """Percent, `[S]`, or `[B, S]` with `weights` `[B, patients]` of how often each was drawn."""
        if weights is None:
            return np.asarray(self.rmse(np.ones((1, len(self.count))))[0])
        mean = (weights @ self.squared) / (weights @ self.count)[:, None]
        return np.asarray(100 * np.sqrt(mean) / LETHAL_CM3)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its interval, and the value of each seed."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


def estimates(
    by_method: Mapping[str, Sequence[Errors]], step: int, *, seed: int = 0
) -> dict[str, Estimate]:
    """The error `step` (from 0) of each method, and `a - b` of every ordered pair of methods.

    Every method brings one `Errors` for each seed, on the same tests.
    """
    names = list(by_method)
    num_seeds = len(by_method[names[0]])
    generator = np.random.default_rng(seed)
    single = {n: np.array([e.rmse()[step] for e in by_method[n]]) for n in names}
    drawn = {n: np.zeros((num_seeds, RESAMPLES)) for n in names}
    for place in range(num_seeds):
        num = len(by_method[names[0]][place].count)
        weights = generator.multinomial(num, np.full(num, 1 / num), size=RESAMPLES).astype(float)
        for name in names:
            drawn[name][place] = by_method[name][place].rmse(weights)[:, step]
    chosen = generator.integers(num_seeds, size=(num_seeds, RESAMPLES))
    means = {n: np.take_along_axis(drawn[n], chosen, axis=0).mean(axis=0) for n in names}
    found = {n: _estimate(single[n], means[n]) for n in names}
    for a in names:
        for b in names:
            if a != b:
                found[f"{a} - {b}"] = _estimate(single[a] - single[b], means[a] - means[b])
    return found


def _estimate(by_seed: Floats, resampled: Floats) -> Estimate:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(
        float(by_seed.mean()), float(low), float(high), tuple(float(v) for v in by_seed)
    )
