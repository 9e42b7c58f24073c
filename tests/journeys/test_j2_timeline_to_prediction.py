"""J2: from a timeline to a stored prediction of the real model, and an open review."""

from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.model_server.client import HttpModelServer
from clinical.audit.entry import AuditKind
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import Purpose
from clinical.review.review import ReviewState
from clinical.services.intake import Intake
from clinical.services.replay import ReplayService
from tests.adapters.operations.test_dashboard import OF_THE_MODEL_PROCESS
from tests.journeys.conftest import Running
from tests.stack import wait_until

pytestmark = pytest.mark.integration


def predictions_of(site: Running, patient_id: UUID) -> list[Prediction]:
    with site.open_unit_of_work() as uow:
        return [each for each in uow.predictions.all() if each.request.patient_id == patient_id]


def test_news_of_a_patient_become_a_prediction_and_a_review(
    site: Running, sample_patient: UUID
) -> None:
    (prediction,) = predictions_of(site, sample_patient)
    assert prediction.request.purpose is Purpose.REVIEW
    assert not prediction.is_abstained
    assert prediction.forecast.trajectory is not None
    assert prediction.forecast.readouts
    with site.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(sample_patient)
        timeline = uow.timelines.of(sample_patient)
        history = uow.audit_log.history(prediction=str(prediction.request.prediction_id))
    assert review.prediction_id == prediction.request.prediction_id
    assert review.state is ReviewState.QUEUED
    assert prediction.forecast.capsule.num_events == len(timeline)
    assert [entry.kind for entry in history] == [
        AuditKind.PREDICTION_STORED,
        AuditKind.REVIEW_OPENED,
    ]


def test_asked_again_the_model_gives_the_same_answer_to_the_bit(
    site: Running, sample_patient: UUID
) -> None:
    (prediction,) = predictions_of(site, sample_patient)
    models = HttpModelServer(site.model_url, 10)
    service = ReplayService(open_unit_of_work=site.open_unit_of_work, models=models, planner=models)
    stored, now = service.recompute(prediction.request.prediction_id)
    models.close()
    assert now.output_digest == stored.forecast.output_digest
    assert now.capsule == stored.forecast.capsule


def test_a_question_about_the_past_is_answered_from_what_was_known_then(
    site: Running, sample_patient: UUID
) -> None:
    with site.open_unit_of_work() as uow:
        timeline = uow.timelines.of(sample_patient)
    assert timeline.known_until is not None
    as_of = timeline.known_until - timedelta(days=365)
    intake = Intake(
        open_unit_of_work=site.open_unit_of_work,
        clock=SystemClock(),
        identities=TimeOrderedIdentities(),
        readers={},
    )
    for _ in range(2):  # asked twice, answered once
        intake.request_prediction(
            sample_patient, purpose=Purpose.RETROSPECTIVE, as_of=as_of.isoformat()
        )
        wait_until(lambda: not site.num_waiting())
    asked_of_the_past = [
        each
        for each in predictions_of(site, sample_patient)
        if each.request.purpose is Purpose.RETROSPECTIVE
    ]
    (prediction,) = asked_of_the_past
    assert prediction.request.as_of == as_of
    assert prediction.forecast.capsule.input_digest == timeline.cut(as_of).input_digest
    with site.open_unit_of_work() as uow:
        assert len(uow.reviews.open_for(sample_patient)) == 1


def test_the_model_process_exports_what_the_dashboard_asks_for(
    site: Running, sample_patient: UUID
) -> None:
    told = httpx.get(f"{site.model_url}/metrics", timeout=10, trust_env=False).text
    assert [name for name in OF_THE_MODEL_PROCESS if f"\n{name}" not in told] == []
