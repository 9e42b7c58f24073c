"""A model process that lies: the real stage and server around answers of NaN, or to another question.

Started as `python -m tests.chaos.lying_model PORT LIE NAME VERSION MANIFEST VOCABULARY`: it says that it
is the model of that fingerprint, whose place it takes.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    # Read before mosec is imported: it takes the command line for its own.
    PORT, *SAID = sys.argv[1:]
    sys.argv = sys.argv[:1]

from adapters.model_server.options import ServeOptions
from adapters.model_server.stage import ForecastStage
from adapters.model_server.worker import serve_stage
from clinical.prediction.memory import Answered, DamagedMemoryError, PatientMemory
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import forecast_for

LIES = ("nan", "input", "model")


class LyingModel:
    """Answers each question with what cannot be true."""

    def __init__(self, lie: str, name: str, version: str, manifest: str, vocabulary: str) -> None:
        self.lie = lie
        self.fingerprint = ModelFingerprint(
            name=name, version=version, manifest_digest=manifest, vocabulary_digest=vocabulary
        )

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None = None
    ) -> Answered:
        """As `forecast`, remembering nothing."""
        if memory is not None:
            raise DamagedMemoryError("a liar remembers nothing")
        return Answered(self._answer(request, timeline))

    def forecast(self, questions: Sequence[tuple[PredictionRequest, Timeline]]) -> list[Forecast]:
        return [self._answer(request, timeline) for request, timeline in questions]

    def _answer(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        estimate = float("nan") if self.lie == "nan" and request.prediction_id.int else 0.25
        honest = forecast_for(request, timeline, estimate=estimate)
        honest = replace(honest, capsule=replace(honest.capsule, model=self.fingerprint))
        if not request.prediction_id.int or self.lie == "nan":
            return honest  # the warm-up question is answered well
        if self.lie == "input":
            return replace(honest, capsule=replace(honest.capsule, input_digest="ab" * 32))
        model = replace(self.fingerprint, manifest_digest="cd" * 32)
        return replace(honest, capsule=replace(honest.capsule, model=model))


class LyingStage(ForecastStage):
    """The stage around the lying model; its lie comes in place of a checkpoint."""

    def load(self) -> LyingModel:  # type: ignore[override]
        return LyingModel(*self.options.checkpoint.parts)


if __name__ == "__main__":
    serve_stage(
        LyingStage,
        ServeOptions(
            checkpoint=Path(*SAID),
            host="127.0.0.1",
            port=int(PORT),
            max_batch=8,
            max_batch_wait_ms=10,
            timeout_ms=10_000,
            queue_capacity=64,
        ),
    )
