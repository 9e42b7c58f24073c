"""How the model does on validation patients, beside what anybody could do without it.

Knows answers, outcomes and three baselines: the last value again, how often it happens, and age with
sex. Figures are per question, weighted so that every patient counts once.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clinical.worldmodel.calibrated import Calibration, QuantityCalibration
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.asking import Asked, ValueAnswer

_MIN_ROWS = 20
_MIN_PATIENTS = 5
_AGE_BANDS = {
    "under 18": (-math.inf, 18.0),
    "18 to 44": (18.0, 45.0),
    "45 to 64": (45.0, 65.0),
    "65 to 79": (65.0, 80.0),
    "80 and over": (80.0, math.inf),
}
_GROUPS = ("female", "not female", *_AGE_BANDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCoverage:
    """How often the calibrated 90 % intervals of one window held the values of one group of patients.

    A conformal interval covers its level over all patients together; nothing promises it of a group.
    """

    group: str
    num_patients: int
    num_values: int
    coverage_90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFigures:
    """Mean absolute errors in standard deviations of the code, averaged over codes."""

    horizon: str
    num_codes: int
    num_values: int
    model: float
    persistence: float
    training_mean: float
    coverage_90: float | None  # of the calibrated interval, over the values that have one
    num_covered: int
    groups: tuple[GroupCoverage, ...] = ()

    @property
    def skill(self) -> float:
        """Share of the persistence error that the model takes away; below 0 it is worse."""
        return 1 - self.model / self.persistence


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFigures:
    """Of one risk in one window; AUROC is None with too few outcomes, Brier None without calibration."""

    name: str
    horizon: str
    num_patients: int
    num_outcomes: int  # patients
    prevalence: float
    auroc_model: float | None
    auroc_age_sex: float | None
    brier_model: float | None
    brier_base_rate: float
    brier_age_sex: float


def value_figures(
    asked: Sequence[Asked], vocabulary: Vocabulary, calibration: Calibration, horizon: str
) -> ValueFigures | None:
    """How well the next values in one window were said; None where none was measured."""
    errors: list[tuple[float, float, float]] = []
    num_values = inside = with_interval = 0
    for code in vocabulary.numeric_codes:
        scale, key = vocabulary.scales[code.key], (code.key, horizon)
        answers = [a.values[key] for a in asked if key in a.values]
        if len(answers) < _MIN_ROWS:
            continue
        num_values += len(answers)
        said = np.array([answer.quantiles[2] for answer in answers])
        last = np.array([answer.last for answer in answers])
        true = np.array([answer.measured for answer in answers])
        gaps = (np.abs(guess - true).mean() / scale.sd for guess in (said, last, scale.mean))
        errors.append(tuple(float(gap) for gap in gaps))  # type: ignore[arg-type]
        fitted = calibration.quantities.get(f"{key[0]}|{key[1]}")
        if fitted is not None:
            inside += sum(bool(_is_inside(answer, fitted)) for answer in answers)
            with_interval += len(answers)
    if not errors:
        return None
    model, persistence, mean = np.mean(errors, axis=0).tolist()
    return ValueFigures(
        horizon=horizon,
        num_codes=len(errors),
        num_values=num_values,
        model=model,
        persistence=persistence,
        training_mean=mean,
        coverage_90=inside / with_interval if with_interval else None,
        num_covered=with_interval,
        groups=tuple(coverage_by_group(asked, calibration, horizon)),
    )


def coverage_by_group(
    asked: Sequence[Asked], calibration: Calibration, horizon: str
) -> list[GroupCoverage]:
    """Coverage of the 90 % intervals of one window by sex and by age; groups without values are not told.

    Patients whose age is unknown are of no age band.
    """
    covered: dict[str, list[tuple[int, bool]]] = {group: [] for group in _GROUPS}
    for each in asked:
        inside = [
            is_inside
            for (code, label), answer in each.values.items()
            if label == horizon
            and (is_inside := _is_inside(answer, calibration.quantities.get(f"{code}|{label}")))
            is not None
        ]
        for group in _groups_of(each):
            covered[group] += [(each.patient, is_inside) for is_inside in inside]
    return [
        GroupCoverage(
            group=group,
            num_patients=len({patient for patient, _ in rows}),
            num_values=len(rows),
            coverage_90=sum(is_inside for _, is_inside in rows) / len(rows),
        )
        for group, rows in covered.items()
        if rows
    ]


def _groups_of(asked: Asked) -> tuple[str, ...]:
    sex = "female" if asked.is_female else "not female"
    ages = (band for band, (low, high) in _AGE_BANDS.items() if low <= asked.age_years < high)
    return (sex, *ages)


def _is_inside(answer: ValueAnswer, fitted: QuantityCalibration | None) -> bool | None:
    if fitted is None:
        return None
    offset = fitted.intervals[0].offset
    return answer.quantiles[0] - offset <= answer.measured <= answer.quantiles[4] + offset


def risk_figures(
    asked: Sequence[Asked], training: Sequence[Asked], calibration: Calibration, horizon: str
) -> list[RiskFigures]:
    """How well each risk in one window was said; `training` is what the baselines are fitted on."""
    found = []
    for name in FORETOLD:
        rows = _rows(asked, (str(name), horizon))
        fit = _rows(training, (str(name), horizon))
        if len(rows.had) < _MIN_ROWS or not fit.had.any() or fit.had.all():
            continue
        base_rate = np.average(fit.had, weights=fit.weight)
        age_sex = LogisticRegression(C=1.0, max_iter=1000)
        age_sex.fit(fit.age_sex, fit.had, sample_weight=fit.weight)
        guessed = age_sex.predict_proba(rows.age_sex)[:, 1]
        platt = calibration.probabilities.get(f"{name}|{horizon}")
        said = None if platt is None else np.array([platt.probability(z) for z in rows.log_odds])
        with_outcome = {p for p, had in zip(rows.patient, rows.had, strict=True) if had}
        is_enough = len(with_outcome) >= _MIN_PATIENTS and not rows.had.all()
        found.append(
            RiskFigures(
                name=str(name),
                horizon=horizon,
                num_patients=len(set(rows.patient)),
                num_outcomes=len(with_outcome),
                prevalence=float(np.average(rows.had, weights=rows.weight)),
                auroc_model=_auroc(rows, rows.log_odds) if is_enough else None,
                auroc_age_sex=_auroc(rows, guessed) if is_enough else None,
                brier_model=None if said is None else _brier(rows, said),
                brier_base_rate=_brier(rows, np.full(len(rows.had), base_rate)),
                brier_age_sex=_brier(rows, guessed),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    patient: list[int]
    log_odds: np.ndarray
    had: np.ndarray
    age_sex: np.ndarray
    weight: np.ndarray


def _rows(asked: Sequence[Asked], key: tuple[str, str]) -> _Rows:
    kept = [a for a in asked if a.risks[key].happened is not None]
    patients = [a.patient for a in kept]
    counts = Counter(patients)
    return _Rows(
        patient=patients,
        log_odds=np.array([a.risks[key].log_odds for a in kept]),
        had=np.array([bool(a.risks[key].happened) for a in kept], dtype=bool),
        age_sex=np.array([_age_sex(a) for a in kept]).reshape(-1, 3),
        weight=np.array([1 / counts[patient] for patient in patients]),
    )


def _age_sex(asked: Asked) -> tuple[float, float, float]:
    age = 0.0 if math.isnan(asked.age_years) else asked.age_years / 50
    return (age, age**2, float(asked.is_female))


def _auroc(rows: _Rows, score: np.ndarray) -> float:
    return float(roc_auc_score(rows.had, score, sample_weight=rows.weight))


def _brier(rows: _Rows, probability: np.ndarray) -> float:
    return float(np.average((probability - rows.had) ** 2, weights=rows.weight))
