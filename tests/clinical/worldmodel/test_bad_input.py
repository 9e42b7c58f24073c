"""Bad input ends in a named error or an abstention with its reason, never in a number."""

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.contradiction import ContradictoryPlanError
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon, ImpossibleHorizonError
from clinical.prediction.prediction import Forecast
from clinical.prediction.readout import ReadoutKind
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.inference import Inference
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import (
    GLUCOSE,
    METFORMIN,
    START,
    amount,
    fact,
    living,
    question,
)

PERSON = living(range(4))[0]
DAY = timedelta(days=1)
NEXT_DAY = (PERSON.known_until - START) / DAY + 1  # type: ignore[operator]
GIVEN = Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=DAY)
STRANGE = Code(CodeSystem.RXNORM, "no-such-drug", "Panacea")


def with_newest(*values: Quantity) -> Timeline:
    """The person, with glucose measured once more for each of these, a day apart."""
    more = [
        fact(0, f"late{n}", NEXT_DAY + n, EventKind.OBSERVATION, GLUCOSE, value=value)
        for n, value in enumerate(values)
    ]
    return Timeline.of(PERSON.patient_id, [*PERSON.events, *map(_owned, more)])


def _owned(event: Event) -> Event:
    return replace(event, patient_id=PERSON.patient_id)


def asked(inference: Inference, timeline: Timeline = PERSON, **changes: object) -> Forecast:
    return inference.forecast([question(timeline, **changes)])[0]


def reason(forecast: Forecast) -> AbstentionReason | None:
    if forecast.abstention is None:
        return None
    assert forecast.trajectory is None
    assert not forecast.readouts
    return forecast.abstention.reason


@pytest.mark.parametrize("value", ["1e30", "-1e30", "1e300", "1e9"])
def test_an_absurd_newest_value_is_declined_by_name(inference: Inference, value: str):
    forecast = asked(inference, with_newest(Quantity(Decimal(value), "mg/dL")))
    assert reason(forecast) is AbstentionReason.IMPLAUSIBLE_VALUE


def test_an_absurd_value_is_forgiven_when_a_plausible_one_followed(inference: Inference):
    forecast = asked(
        inference, with_newest(Quantity(Decimal("1e30"), "mg/dL"), amount(95, "mg/dL"))
    )
    assert reason(forecast) is None
    said = [r.estimate for r in forecast.readouts if r.estimate is not None]
    assert all(map(math.isfinite, said))


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_read_as_withheld(inference: Inference, value: str):
    """As a value that could not be read: the answer is that of a value in an unknown unit."""
    forecast = asked(inference, with_newest(Quantity(Decimal(value), "mg/dL")))
    unread = asked(inference, with_newest(Quantity(Decimal(7), None, "spoons")))
    assert reason(forecast) is None
    assert forecast.trajectory == unread.trajectory


def test_an_event_of_the_future_changes_nothing(inference: Inference):
    """Recorded a century ahead: it was not known when the question was asked."""
    request, _ = question(PERSON)
    future = _owned(
        replace(
            fact(
                0,
                "f",
                NEXT_DAY + 36500,
                EventKind.OBSERVATION,
                GLUCOSE,
                value=amount(1e30, "mg/dL"),
            ),
            received_at=PERSON.events[0].received_at,
        )
    )
    grown = Timeline.of(PERSON.patient_id, [*PERSON.events, future])
    before, after = inference.forecast([(request, PERSON), (request, grown)])
    assert before == after


def test_a_window_of_no_length_and_one_without_end_are_refused_by_name(inference: Inference):
    with pytest.raises(ImpossibleHorizonError):
        Horizon(DAY, DAY)
    with pytest.raises(ImpossibleHorizonError):
        asked(inference, horizons=(UNTIL_DISCHARGE,))


def test_windows_beyond_reach_are_withheld_by_name_and_the_others_answered(inference: Inference):
    near, far = SMALL.horizons[0], Horizon(timedelta(0), 366 * DAY)
    forecast = asked(inference, horizons=(far, near))
    assert forecast.trajectory is not None
    assert forecast.trajectory.horizons == (near,)
    for readout in forecast.readouts:
        found = readout.abstention and readout.abstention.reason
        is_far = readout.horizon == far
        assert (found is AbstentionReason.HORIZON_BEYOND_REACH) == is_far
    kinds = [r.kind for r in forecast.readouts if r.horizon == far]
    assert {*kinds} == {*ReadoutKind}
    assert len(kinds) == len([r for r in forecast.readouts if r.horizon == near])
    alone = asked(inference, horizons=(near,))
    assert alone.trajectory == forecast.trajectory


def test_when_all_windows_lie_beyond_reach_nothing_is_said(inference: Inference):
    beyond = (Horizon(364 * DAY, 366 * DAY), Horizon(500 * DAY, 600 * DAY))
    assert reason(asked(inference, horizons=beyond)) is AbstentionReason.HORIZON_BEYOND_REACH


def test_an_action_that_the_model_never_met_is_declined_by_name(inference: Inference):
    plan = (GIVEN, replace(GIVEN, code=STRANGE))
    assert reason(asked(inference, actions=plan)) is AbstentionReason.UNKNOWN_ACTION


def test_a_plan_longer_than_the_model_reads_is_declined_and_not_cut_off(inference: Inference):
    plan = tuple(replace(GIVEN, after=n * DAY) for n in range(SMALL.max_actions + 1))
    assert reason(asked(inference, actions=plan[:-1])) is None
    assert reason(asked(inference, actions=plan)) is AbstentionReason.PLAN_TOO_LONG


def test_an_action_after_the_model_s_own_last_window_is_refused_by_name(inference: Inference):
    with pytest.raises(ContradictoryPlanError):
        asked(inference, actions=(replace(GIVEN, after=365 * DAY),))
    assert reason(asked(inference, actions=(replace(GIVEN, after=364 * DAY),))) is None
