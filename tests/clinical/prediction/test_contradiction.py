"""Plans that cannot be meant are refused by name, whoever asks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from clinical.prediction.action import Action
from clinical.prediction.contradiction import ContradictoryPlanError, require_consistent
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.prediction.request import PredictionRequest
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.quantity import Quantity

METFORMIN = Code(CodeSystem.RXNORM, "6809", "Metformin")
DAY = timedelta(days=1)
WEEK = Horizon(timedelta(0), 7 * DAY)
GIVEN = Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=DAY)


def dose(value: str) -> Quantity:
    return Quantity(Decimal(value), "mg")


@pytest.mark.parametrize(
    ("actions", "why"),
    [
        ((replace(GIVEN, after=-DAY),), "before the question"),
        ((replace(GIVEN, after=7 * DAY),), "after the last horizon"),
        ((replace(GIVEN, phase=Phase.START), replace(GIVEN, phase=Phase.END)), "starts and stops"),
        ((replace(GIVEN, dose=dose("1")), replace(GIVEN, dose=dose("2"))), "twice"),
        ((GIVEN, GIVEN), "twice"),
        ((replace(GIVEN, dose=dose("NaN")),), "no number"),
        ((replace(GIVEN, dose=dose("Infinity")),), "no number"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_by_name(
    actions: tuple[Action, ...], why: str
) -> None:
    with pytest.raises(ContradictoryPlanError, match=why):
        require_consistent(actions, (WEEK,))
    with pytest.raises(ContradictoryPlanError, match=why):
        request(actions, (WEEK,))


@pytest.mark.parametrize(
    "actions",
    [
        (),
        (replace(GIVEN, after=timedelta(0)), GIVEN),
        (replace(GIVEN, phase=Phase.START), replace(GIVEN, phase=Phase.END, after=2 * DAY)),
        (GIVEN, replace(GIVEN, code=Code(CodeSystem.RXNORM, "435"))),
        (GIVEN, replace(GIVEN, kind=EventKind.MEDICATION_ADMINISTRATION)),
    ],
)
def test_a_plan_that_can_be_meant_is_taken(actions: tuple[Action, ...]) -> None:
    assert request(actions, (WEEK,)).actions == actions


def test_an_action_may_come_after_one_window_and_before_the_end_of_another() -> None:
    late = replace(GIVEN, after=20 * DAY)
    month = Horizon(7 * DAY, 30 * DAY)
    assert request((late,), (WEEK, month)).actions == (late,)
    assert request((late,), (WEEK, UNTIL_DISCHARGE)).actions == (late,)
    assert request((late,), ()).actions == (late,)  # the model knows its own horizons


def test_to_stop_is_another_question_than_to_start() -> None:
    begun, ended = (
        request((replace(GIVEN, phase=phase),), (WEEK,)).config_digest
        for phase in (Phase.START, Phase.END)
    )
    assert begun != ended


def request(actions: tuple[Action, ...], horizons: tuple[Horizon, ...]) -> PredictionRequest:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    return PredictionRequest(
        prediction_id=UUID(int=1),
        patient_id=UUID(int=2),
        as_of=now,
        received_by=now,
        horizons=horizons,
        actions=actions,
    )
