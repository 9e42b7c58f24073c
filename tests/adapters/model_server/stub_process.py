"""A model process for tests of the transport: the real stage and server around a model that only waits."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Read before mosec is imported: it takes the command line for its own.
    PORT, SECONDS, CAPACITY, TIMEOUT_MS, MAX_BATCH = sys.argv[1:]
    sys.argv = sys.argv[:1]

from adapters.model_server.options import ServeOptions
from adapters.model_server.stage import ForecastStage
from adapters.model_server.worker import serve_stage
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import FINGERPRINT, forecast_for

POISON_SEED = 13


class WaitingModel:
    """Waits, then answers each question with the size of its batch as the estimate."""

    fingerprint: ModelFingerprint = FINGERPRINT

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def forecast(self, questions: Sequence[tuple[PredictionRequest, Timeline]]) -> list[Forecast]:
        if any(request.seed == POISON_SEED for request, _ in questions):
            raise RuntimeError("a question that breaks the model")
        if questions[0][0].prediction_id.int:  # the warm-up question is not kept waiting
            time.sleep(self.seconds)
        return [forecast_for(r, t, estimate=float(len(questions))) for r, t in questions]


class WaitingStage(ForecastStage):
    """The stage around the waiting model; its seconds come in place of a checkpoint."""

    def load(self) -> WaitingModel:  # type: ignore[override]
        return WaitingModel(float(self.options.checkpoint.name))


if __name__ == "__main__":
    serve_stage(
        WaitingStage,
        ServeOptions(
            checkpoint=Path(SECONDS),
            host="127.0.0.1",
            port=int(PORT),
            max_batch=int(MAX_BATCH),
            max_batch_wait_ms=50,
            timeout_ms=int(TIMEOUT_MS),
            queue_capacity=int(CAPACITY),
        ),
    )
