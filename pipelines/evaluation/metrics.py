"""How well probabilities and quantities were predicted: pure functions of what was said and what happened.

Each figure carries its interval and its n; under 20 events (or 20 without the event) there is no
number but the word why. The formulas are computed for a thousand resamples at once, which is why
they stand here and not as calls of scikit-learn; tests hold them to scikit-learn and netcal.
"""

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

_EXTREME = 1e-6  # probabilities nearer 0 or 1 are moved here before their logit is taken
_NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A bin of the reliability curve: predicted on average, and the share that had it."""

    mean_predicted: float
    observed: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFigures:
    """How well the probability of one event was predicted.

    `in_the_large` is the intercept with the slope held at one: 0 is right, below 0 too high.
    `intercept` and `slope` are the logistic recalibration (Cox 1958): 0 and 1 are right.
    """

    prevalence: Figure
    auroc: Figure
    auprc: Figure
    brier: Figure
    in_the_large: Figure
    intercept: Figure
    slope: Figure
    ece: Figure
    curve: tuple[CurvePoint, ...]


def risk_figures(
    probability: Floats, outcome: NDArray[np.bool_], sampling: Sampling
) -> RiskFigures:
    """All figures of a probability; those that need events say so where there are under 20."""
    had = outcome.astype(np.float64)
    events = int(outcome.sum())
    rarer = min(events, outcome.size - events)
    without = outcome.size - events

    def measured(statistic: Statistic, *, is_biased: bool = False) -> Figure:
        if rarer < MIN_EVENTS:
            few = f"{events} events" if events <= without else f"{without} without the event"
            return insufficient(sampling, f"only {few}", events=events)
        return estimate(statistic, sampling, events=events, is_biased=is_biased)

    recalibrated = recalibration(had, probability)
    return RiskFigures(
        prevalence=proportion(outcome, sampling)
        if outcome.size
        else insufficient(sampling, "no known outcome", events=0),
        auroc=measured(auroc(had, probability)),
        auprc=measured(average_precision(had, probability)),
        brier=measured(mean_of((probability - had) ** 2)),
        in_the_large=measured(_in_the_large(had, probability)),
        intercept=measured(lambda weights: recalibrated(weights)[0]),
        slope=measured(lambda weights: recalibrated(weights)[1]),
        ece=measured(expected_calibration_error(had, probability), is_biased=True),
        curve=reliability_curve(probability, outcome, sampling) if rarer >= MIN_EVENTS else (),
    )


def auroc(had: Floats, score: Floats) -> Statistic:
    """The chance that a row with the event scores above one without; ties count half."""
    order, starts = _tied(score)
    had = had[order]

    def statistic(weights: Floats) -> Floats:
        weights = weights[:, order]
        with_event = np.add.reduceat(weights * had, starts, axis=1)
        without = np.add.reduceat(weights * (1 - had), starts, axis=1)
        below = np.cumsum(without, axis=1) - without
        pairs = with_event.sum(axis=1) * without.sum(axis=1)
        return _ratio((with_event * (below + without / 2)).sum(axis=1), pairs)

    return statistic


def average_precision(had: Floats, score: Floats) -> Statistic:
    """Area under precision and recall by steps, without interpolation."""
    order, starts = _tied(-score)
    had = had[order]

    def statistic(weights: Floats) -> Floats:
        weights = weights[:, order]
        found = np.cumsum(np.add.reduceat(weights * had, starts, axis=1), axis=1)
        called = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
        gained = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        return _ratio((gained * precision).sum(axis=1), found[:, -1])

    return statistic


def expected_calibration_error(had: Floats, probability: Floats, *, bins: int = 15) -> Statistic:
    """Mean gap between predicted and observed over bins of equal mass."""
    order, starts = _equal_mass(probability, bins)
    gap = (had - probability)[order]

    def statistic(weights: Floats) -> Floats:
        gaps = np.add.reduceat(weights[:, order] * gap, starts, axis=1)
        return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))

    return statistic


def reliability_curve(
    probability: Floats, outcome: NDArray[np.bool_], sampling: Sampling, *, bins: int = 10
) -> tuple[CurvePoint, ...]:
    """Predicted against observed over bins of equal mass."""
    order, starts = _equal_mass(probability, bins)
    points = []
    for rows in np.split(order, starts[1:]):
        inside = Sampling(patients=sampling.patients[rows], seed=sampling.seed)
        mean = float(probability[rows].mean())
        points.append(CurvePoint(mean_predicted=mean, observed=proportion(outcome[rows], inside)))
    return tuple(points)


def logit(probability: Floats) -> Floats:
    """Log odds, with probabilities of 0 and 1 moved inward by a millionth."""
    inside = np.clip(probability, _EXTREME, 1 - _EXTREME)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def recalibration(had: Floats, probability: Floats) -> "_Recalibration":
    """Of weighted rows: intercept and slope of the logistic recalibration (Cox 1958)."""
    return _Recalibration(had, logit(probability))


class _Recalibration:
    """Weighted logistic regression of the outcome on the logit, by Newton's method."""

    def __init__(self, had: Floats, offset: Floats) -> None:
        self._had, self._logit = had, offset

    def __call__(self, weights: Floats) -> tuple[Floats, Floats]:
        """Intercept and slope for each resample; nan where it does not converge."""
        intercept, slope = np.zeros(len(weights)), np.ones(len(weights))
        step = np.full(len(weights), np.inf)
        for _ in range(_NEWTON_STEPS):
            fitted = _sigmoid(intercept[:, None] + slope[:, None] * self._logit)
            missed = weights * (self._had - fitted)
            spread = weights * fitted * (1 - fitted)
            s0, s1, s2 = spread.sum(1), spread @ self._logit, spread @ self._logit**2
            g0, g1 = missed.sum(1), missed @ self._logit
            determinant = s0 * s2 - s1**2
            d0 = _ratio(s2 * g0 - s1 * g1, determinant)
            d1 = _ratio(s0 * g1 - s1 * g0, determinant)
            intercept, slope = intercept + d0, slope + d1
            step = np.abs(d0) + np.abs(d1)
            if np.nanmax(step, initial=0.0) < 1e-10:
                break
        settled = step < 1e-6
        return np.where(settled, intercept, np.nan), np.where(settled, slope, np.nan)


def _in_the_large(had: Floats, probability: Floats) -> Statistic:
    offset = logit(probability)

    def statistic(weights: Floats) -> Floats:
        shift, step = np.zeros(len(weights)), np.full(len(weights), np.inf)
        for _ in range(_NEWTON_STEPS):
            fitted = _sigmoid(shift[:, None] + offset)
            gradient = (weights * (had - fitted)).sum(axis=1)
            step = _ratio(gradient, (weights * fitted * (1 - fitted)).sum(axis=1))
            shift = shift + step
            if np.nanmax(np.abs(step), initial=0.0) < 1e-10:
                break
        return np.where(np.abs(step) < 1e-6, shift, np.nan)

    return statistic


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), dtype=np.float64)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Above over below; nan where below is zero."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _tied(score: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows in rising order of score, and where each group of equal scores starts."""
    order = np.argsort(score, kind="stable")
    changes = np.flatnonzero(np.diff(score[order])) + 1
    return order, np.concatenate([[0], changes]).astype(np.intp)


def _equal_mass(probability: Floats, bins: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows in rising order, and where each of at most `bins` equally large bins starts."""
    order = np.argsort(probability, kind="stable")
    sizes = [part.size for part in np.array_split(order, bins) if part.size]
    return order, np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
