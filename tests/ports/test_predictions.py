"""Port Predictions: one answer to one question, kept to the last bit."""

import struct
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, text

from clinical.errors import NotFoundError
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import PATIENT, event
from tests.fakes import MODEL, NOON, FakeModelServer
from tests.ports import strategies
from tests.ports.together import together

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unaudited")]


def _prediction(content: str = "", *, as_of: timedelta = timedelta(0)) -> Prediction:
    request = PredictionRequest(
        prediction_id=uuid4(), patient_id=PATIENT, as_of=NOON + as_of, received_by=NOON + as_of
    )
    forecast = FakeModelServer().forecast(request, Timeline.of(PATIENT, [event(content=content)]))
    return Prediction(request=request, forecast=forecast, made_at=NOON + as_of)


def _add(open_unit_of_work: OpenUnitOfWork, prediction: Prediction) -> bool:
    with open_unit_of_work() as uow:
        uow.predictions.ensure_model(prediction.forecast.capsule.model, NOON)
        is_new = uow.predictions.add(prediction)
        uow.commit()
    return is_new


def _find(open_unit_of_work: OpenUnitOfWork, prediction: Prediction) -> UUID | None:
    capsule = prediction.forecast.capsule
    with open_unit_of_work() as uow:
        return uow.predictions.find(
            input_digest=capsule.input_digest,
            config_digest=capsule.config_digest,
            manifest_digest=capsule.model.manifest_digest,
            purpose=prediction.request.purpose,
            patient_id=prediction.request.patient_id,
        )


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(strategies.predictions)
def test_any_prediction_comes_back_to_the_bit(
    open_unit_of_work: OpenUnitOfWork, prediction: Prediction
) -> None:
    with open_unit_of_work() as uow:  # never committed: each example finds an empty table
        uow.predictions.ensure_model(MODEL, NOON)
        assert uow.predictions.add(prediction)
        held = uow.predictions.get(prediction.request.prediction_id)
    assert held == prediction
    assert repr(held.forecast.readouts) == repr(prediction.forecast.readouts)
    assert held.forecast.output_digest == prediction.forecast.output_digest
    assert held.request.config_digest == prediction.request.config_digest


def test_a_question_is_answered_once(open_unit_of_work: OpenUnitOfWork) -> None:
    first, again = _prediction(), _prediction()
    assert _find(open_unit_of_work, first) is None
    assert _add(open_unit_of_work, first)
    assert not _add(open_unit_of_work, again)
    assert _find(open_unit_of_work, again) == first.request.prediction_id
    with open_unit_of_work() as uow, pytest.raises(NotFoundError):
        uow.predictions.get(again.request.prediction_id)


def test_another_purpose_is_another_question(open_unit_of_work: OpenUnitOfWork) -> None:
    first = _prediction()
    request = replace(first.request, prediction_id=uuid4(), purpose=Purpose.RETROSPECTIVE)
    assert _add(open_unit_of_work, first)
    assert _add(open_unit_of_work, replace(first, request=request))


def test_eight_threads_with_the_same_answer_store_one(open_unit_of_work: OpenUnitOfWork) -> None:
    answers = [_prediction() for _ in range(8)]
    results = together([partial(_add, open_unit_of_work, answer) for answer in answers])
    assert sorted(results, key=str) == [False] * 7 + [True]


def test_all_are_streamed_in_the_order_of_making_and_many_in_the_order_asked_for(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    made = [_prediction(str(n), as_of=timedelta(minutes=n)) for n in range(5)]
    for prediction in reversed(made):
        _add(open_unit_of_work, prediction)
    with open_unit_of_work() as uow:
        streamed = []
        for prediction in uow.predictions.all():
            # Other questions in between do not disturb the stream.
            assert uow.predictions.get(prediction.request.prediction_id) == prediction
            streamed.append(prediction)
    assert streamed == made


def test_a_model_version_is_registered_once(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        assert uow.predictions.ensure_model(MODEL, NOON)
        assert not uow.predictions.ensure_model(MODEL, NOON)


def _held_states(engine: Engine) -> list[tuple[UUID, list[float]]]:
    question = text("SELECT prediction_id, state::real[] AS numbers FROM patient_states")
    with engine.connect() as connection:
        return [(row.prediction_id, row.numbers) for row in connection.execute(question)]


def test_the_latent_state_of_every_prediction_is_kept_for_comparison(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    early, late = _prediction("a"), _prediction("b", as_of=timedelta(days=1))
    _add(open_unit_of_work, late)
    _add(open_unit_of_work, early)
    held = dict(_held_states(engine))
    for prediction in (early, late):
        trajectory = prediction.forecast.trajectory
        assert trajectory is not None
        numbers = list(struct.unpack("<4f", trajectory.state))
        assert held[prediction.request.prediction_id] == pytest.approx(numbers, rel=1e-6)


def test_a_state_that_is_no_number_is_stored_with_the_prediction_but_not_compared(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    prediction = _prediction()
    trajectory = prediction.forecast.trajectory
    assert trajectory is not None
    broken = replace(trajectory, state=struct.pack("<2f", float("nan"), 1.0))
    prediction = replace(prediction, forecast=replace(prediction.forecast, trajectory=broken))
    assert _add(open_unit_of_work, prediction)
    assert _held_states(engine) == []
