"""What was said stands beside what happened, in the unit that was said, with what was known before."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.horizon import Horizon
from clinical.prediction.prediction import Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline
from pipelines.evaluation.outcomes import Judged, group_by_patient
from tests.clinical.builders import GLUCOSE, PATIENT, event, hours
from tests.fakes import FakeModelServer

WEEK = Horizon(timedelta(0), timedelta(days=7))
MONTH = Horizon(timedelta(days=7), timedelta(days=30))
ASKED_AT = hours(100)
PAST = [event("p1", at=10, value="100"), event("p2", at=50, value="110")]
FOLLOWED = event("f", at=100 + 24 * 400, value="1")


def glucose(horizon: Horizon = WEEK, unit: str = "g/L", *levels: float) -> Readout:
    bands = tuple(Interval(1.0 - level, 1.0 + level, level) for level in levels or (0.5, 0.9))
    return Readout(
        name="Glucose",
        kind=ReadoutKind.QUANTITY,
        horizon=horizon,
        code=GLUCOSE,
        unit=unit,
        estimate=1.0,
        intervals=bands,
    )


def risk(name: str = "Emergency visit") -> Readout:
    return Readout(
        name=name,
        kind=ReadoutKind.PROBABILITY,
        horizon=WEEK,
        estimate=0.3,
        intervals=(Interval(0.2, 0.4, 0.6),),
    )


def judged(*readouts: Readout, events=(*PAST, FOLLOWED)) -> Judged:
    timeline = Timeline.of(PATIENT, events)
    request = PredictionRequest(
        prediction_id=UUID(int=1), patient_id=PATIENT, as_of=ASKED_AT, received_by=hours(2000)
    )
    forecast = FakeModelServer().forecast(request, timeline.cut(ASKED_AT))
    found = Judged()
    prediction = Prediction(
        request=request, forecast=replace(forecast, readouts=readouts), made_at=hours(2000)
    )
    found.add([prediction], timeline, 0)
    return found


def test_a_quantity_is_compared_in_its_own_unit_with_the_last_value_known_before() -> None:
    later = event("l", at=120, value="130")
    (column,) = judged(glucose(), events=(*PAST, later, FOLLOWED)).quantities.values()
    rows = column.known()
    assert rows.measured == pytest.approx([1.3])
    assert rows.last_known == pytest.approx([1.1])
    assert set(rows.bands) == {0.5, 0.9}
    assert rows.bands[0.9][0] == pytest.approx([0.1])


def test_a_quantity_that_was_never_measured_again_has_no_row_to_judge() -> None:
    (column,) = judged(glucose(MONTH)).quantities.values()
    assert column.num_unknown == 1
    assert column.known().measured.size == 0


def test_a_unit_of_another_dimension_is_no_value() -> None:
    later = event("l", at=120, value="130")
    (column,) = judged(glucose(WEEK, "mm[Hg]"), events=(*PAST, later)).quantities.values()
    assert column.num_unknown == 1
    assert np.isnan(column.last_known[0])


def test_a_level_that_only_some_rows_have_is_left_out() -> None:
    later = event("l", at=120, value="130")
    found = judged(glucose(WEEK, "g/L", 0.5), glucose(), events=(*PAST, later))
    (column,) = found.quantities.values()
    assert {level: len(low) for level, (low, _) in column.bands.items()} == {0.5: 2, 0.9: 2}
    assert set(column.known().bands) == {0.5}


def test_unknown_outcomes_and_unknown_names_are_counted_not_guessed() -> None:
    (column,) = judged(risk(), events=PAST).risks.values()
    assert column.num_unknown == 1
    (column,) = judged(risk("Something new")).risks.values()
    assert column.num_unknown == 1
    probability, happened, patients = next(iter(judged(risk()).risks.values())).known()
    assert (probability.tolist(), happened.tolist(), patients.tolist()) == ([0.3], [False], [0])


def test_what_was_withheld_is_counted_by_readout_window_and_reason() -> None:
    withheld = replace(
        risk(),
        estimate=None,
        intervals=(),
        abstention=Abstention(AbstentionReason.NOT_CALIBRATED, "too few"),
    )
    found = judged(withheld, risk("Death"))
    assert found.withheld == {("Emergency visit", 0.0, "0-7 d"): {"not_calibrated": 1}}
    assert found.answered == {("Death", 0.0, "0-7 d"): 1}


def test_predictions_are_grouped_by_patient_in_the_order_of_ids() -> None:
    first, second = UUID(int=1), UUID(int=2)
    pairs = [(second, UUID(int=9)), (first, UUID(int=8)), (second, UUID(int=3))]
    assert group_by_patient(pairs) == {first: [UUID(int=8)], second: [UUID(int=3), UUID(int=9)]}
    assert list(group_by_patient(pairs)) == [first, second]
