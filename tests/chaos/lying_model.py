"""A model process that lies: the real stage and server around answers of NaN, or to another question.

Started as `python -m tests.chaos.lying_model PORT LIE`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    # Read before mosec is imported: it takes the command line for its own.
    PORT, LIE = sys.argv[1:]
    sys.argv = sys.argv[:1]

from adapters.model_server.options import ServeOptions
from adapters.model_server.stage import ForecastStage
from adapters.model_server.worker import serve_stage
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import FINGERPRINT, forecast_for

LIES = ("nan", "input", "model")


class LyingModel:
    """Answers each question with what cannot be true."""

    fingerprint: ModelFingerprint = FINGERPRINT

    def __init__(self, lie: str) -> None:
        self.lie = lie

    def forecast(self, questions: Sequence[tuple[PredictionRequest, Timeline]]) -> list[Forecast]:
        return [self._answer(request, timeline) for request, timeline in questions]

    def _answer(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        if not request.prediction_id.int:  # the warm-up question is answered well
            return forecast_for(request, timeline)
        if self.lie == "nan":
            return forecast_for(request, timeline, estimate=float("nan"))
        honest = forecast_for(request, timeline)
        if self.lie == "input":
            return replace(honest, capsule=replace(honest.capsule, input_digest="ab" * 32))
        model = replace(FINGERPRINT, manifest_digest="cd" * 32)
        return replace(honest, capsule=replace(honest.capsule, model=model))


class LyingStage(ForecastStage):
    """The stage around the lying model; its lie comes in place of a checkpoint."""

    def load(self) -> LyingModel:  # type: ignore[override]
        return LyingModel(self.options.checkpoint.name)


if __name__ == "__main__":
    serve_stage(
        LyingStage,
        ServeOptions(
            checkpoint=Path(LIE),
            host="127.0.0.1",
            port=int(PORT),
            max_batch=8,
            max_batch_wait_ms=10,
            timeout_ms=10_000,
            queue_capacity=64,
        ),
    )
