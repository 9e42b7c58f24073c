"""A model process for tests of the transport: the real stage and server around a model that only waits.

It may also be told, while it runs, to lie: what stands in the file LIE names how (`Lie`).
"""

import math
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

if __name__ == "__main__":
    # Read before mosec is imported: it takes the command line for its own.
    PORT, SECONDS, CAPACITY, TIMEOUT_MS, MAX_BATCH, *LIE = sys.argv[1:]
    sys.argv = sys.argv[:1]

from adapters.model_server.options import ServeOptions
from adapters.model_server.stage import ForecastStage
from adapters.model_server.worker import serve_stage
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import FINGERPRINT, forecast_for

POISON_SEED = 13


class Lie(StrEnum):
    """What is wrong with an answer; an empty file, or none, means that nothing is."""

    NAN = "nan"
    INFINITE_STATE = "infinite_state"
    IMPROBABLE = "improbable"
    OTHER_MODEL = "other_model"
    OTHER_INPUT = "other_input"
    OTHER_CONFIG = "other_config"


def told_as(lie: str, forecast: Forecast) -> Forecast:
    """The forecast with this lie in it."""
    [readout], trajectory, capsule = forecast.readouts, forecast.trajectory, forecast.capsule
    assert trajectory is not None
    endless = replace(trajectory, state=struct.pack("<f", math.inf))
    other = replace(FINGERPRINT, manifest_digest="x" * 64)
    lies = {
        "": forecast,
        Lie.NAN: replace(forecast, readouts=(replace(readout, estimate=math.nan),)),
        Lie.IMPROBABLE: replace(forecast, readouts=(replace(readout, estimate=1.7),)),
        Lie.INFINITE_STATE: replace(forecast, trajectory=endless),
        Lie.OTHER_MODEL: replace(forecast, capsule=replace(capsule, model=other)),
        Lie.OTHER_INPUT: replace(forecast, capsule=replace(capsule, input_digest="v2:x")),
        Lie.OTHER_CONFIG: replace(forecast, capsule=replace(capsule, config_digest="x")),
    }
    return lies[lie]


class WaitingModel:
    """Waits, then answers each question with the size of its batch as the patient's familiarity."""

    fingerprint: ModelFingerprint = FINGERPRINT

    def __init__(self, seconds: float, lie: Path | None = None) -> None:
        self.seconds = seconds
        self.lie = lie

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None = None
    ) -> Answered:
        """As `forecast`, remembering nothing."""
        assert memory is None, "the stub remembers nothing"
        return Answered(self.forecast([(request, timeline)])[0])

    def forecast(self, questions: Sequence[tuple[PredictionRequest, Timeline]]) -> list[Forecast]:
        if any(request.seed == POISON_SEED for request, _ in questions):
            raise RuntimeError("a question that breaks the model")
        if questions[0][0].prediction_id.int:  # the warm-up question is not kept waiting
            time.sleep(self.seconds)
        said = [forecast_for(request, timeline) for request, timeline in questions]
        lie = self.lie.read_text() if self.lie and self.lie.exists() else ""
        return [told_as(lie, replace(f, familiarity=float(len(questions)))) for f in said]


class WaitingStage(ForecastStage):
    """The stage around the waiting model; its seconds come in place of a checkpoint, and where it lies."""

    def load(self) -> WaitingModel:  # type: ignore[override]
        given = self.options.checkpoint
        lie = given.parent if given.parent != Path() else None
        return WaitingModel(float(given.name), lie)


if __name__ == "__main__":
    serve_stage(
        WaitingStage,
        ServeOptions(
            checkpoint=Path(*LIE) / SECONDS,
            host="127.0.0.1",
            port=int(PORT),
            max_batch=int(MAX_BATCH),
            max_batch_wait_ms=50,
            timeout_ms=int(TIMEOUT_MS),
            queue_capacity=int(CAPACITY),
        ),
    )
