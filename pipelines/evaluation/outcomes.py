"""What was said beside what really happened, prediction by prediction, in columns.

The definitions of the outcomes are `clinical.prediction.outcome`'s, the same that training used.
Knows predictions and timelines; does not know how a column is judged, nor where it was stored.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from adapters.units import conversion
from clinical.prediction.horizon import Horizon
from clinical.prediction.outcome import Risk, happened, next_value
from clinical.prediction.prediction import Prediction
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.timeline.code import Code
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from pipelines.evaluation.figures import Floats

_UNKNOWN = math.nan
Place = tuple[str, float, str]
"""A readout, and its horizon as the day on which it starts and its label."""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a column is about: a readout within a horizon; `code_key` and `unit` for quantities."""

    name: str
    start: float  # days after the question, so that columns sort by horizon
    horizon: str
    code_key: str = ""
    unit: str = ""


@dataclass(slots=True)
class RiskColumn:
    """One probability: a row per answered readout; `happened` is nan where it is unknown."""

    patient: "array[int]" = field(default_factory=lambda: array("q"))
    probability: "array[float]" = field(default_factory=lambda: array("d"))
    happened: "array[float]" = field(default_factory=lambda: array("d"))

    def known(self) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
        """Probability, outcome and patient of the rows whose outcome is known."""
        happened = np.array(self.happened, dtype=np.float64)
        is_known = np.isfinite(happened)
        probability = np.array(self.probability, dtype=np.float64)[is_known]
        return probability, happened[is_known] > 0, np.array(self.patient, np.int64)[is_known]

    @property
    def num_unknown(self) -> int:
        """How many answers have no known outcome."""
        return sum(1 for value in self.happened if math.isnan(value))


@dataclass(slots=True)
class QuantityColumn:
    """One quantity: a row per answered readout; `measured` is nan where nothing was measured later.

    `bands` holds, per level, lower and upper ends; a row without that level has nan there.
    """

    patient: "array[int]" = field(default_factory=lambda: array("q"))
    median: "array[float]" = field(default_factory=lambda: array("d"))
    measured: "array[float]" = field(default_factory=lambda: array("d"))
    last_known: "array[float]" = field(default_factory=lambda: array("d"))
    bands: dict[float, tuple["array[float]", "array[float]"]] = field(default_factory=dict)

    def known(self) -> "KnownQuantities":
        """The rows whose value was measured, with the levels that all of them have."""
        measured = np.array(self.measured, dtype=np.float64)
        rows = np.isfinite(measured)
        ends = {
            level: (np.array(low, np.float64)[rows], np.array(high, np.float64)[rows])
            for level, (low, high) in sorted(self.bands.items())
        }
        return KnownQuantities(
            patient=np.array(self.patient, np.int64)[rows],
            median=np.array(self.median, np.float64)[rows],
            measured=measured[rows],
            last_known=np.array(self.last_known, np.float64)[rows],
            bands={k: ends[k] for k in ends if np.isfinite(ends[k][0]).all()},
        )

    @property
    def num_unknown(self) -> int:
        """How many answers were never measured against anything."""
        return sum(1 for value in self.measured if math.isnan(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownQuantities:
    """The rows of a quantity that can be judged."""

    patient: NDArray[np.int64]
    median: Floats
    measured: Floats
    last_known: Floats
    bands: Mapping[float, tuple[Floats, Floats]]


@dataclass(slots=True)
class Judged:
    """All columns; what was answered, and what was withheld by reason, by readout and horizon."""

    risks: dict[Subject, RiskColumn] = field(default_factory=dict)
    quantities: dict[Subject, QuantityColumn] = field(default_factory=dict)
    answered: Counter[Place] = field(default_factory=Counter)
    withheld: dict[Place, Counter[str]] = field(default_factory=dict)

    def add(self, predictions: Sequence[Prediction], timeline: Timeline, patient: int) -> None:
        """Judge the predictions of one patient by all that is held of them now.

        `patient` numbers them: rows with the same number are resampled together.
        """
        for prediction in predictions:
            last = _LastValues(timeline, prediction.request.as_of)
            for readout in prediction.forecast.readouts:
                self._add_readout(readout, prediction, timeline, patient, last)

    def _add_readout(
        self,
        readout: Readout,
        prediction: Prediction,
        timeline: Timeline,
        patient: int,
        last: "_LastValues",
    ) -> None:
        subject = _subject(readout)
        place = (subject.name, subject.start, subject.horizon)
        if readout.abstention is not None or readout.estimate is None:
            reason = readout.abstention.reason.value if readout.abstention else ""
            self.withheld.setdefault(place, Counter())[reason] += 1
            return
        self.answered[place] += 1
        as_of = prediction.request.as_of
        if readout.kind is ReadoutKind.PROBABILITY:
            self._add_risk(readout, readout.estimate, timeline, as_of, patient)
        elif readout.code is not None:
            self._add_quantity(readout, readout.estimate, timeline, as_of, patient, last)

    def _add_risk(
        self, readout: Readout, estimate: float, timeline: Timeline, as_of: datetime, patient: int
    ) -> None:
        column = self.risks.setdefault(_subject(readout), RiskColumn())
        column.patient.append(patient)
        column.probability.append(estimate)
        column.happened.append(_happened(readout.name, timeline, as_of, readout.horizon))

    def _add_quantity(
        self,
        readout: Readout,
        estimate: float,
        timeline: Timeline,
        as_of: datetime,
        patient: int,
        last: "_LastValues",
    ) -> None:
        assert readout.code is not None
        column = self.quantities.setdefault(_subject(readout), QuantityColumn())
        measured = next_value(
            readout.code, readout.unit, timeline, as_of, readout.horizon, convert=converted
        )
        column.patient.append(patient)
        column.median.append(estimate)
        column.measured.append(_UNKNOWN if measured is None else measured)
        column.last_known.append(last.of(readout.code, readout.unit))
        said = {interval.level: (interval.low, interval.high) for interval in readout.intervals}
        for level in said.keys() | column.bands.keys():
            missing = array("d", [_UNKNOWN]) * (len(column.median) - 1)
            low, high = column.bands.setdefault(level, (missing, missing[:]))
            ends = said.get(level, (_UNKNOWN, _UNKNOWN))
            low.append(ends[0])
            high.append(ends[1])


def converted(quantity: Quantity, unit: str) -> float | None:
    """The quantity in `unit`; None where it is not computable or of another dimension."""
    if not quantity.is_computable or quantity.unit is None:
        return None
    if quantity.unit == unit:
        return float(quantity.value)
    found = conversion(quantity.unit, unit)
    return None if found is None else found[0] * float(quantity.value) + found[1]


class _LastValues:
    """The newest value of each code that was known at the question: what persistence would say."""

    def __init__(self, timeline: Timeline, as_of: datetime) -> None:
        self._timeline, self._as_of = timeline, as_of
        self._newest: dict[str, Quantity] | None = None

    def of(self, code: Code, unit: str) -> float:
        if self._newest is None:
            self._newest = {
                event.code.key: event.value
                for event in self._timeline.cut(self._as_of)
                if isinstance(event.value, Quantity) and event.value.is_computable
            }
        quantity = self._newest.get(code.key)
        value = None if quantity is None else converted(quantity, unit)
        return _UNKNOWN if value is None else value


def _happened(name: str, timeline: Timeline, as_of: datetime, horizon: Horizon) -> float:
    """1, 0, or nan where it is unknown: the record cannot tell, or nobody says what the name means."""
    try:
        risk = Risk(name)
    except ValueError:
        return _UNKNOWN
    outcome = happened(risk, timeline, as_of, horizon)
    return _UNKNOWN if outcome is None else float(outcome)


def _subject(readout: Readout) -> Subject:
    return Subject(
        name=readout.name,
        start=round(readout.horizon.start.total_seconds() / 86_400, 6),
        horizon=readout.horizon.label,
        code_key=readout.code.key if readout.code else "",
        unit=readout.unit,
    )


def group_by_patient(predictions: Sequence[tuple[UUID, UUID]]) -> dict[UUID, list[UUID]]:
    """Prediction ids by patient, from `(patient id, prediction id)`; patients in order of their ids."""
    grouped: dict[UUID, list[UUID]] = {}
    for patient_id, prediction_id in sorted(predictions):
        grouped.setdefault(patient_id, []).append(prediction_id)
    return grouped
