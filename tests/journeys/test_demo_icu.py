"""`clinical demo --icu --once`: real stays, from the extract to reviews, some answered and some withheld."""

import json
from pathlib import Path

import pytest

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import Purpose
from pipelines.samples import FOLDER
from tests.journeys.test_demo import figures_of
from tests.stack import Started

pytestmark = pytest.mark.integration

CHECKPOINT = FOLDER / "checkpoints" / "icu-open"
NUM_STAYS = 24


def test_every_stay_comes_to_a_review_by_the_model_of_intensive_care(tmp_path: Path) -> None:
    with Started(["demo", "--icu", "--once"], tmp_path) as started:
        assert started.stop(number=None, seconds=300) == 0, started.text()
        assert started.wait_until_none_is_alive(seconds=5) == []
        figures = figures_of(started.text())
    assert figures["Patients"] == figures["Reviews"] == str(NUM_STAYS)
    assert figures["Quarantined"] == figures["Given up"] == "0"
    # Beside the data of the other demo, never among them.
    assert (tmp_path / "data" / "icu" / "postgres").is_dir()
    with EmbeddedPostgres(tmp_path / "data" / "icu" / "postgres") as server:
        engine = create_engine(server.url)
        with unit_of_work_factory(engine)() as uow:
            predictions = list(uow.predictions.all())
        engine.dispose()
    assert {p.forecast.capsule.model.name for p in predictions} == {_name()}
    reviews = [p for p in predictions if p.request.purpose is Purpose.REVIEW]
    assert len(reviews) == NUM_STAYS
    assert int(figures["of the past"]) == len(predictions) - NUM_STAYS > 0
    answered = [p for p in reviews if not p.is_abstained]
    reasons = {p.forecast.abstention.reason.value for p in reviews if p.forecast.abstention}
    assert len(answered) >= NUM_STAYS / 2
    assert "too_few_events" in reasons
    assert any(_death(p) is not None for p in answered)


def _death(prediction: Prediction) -> float | None:
    """The risk of death in hospital, which is said until discharge, with its calibration."""
    (death,) = [r for r in prediction.forecast.readouts if r.name == "Death in hospital"]
    assert death.horizon == UNTIL_DISCHARGE
    assert death.estimate is None or death.reliability is not None
    return death.estimate


def _name() -> str:
    name: str = json.loads((CHECKPOINT / "manifest.json").read_text())["name"]
    return name
