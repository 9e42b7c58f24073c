"""The shipped model of intensive care, asked about the shipped stays as the demo asks."""

import json
from datetime import UTC, datetime
from functools import cache
from uuid import UUID

import pytest

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.prediction.prediction import Forecast
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.checkpoint import load
from clinical.worldmodel.inference import Inference
from pipelines.icu.demo import CHECKPOINT, questions
from pipelines.samples import icu_bundles
from tests.pipelines.icu.test_fhir_bundles import read

_ASKED_AT = datetime(2026, 6, 1, tzinfo=UTC)


@cache
def timelines() -> tuple[Timeline, ...]:
    readings = [read(body) for _, body in icu_bundles()]
    return tuple(Timeline.of(r.events[0].patient_id, r.events) for r in readings)


@cache
def shown() -> tuple[Timeline, ...]:
    """The four shortest, which are asked about just after admission, and every fourth of the others."""
    by_length = sorted(timelines(), key=len)
    return (*by_length[:4], *by_length[4::4])


@cache
def model() -> Inference:
    return load(CHECKPOINT)


def asked(timeline: Timeline) -> tuple[PredictionRequest, Timeline]:
    purpose, patient_id, moment = list(questions(timeline))[-1]
    request = PredictionRequest(
        prediction_id=UUID(int=4),
        patient_id=patient_id,
        as_of=moment,
        received_by=_ASKED_AT,
        purpose=purpose,
    )
    return request, timeline


@cache
def forecasts() -> tuple[Forecast, ...]:
    return tuple(model().forecast([asked(timeline) for timeline in shown()]))


def test_every_stay_is_asked_about_once_for_review() -> None:
    for timeline in timelines():
        purposes = [purpose for purpose, _, _ in questions(timeline)]
        assert purposes.count(Purpose.REVIEW) == 1


def test_a_record_too_thin_is_not_answered_and_says_so() -> None:
    thin = [f for f in forecasts() if f.capsule.num_events < model().limits.min_events]
    assert len(thin) >= 3
    for forecast in thin:
        assert forecast.abstention is not None
        assert forecast.abstention.reason is AbstentionReason.TOO_FEW_EVENTS
        assert forecast.readouts == ()


def test_longer_stays_are_answered_with_bands_and_a_calibrated_risk() -> None:
    answered = [forecast for forecast in forecasts() if forecast.abstention is None]
    assert len(answered) >= 3
    for forecast in answered:
        risks = [r for r in forecast.readouts if r.kind is ReadoutKind.PROBABILITY]
        assert [(r.name, r.horizon) for r in risks] == [("Death in hospital", UNTIL_DISCHARGE)]
        said = [r for r in forecast.readouts if r.estimate is not None]
        assert sum(r.kind is ReadoutKind.QUANTITY for r in said) >= 20
        for readout in said:
            assert readout.calibration_id
            assert all(i.low <= readout.estimate <= i.high for i in readout.intervals)


def test_a_risk_that_is_said_leans_on_facts_of_the_stay() -> None:
    for timeline, forecast in zip(shown(), forecasts(), strict=True):
        deaths = [r for r in forecast.readouts if r.kind is ReadoutKind.PROBABILITY]
        held = {event.event_id for event in timeline}
        assert all(set(readout.evidence) <= held for readout in deaths)
    assert any(r.evidence for f in forecasts() for r in f.readouts if r.name == "Death in hospital")


def test_the_same_question_gives_the_same_bits() -> None:
    again = load(CHECKPOINT).forecast([asked(timeline) for timeline in shown()[:6]])
    assert [f.output_digest for f in again] == [f.output_digest for f in forecasts()[:6]]


def test_the_checkpoint_is_small_and_its_card_says_whose_data_and_for_what() -> None:
    size = sum(path.stat().st_size for path in CHECKPOINT.iterdir())
    assert size <= 3 * 2**20
    card = (CHECKPOINT / "MODEL_CARD.md").read_text("utf-8")
    for words in (
        "Open Data Commons Attribution License",
        "Silva I",
        "Goldberger A",
        "**Not for:**",
        "calibration.svg",
        "Coefficients of the probe",
    ):
        assert words in card
    manifest = json.loads((CHECKPOINT / "manifest.json").read_text())
    assert set(manifest["files"]) <= {path.name for path in CHECKPOINT.iterdir()}


@pytest.mark.parametrize("name", ["Emergency visit", "New diagnosis"])
def test_what_belongs_to_outpatient_life_is_not_said(name: str) -> None:
    assert [r for f in forecasts() for r in f.readouts if r.name == name] == []
