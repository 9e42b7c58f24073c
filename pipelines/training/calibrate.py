"""Fits calibration on patients held out from training: Platt, split conformal, familiarity.

Every patient counts once, however many questions were asked about them. Knows answers and outcomes;
does not know the network.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from clinical.prediction.calibration import (
    ConformalCalibration,
    PlattCalibration,
    ReliabilityBin,
)
from clinical.worldmodel.calibrated import Calibration, Familiarity, QuantityCalibration
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.vocabulary import ValueScale, Vocabulary
from pipelines.training.asking import Asked, ValueAnswer

_LEVELS = ((0.9, 0, 4), (0.5, 1, 3))  # level, and the places of its two quantiles
_NUM_BINS = 5
_NEWTON_STEPS = 50
_SHRINKAGE = 0.1
_FAMILIAR_SHARE = 0.99


def fit_calibration(
    held_out: Sequence[Asked],
    training: Sequence[Asked],
    vocabulary: Vocabulary,
    limits: AbstentionLimits,
    run_name: str,
) -> Calibration:
    """What the calibration patients say of the answers; readouts with too few of them are left out."""
    keys = {key for asked in held_out for key in asked.risks}
    platt = {f"{k[0]}|{k[1]}": fit_platt(held_out, k, limits, run_name) for k in sorted(keys)}
    labels = sorted({label for asked in held_out for _, label in asked.values})
    quantities: dict[str, QuantityCalibration | None] = {}
    for label in labels:
        pooled = fit_pooled(held_out, label, vocabulary, limits, run_name)
        for code in vocabulary.numeric:
            own = fit_conformal(held_out, (code, label), vocabulary, limits, run_name)
            quantities[f"{code}|{label}"] = own or pooled.get(code)
    return Calibration(
        probabilities={k: v for k, v in platt.items() if v is not None},
        quantities={k: v for k, v in quantities.items() if v is not None},
        familiarity=fit_familiarity(training, held_out),
    )


def fit_platt(
    asked: Sequence[Asked], key: tuple[str, str], limits: AbstentionLimits, run_name: str
) -> PlattCalibration | None:
    """Slope and intercept (Platt 1999), drawn towards 1 and 0 by the weight of one patient.

    None where too few patients had the outcome, or too few went without it.
    """
    rows = [
        (a.patient, a.risks[key].log_odds, had)
        for a in asked
        if (had := a.risks[key].happened) is not None
    ]
    return platt_of(rows, limits, f"{run_name}/platt/{key[0]}/{key[1]}")


def platt_of(
    rows: Sequence[tuple[int, float, bool]], limits: AbstentionLimits, calibration_id: str
) -> PlattCalibration | None:
    """As `fit_platt`, for any score: `rows` are patient, log odds, and whether it happened."""
    with_outcome = {patient for patient, _, had in rows if had}
    without = {patient for patient, _, had in rows if not had}
    if min(len(with_outcome), len(without)) < limits.min_outcomes:
        return None
    weights = _patient_weights([patient for patient, _, _ in rows])
    logits = torch.tensor([odds for _, odds, _ in rows], dtype=torch.float64)
    had = torch.tensor([float(had) for _, _, had in rows], dtype=torch.float64)
    slope, intercept = _newton(logits, had, weights)
    probability = torch.sigmoid(slope * logits + intercept)
    return PlattCalibration(
        calibration_id=calibration_id,
        slope=slope,
        intercept=intercept,
        num_patients=len(with_outcome | without),
        num_outcomes=len(with_outcome),
        reliability=_reliability(probability, had, weights, [patient for patient, _, _ in rows]),
    )


def _newton(logits: torch.Tensor, had: torch.Tensor, weights: torch.Tensor) -> tuple[float, float]:
    design = torch.stack([logits, torch.ones_like(logits)], dim=1)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    # One patient's worth of belief that the raw score was right already.
    prior = torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64))
    solution = start.clone()
    for _ in range(_NEWTON_STEPS):
        fitted = torch.sigmoid(design @ solution)
        gradient = design.T @ (weights * (fitted - had)) + prior @ (solution - start)
        curvature = weights * fitted * (1 - fitted)
        step = torch.linalg.solve(design.T @ (curvature[:, None] * design) + prior, gradient)
        solution = solution - step
        if float(step.abs().max()) < 1e-10:
            break
    return float(solution[0]), float(solution[1])


def _reliability(
    probability: torch.Tensor, had: torch.Tensor, weights: torch.Tensor, patients: list[int]
) -> tuple[ReliabilityBin, ...]:
    """Bins of equal numbers of questions; `count` is of the distinct patients in each."""
    bins = []
    for places in torch.argsort(probability, stable=True).tensor_split(_NUM_BINS):
        share = weights[places] / weights[places].sum()
        bins.append(
            ReliabilityBin(
                mean_predicted=float((probability[places] * share).sum()),
                observed=float((had[places] * share).sum()),
                count=len({patients[place] for place in places.tolist()}),
            )
        )
    return tuple(bins)


def fit_conformal(
    asked: Sequence[Asked],
    key: tuple[str, str],
    vocabulary: Vocabulary,
    limits: AbstentionLimits,
    run_name: str,
) -> QuantityCalibration | None:
    """How far to widen (or narrow) the quantile intervals of one quantity in one window (CQR)."""
    rows = [(a.patient, a.values[key], 1.0) for a in asked if key in a.values]
    return _conformal(
        rows, vocabulary.scales[key[0]], limits, f"{run_name}/conformal/{key[0]}/{key[1]}", 1.0
    )


def fit_pooled(
    asked: Sequence[Asked],
    label: str,
    vocabulary: Vocabulary,
    limits: AbstentionLimits,
    run_name: str,
) -> dict[str, QuantityCalibration]:
    """As `fit_conformal` over all quantities of one window, each in its standard deviations.

    For the quantities that too few calibration patients had measured in the window: their intervals
    then cover the stated share over quantities taken together, not of each.
    """
    rows = [
        (a.patient, answer, vocabulary.scales[code].sd)
        for a in asked
        for (code, window), answer in a.values.items()
        if window == label
    ]
    pooled = {}
    for code in vocabulary.numeric:
        scale = vocabulary.scales[code]
        name = f"{run_name}/conformal/pooled/{label}"
        fitted = _conformal(rows, scale, limits, name, scale.sd)
        if fitted is not None:
            pooled[code] = fitted
    return pooled


def _conformal(
    rows: Sequence[tuple[int, ValueAnswer, float]],
    scale: ValueScale,
    limits: AbstentionLimits,
    calibration_id: str,
    unit: float,
) -> QuantityCalibration | None:
    patients = [patient for patient, _, _ in rows]
    if len(set(patients)) < limits.min_patients:
        return None
    intervals = []
    for level, below, above in _LEVELS:
        scores = [_score(answer, below, above) / sd for _, answer, sd in rows]
        offset = conformal_offset(scores, patients, level)
        if offset is None:
            return None
        intervals.append(
            ConformalCalibration(
                calibration_id=calibration_id,
                level=level,
                offset=offset * unit,
                num_patients=len(set(patients)),
            )
        )
    low, high = scale.knots[0], scale.knots[-1]
    # The middle 90 % lies halfway between the outermost deciles and the extremes at most.
    low, high = (low + scale.knots[1]) / 2, (high + scale.knots[-2]) / 2
    return QuantityCalibration(intervals=tuple(intervals), population_width=high - low)


def _score(answer: ValueAnswer, below: int, above: int) -> float:
    return max(answer.quantiles[below] - answer.measured, answer.measured - answer.quantiles[above])


def conformal_offset(
    scores: Sequence[float], patients: Sequence[int], level: float
) -> float | None:
    """The smallest score that covers `level` of the patients and one more who scored infinitely.

    Every patient weighs one, shared by their scores; None where the one more would be needed.
    """
    weights = _patient_weights(patients).tolist()
    needed = level * (len(set(patients)) + 1)
    total = 0.0
    for score, weight in sorted(zip(scores, weights, strict=True)):
        total += weight
        if total >= needed - 1e-9:
            return score
    return None


def fit_familiarity(training: Sequence[Asked], held_out: Sequence[Asked]) -> Familiarity | None:
    """Mean and shrunken covariance of the training states; the limit is from held-out patients."""
    if not training or not held_out:
        return None
    states = torch.tensor([asked.state for asked in training], dtype=torch.float64)
    mean = states.mean(0)
    centred = states - mean
    covariance = centred.T @ centred / len(states)
    spread = float(covariance.diagonal().mean())
    eye = torch.eye(len(mean), dtype=torch.float64)
    covariance = (1 - _SHRINKAGE) * covariance + (_SHRINKAGE * spread + 1e-12) * eye
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
    away = torch.tensor([asked.state for asked in held_out], dtype=torch.float64) - mean
    distances = (away @ whitening.T).norm(dim=1)
    return Familiarity(
        mean=tuple(mean.tolist()),
        whitening=tuple(tuple(row) for row in whitening.tolist()),
        limit=float(distances.quantile(_FAMILIAR_SHARE)),
    )


def _patient_weights(patients: Sequence[int]) -> torch.Tensor:
    counts = Counter(patients)
    return torch.tensor([1 / counts[patient] for patient in patients], dtype=torch.float64)
