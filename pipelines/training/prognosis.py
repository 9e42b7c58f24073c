"""Fits the probes of an outcome on frozen states, calibrates them, and says how they did.

Every probe is a penalised logistic regression on a resample of the training patients; the penalty is
chosen by cross-validation over patients within the training part. Every patient counts once, however
many moments are asked about. Knows states and labels; does not know how a state comes about.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from clinical.prediction.calibration import PlattCalibration, ReliabilityBin
from clinical.worldmodel.calibrated import Familiarity
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.probe import Probe, Prognosis
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.asking import Asked
from pipelines.training.calibrate import fit_familiarity
from pipelines.training.dataset import Case, lesson_of
from pipelines.training.setting import Labelled
from pipelines.training.train import on_device

Floats = NDArray[np.float64]

NUM_PROBES = 5
_PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)  # the C of scikit-learn
_NUM_FOLDS = 5
_BATCH = 64
_SECONDS_PER_DAY = 86_400.0
_NUM_RESAMPLES = 1000
_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class States:
    """One row per question: the state, whose it is, how long after admission, and what became of them."""

    state: Floats  # n, D
    patient: NDArray[np.int64]
    hour: Floats
    had: NDArray[np.bool_]

    @property
    def weight(self) -> Floats:
        """Every patient weighs one, shared by their questions."""
        _, place, count = np.unique(self.patient, return_inverse=True, return_counts=True)
        return np.asarray(1 / count[place], dtype=np.float64)

    def at(self, hour: float) -> "States":
        """The questions asked then."""
        rows = self.hour == hour
        return States(self.state[rows], self.patient[rows], self.hour[rows], self.had[rows])


def states_of(
    model: Jepa,
    tensorizer: Tensorizer,
    cases: Sequence[Case],
    labelled: Labelled,
    device: str = "cpu",
) -> States:
    """The states of all labelled patients at the labelled hours."""
    kept = [case for case in cases if case.timeline.patient_id in labelled.labels]
    tables = []
    for start in range(0, len(kept), _BATCH):
        chosen = kept[start : start + _BATCH]
        asked = [(case, day) for case in chosen for day in labelled.days]
        bounds = torch.tensor([model.config.windows_days], dtype=torch.float32)
        bounds = bounds.expand(len(asked), -1, -1)
        lesson = on_device(lesson_of(asked, tensorizer, bounds, torch.ones(len(asked), 1)), device)
        with torch.no_grad():
            encoded = model.encode(lesson.context)
            reading = model.read(lesson.context, encoded, lesson.row, lesson.day)
        tables.append(reading.state.double().cpu().numpy())
    num = len(labelled.hours)
    had = [labelled.labels[case.timeline.patient_id] for case in kept]
    return States(
        state=np.concatenate(tables),
        patient=np.repeat(np.arange(len(kept)), num),
        hour=np.tile(np.array(labelled.hours), len(kept)),
        had=np.repeat(np.array(had, dtype=bool), num),
    )


def fit_familiarity_of(training: States, held_out: States) -> Familiarity | None:
    """How far from the training patients is too far, at the hours at which the outcome is asked."""
    return fit_familiarity(_as_asked(training), _as_asked(held_out))


def _as_asked(states: States) -> list[Asked]:
    unknown = float("nan")
    return [
        Asked(
            patient=patient,
            age_years=unknown,
            is_female=False,
            state=tuple(state),
            spread=(),
            risks={},
            values={},
        )
        for patient, state in zip(states.patient.tolist(), states.state.tolist(), strict=True)
    ]


def fit_prognosis(training: States, labelled: Labelled, seed: int) -> tuple[Prognosis, float]:
    """The probes, and the penalty that they were fitted with."""
    mean, scale = training.state.mean(0), training.state.std(0) + 1e-6
    standard = (training.state - mean) / scale
    penalty = _best_penalty(standard, training)
    generator = np.random.default_rng(seed)
    heads = []
    for _ in range(NUM_PROBES):
        drawn = generator.poisson(1.0, training.patient.max() + 1)[training.patient]
        fitted = _logistic(standard, training.had, training.weight * drawn, penalty)
        heads.append(
            Probe(
                name=labelled.name,
                mean=tuple(mean.tolist()),
                scale=tuple(scale.tolist()),
                weights=tuple(fitted.coef_[0].tolist()),
                bias=float(fitted.intercept_[0]),
            )
        )
    start = labelled.horizon.start.total_seconds() / _SECONDS_PER_DAY
    end = labelled.horizon.end
    end_days = None if end is None else end.total_seconds() / _SECONDS_PER_DAY
    prognosis = Prognosis(
        name=labelled.name, start_days=start, end_days=end_days, heads=tuple(heads)
    )
    return prognosis, penalty


def _best_penalty(standard: Floats, training: States) -> float:
    folds = list(GroupKFold(_NUM_FOLDS).split(standard, training.had, training.patient))

    def loss(penalty: float) -> float:
        said = np.zeros(len(standard))
        for fit, held in folds:
            model = _logistic(standard[fit], training.had[fit], training.weight[fit], penalty)
            said[held] = model.predict_proba(standard[held])[:, 1]
        said = said.clip(1e-6, 1 - 1e-6)
        losses = np.where(training.had, -np.log(said), -np.log1p(-said))
        return float(np.average(losses, weights=training.weight))

    return min(_PENALTIES, key=loss)


def _logistic(
    standard: Floats, had: NDArray[np.bool_], weight: Floats, penalty: float
) -> LogisticRegression:
    return LogisticRegression(C=penalty, max_iter=2000).fit(standard, had, sample_weight=weight)


def log_odds(prognosis: Prognosis, states: States) -> Floats:
    """The mean of the heads, uncalibrated."""
    said = prognosis.log_odds(torch.from_numpy(states.state)).mean(1)
    return np.asarray(said.numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeFigures:
    """How an outcome was said of the validation patients at one hour; intervals over patients."""

    name: str
    horizon: str
    hour: float
    num_patients: int
    num_outcomes: int
    auroc: float
    auroc_95: tuple[float, float]
    average_precision: float
    average_precision_95: tuple[float, float]
    brier: float
    brier_base_rate: float
    slope: float  # of the outcome on the calibrated log odds: 1 is right
    reliability: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def outcome_figures(
    prognosis: Prognosis,
    platt: PlattCalibration,
    validation: States,
    base_rate: float,
    seed: int,
) -> list[OutcomeFigures]:
    """One row per hour asked."""
    return [
        _figures(prognosis, platt, validation.at(hour), float(hour), base_rate, seed)
        for hour in np.unique(validation.hour)
    ]


def _figures(
    prognosis: Prognosis,
    platt: PlattCalibration,
    rows: States,
    hour: float,
    base_rate: float,
    seed: int,
) -> OutcomeFigures:
    score, had = log_odds(prognosis, rows), rows.had
    said = np.array([platt.probability(float(each)) for each in score])
    calibrated = platt.slope * score + platt.intercept
    slope = LogisticRegression(C=1e6, max_iter=1000).fit(calibrated[:, None], had).coef_[0, 0]
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, len(had), len(had)) for _ in range(_NUM_RESAMPLES)]
    resamples = [rows for rows in drawn if 0 < had[rows].sum() < len(rows)]
    aurocs = [float(roc_auc_score(had[rows], score[rows])) for rows in resamples]
    precisions = [float(average_precision_score(had[rows], score[rows])) for rows in resamples]
    return OutcomeFigures(
        name=prognosis.name,
        horizon=prognosis.horizon.label,
        hour=hour,
        num_patients=len(had),
        num_outcomes=int(had.sum()),
        auroc=float(roc_auc_score(had, score)),
        auroc_95=_middle(aurocs),
        average_precision=float(average_precision_score(had, score)),
        average_precision_95=_middle(precisions),
        brier=float(np.mean((said - had) ** 2)),
        brier_base_rate=float(np.mean((base_rate - had) ** 2)),
        slope=float(slope),
        reliability=_bins(said, had),
    )


def _middle(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _bins(said: Floats, had: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    places = np.array_split(np.argsort(said, kind="stable"), _NUM_BINS)
    return tuple(
        ReliabilityBin(float(said[p].mean()), float(had[p].mean()), len(p)) for p in places
    )
