"""The stage by itself: a question about plans that breaks the model fails alone in its batch."""

from pathlib import Path

import pytest

from adapters.model_server import wire
from adapters.model_server.options import ServeOptions
from adapters.model_server.stage import ForecastStage, configured
from clinical.errors import Loudness
from tests.adapters.model_server.builders import question
from tests.adapters.model_server.stub_process import WaitingStage


@pytest.fixture(scope="module")
def stage() -> ForecastStage:
    """Around a model that forecasts, and of which nothing about plans can be asked."""
    options = ServeOptions(
        checkpoint=Path("0"),
        host="127.0.0.1",
        port=0,
        max_batch=4,
        max_batch_wait_ms=1,
        timeout_ms=1_000,
        queue_capacity=4,
    )
    return configured(WaitingStage, options)()


def test_what_can_be_planned_is_refused_alone_where_the_model_cannot_tell(
    stage: ForecastStage,
) -> None:
    messages = [
        wire.encode_question(*question()),
        wire.encode_plannable_question(("a|1",)),
        wire.encode_fingerprint_question(),
    ]
    forecast, refused, fingerprint = stage.answer(messages)
    assert isinstance(forecast, wire.ForecastAnswer)
    assert isinstance(fingerprint, wire.FingerprintAnswer)
    assert isinstance(refused, wire.Refusal)
    assert (refused.code, refused.loudness) == ("model.failed", Loudness.BROKEN)
