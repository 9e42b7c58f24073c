"""The smallest and the largest patient, from a file to the stored answer of the shipped model."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine

from clinical.audit.entry import Act
from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.prediction import Forecast, ModelFingerprint, Prediction
from clinical.prediction.request import PredictionRequest
from clinical.services.prediction import PredictionService
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from clinical.worldmodel import checkpoint
from clinical.worldmodel.inference import Inference
from pipelines.commands.processes import shipped_checkpoint
from tests.pipelines.importing_stage import (
    SITE,
    Stage,
    bundle,
    ndjson,
    observation,
    patient,
    stage_on,
)

pytestmark = pytest.mark.integration

P1 = PatientRef(SITE, "p1").patient_id


class ModelInThisProcess:
    """The shipped model without the wire, which has tests of its own."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference

    def fingerprint(self) -> ModelFingerprint:
        return self.inference.fingerprint

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        sent = timeline if memory is None else timeline.after(memory.prefix)
        return self.inference.answer(request, sent, memory)

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        return self.inference.forecast([(request, timeline)])[0]


@pytest.fixture(scope="module")
def model() -> Iterator[ModelInThisProcess]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ModelInThisProcess(checkpoint.load(shipped_checkpoint()))
    torch.set_num_threads(num_threads)


@pytest.fixture
def stage(engine: Engine) -> Stage:
    return stage_on(engine)


def predict(stage: Stage, model: ModelInThisProcess) -> Prediction:
    service = PredictionService(
        open_unit_of_work=stage.open_unit_of_work,
        clock=stage.intake.clock,
        identities=stage.intake.identities,
        models=model,
    )
    prediction_id = service.make(P1, Act(actor="worker", at=stage.intake.clock.now()))
    with stage.open_unit_of_work() as uow:
        return uow.predictions.get(prediction_id)


def test_a_patient_with_one_event_gets_an_abstention_and_a_review(
    stage: Stage, tmp_path: Path, model: ModelInThisProcess
) -> None:
    (tmp_path / "a.json").write_bytes(bundle(observation("o1")))
    assert stage.take(tmp_path).num_new_events == 1
    prediction = predict(stage, model)
    assert prediction.forecast.abstention is not None
    assert prediction.forecast.abstention.reason is AbstentionReason.TOO_FEW_EVENTS
    assert prediction.forecast.capsule.num_events == 1
    assert stage.sizes()["reviews"] == 1


def test_a_patient_with_fifty_thousand_events_is_imported_read_and_answered_in_bounded_time(
    stage: Stage, tmp_path: Path, model: ModelInThisProcess
) -> None:
    """About 20 s on a quiet core; the bound allows for a busy one."""
    born = datetime(1980, 1, 1, tzinfo=UTC)
    with (tmp_path / "a.ndjson").open("wb") as file:
        file.write(ndjson(patient()))
        for number in range(50_000):
            when = (born + timedelta(hours=7 * number)).isoformat()
            file.write(ndjson(observation(f"o{number}", effectiveDateTime=when)))
    start = time.monotonic()
    report = stage.take(tmp_path)
    assert report.quarantined.total() == 0
    prediction = predict(stage, model)
    assert time.monotonic() - start < 120
    assert prediction.forecast.capsule.num_events == report.num_new_events > 50_000
    with stage.open_unit_of_work() as uow:
        timeline = uow.timelines.of(P1)
        assert uow.outbox.pending() == 1  # many deliveries, one question owed
    cut = timeline.cut(prediction.request.as_of, received_by=prediction.request.received_by)
    assert cut.input_digest == prediction.forecast.capsule.input_digest
