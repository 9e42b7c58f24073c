"""Asks the model process over HTTP, and trusts no answer that does not hold together.

It knows statuses, timeouts and what a sound answer looks like. It does not know torch, nor how the
model comes to its answer.
"""

import threading
import time
from typing import ClassVar

import httpx
from opentelemetry.trace import SpanKind

from adapters.model_server import soundness, wire
from adapters.operations import tracing
from adapters.operations.metrics import Unwatched, WatchesModel
from clinical.errors import ClinicalError, Loudness, RejectedError
from clinical.prediction.memory import (
    Answered,
    DamagedMemoryError,
    ForeignMemoryError,
    PatientMemory,
    RefusedMemoryError,
    UncutQuestionError,
)
from clinical.prediction.plan import (
    MalformedPlanQuestionError,
    PlanComparison,
    PlanQuestion,
    UnknownPlanActionError,
    UnusableGoalError,
)
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from clinical.timeline.timeline import Timeline


class MalformedAnswerError(ModelUnavailableError):
    """The model process answered with what is no sound answer: nothing of it is used."""

    code = "model.malformed_answer"


class MisdirectedAnswerError(ModelUnavailableError):
    """The answer is to another question: its input or plan is not the one that was asked about."""

    code = "model.misdirected_answer"


class ForeignAnswerError(ModelUnavailableError):
    """The answer is of another model than the one that says it serves: nothing of it is used."""

    code = "model.foreign_answer"


class RefusedQuestionError(RejectedError):
    """The model process cannot answer this question, now or later; `refusal_code` says why."""

    code: ClassVar[str] = "model.refused_question"

    def __init__(self, message: str, refusal_code: str) -> None:
        """Keep the code that the model process gave."""
        super().__init__(message)
        self.refusal_code = refusal_code


class QuestionTooLargeError(RejectedError):
    """The timeline, as bytes, is larger than the model process takes."""

    code = "model.question_too_large"


_BUSY = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})
_ABOUT_MEMORIES: dict[str, type[RefusedMemoryError]] = {
    error.code: error for error in (DamagedMemoryError, ForeignMemoryError, UncutQuestionError)
}
_FINGERPRINT_SECONDS = 5.0


class HttpModelServer:
    """The model process behind `base_url`; may be shared by threads.

    A request that is not answered within `timeout_seconds` counts as refused by a busy server.
    """

    def __init__(
        self,
        base_url: str,
        timeout_seconds: float,
        *,
        transport: httpx.BaseTransport | None = None,
        watch: WatchesModel | None = None,
    ) -> None:
        """Open nothing yet: the first question connects. `watch` is told of every question."""
        self._watch = watch or Unwatched()
        self._client = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 2.0)),
            transport=transport,
            trust_env=False,
            headers={"content-type": wire.CONTENT_TYPE},
        )
        self._lock = threading.Lock()
        self._fingerprint: ModelFingerprint | None = None
        self._fingerprint_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fingerprint(self) -> ModelFingerprint:
        """Which model serves, at most a few seconds ago; raises ModelUnavailableError."""
        with self._lock:
            if self._fingerprint is not None and time.monotonic() < self._fingerprint_until:
                return self._fingerprint
        try:
            answer = self._ask("/fingerprint", wire.encode_fingerprint_question())
        except ModelBusyError as error:
            raise ModelUnavailableError("the model process is too busy to say who it is") from error
        if not isinstance(answer, wire.FingerprintAnswer):
            raise MalformedAnswerError("the model process did not say which model it serves")
        with self._lock:
            self._fingerprint = answer.fingerprint
            self._fingerprint_until = time.monotonic() + _FINGERPRINT_SECONDS
        return answer.fingerprint

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        """The answer of the model to a timeline already cut.

        An answer in which anything is no number becomes an abstention.

        Raises:
            ModelUnavailableError: also as MalformedAnswerError, MisdirectedAnswerError and
                ForeignAnswerError.
            ModelBusyError, RefusedQuestionError, QuestionTooLargeError
        """
        answer = self._ask("/forecast", wire.encode_question(request, timeline))
        if isinstance(answer, wire.Refusal):
            raise _as_error(answer)
        if not isinstance(answer, wire.ForecastAnswer):
            raise MalformedAnswerError("the model process did not answer with a forecast")
        return self._told(self._sound(answer.forecast, request, timeline))

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        """As `forecast`, sending only what comes after `memory`; and what is remembered then.

        The answer's digest is compared with that of the whole timeline, memory included.

        Raises:
            RefusedMemoryError: ask without it.
            ModelUnavailableError: also as MalformedAnswerError and MisdirectedAnswerError.
            ModelBusyError, RefusedQuestionError, QuestionTooLargeError
        """
        sent = timeline if memory is None else timeline.after(memory.prefix)
        answer = self._ask("/forecast", wire.encode_remembering_question(request, sent, memory))
        if isinstance(answer, wire.Refusal):
            raise _as_error(answer)
        if not isinstance(answer, wire.RememberingAnswer):
            raise MalformedAnswerError("the model process did not answer with a forecast")
        forecast = self._told(self._sound(answer.answered.forecast, request, timeline))
        if forecast is not answer.answered.forecast:
            return Answered(forecast)  # what a model remembers that cannot count is not kept
        if not soundness.are_of(answer.answered.memories, timeline):
            raise MalformedAnswerError("the memories are not of this timeline")
        return answer.answered

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        """Of each action, by `Code.key`, whether the model can plan it.

        Raises:
            ModelUnavailableError, ModelBusyError, RefusedQuestionError
        """
        answer = self._ask("/plannable", wire.encode_plannable_question(actions))
        if isinstance(answer, wire.Refusal):
            raise _as_error(answer)
        if not isinstance(answer, wire.PlannableAnswer) or len(answer.is_plannable) != len(actions):
            raise MalformedAnswerError("the model process did not say what it can plan")
        return answer.is_plannable

    def compare_plans(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        """The model's comparison of plans, for a timeline already cut.

        Raises:
            UnknownPlanActionError, UnusableGoalError, MalformedPlanQuestionError
            ModelUnavailableError: also as MalformedAnswerError and MisdirectedAnswerError.
            ModelBusyError, RefusedQuestionError, QuestionTooLargeError
        """
        answer = self._ask("/plan", wire.encode_plan_question(question, timeline))
        if isinstance(answer, wire.Refusal):
            raise _as_error(answer)
        if not isinstance(answer, wire.PlanAnswer):
            raise MalformedAnswerError("the model process did not answer with a comparison")
        comparison = answer.comparison
        self._require_answer_to(question, timeline, comparison.capsule)
        if not soundness.is_sound_comparison(comparison):
            raise MalformedAnswerError("the comparison does not hold together")
        return comparison

    def _told(self, forecast: Forecast) -> Forecast:
        """The same, after a word to the watch what came of it."""
        self._watch.answered(forecast.abstention.reason.value if forecast.abstention else "")
        return forecast

    def _sound(
        self, forecast: Forecast, request: PredictionRequest, timeline: Timeline
    ) -> Forecast:
        self._require_answer_to(request, timeline, forecast.capsule)
        if not soundness.is_whole(forecast):
            raise MalformedAnswerError("the answer does not hold together")
        return soundness.in_numbers(forecast)

    def _require_answer_to(
        self, asked: PredictionRequest | PlanQuestion, timeline: Timeline, capsule: Capsule
    ) -> None:
        said = (capsule.input_digest, capsule.config_digest, capsule.seed, capsule.num_events)
        if said != (timeline.input_digest, asked.config_digest, asked.seed, len(timeline)):
            raise MisdirectedAnswerError("the answer is not to the question that was asked")
        with self._lock:
            if capsule.model == self._fingerprint:
                return
            # Another model may have taken over since it was asked, which is no lie.
            self._fingerprint = None
        if capsule.model != self.fingerprint():
            raise ForeignAnswerError("the answer is of another model than the one that serves")

    def _ask(self, path: str, question: bytes) -> wire.Answer:
        """The answer of the model process, and a word to the watch how it went."""
        began, outcome = time.perf_counter(), "answered"
        name = path.strip("/")
        try:
            with tracing.span(f"model {name}", SpanKind.CLIENT, question=name):
                answer = self._sent(path, question)
            if isinstance(answer, wire.Refusal):
                outcome = "refused"
        except ClinicalError as error:
            outcome = error.code
            raise
        finally:
            self._watch.asked(name, outcome, time.perf_counter() - began)
        return answer

    def _sent(self, path: str, question: bytes) -> wire.Answer:
        if len(question) > wire.MAX_QUESTION_BYTES:
            raise QuestionTooLargeError("the timeline is larger than the model process takes")
        try:
            response = self._client.post(path, content=question)
        except httpx.ConnectTimeout:
            raise ModelUnavailableError("the model process cannot be reached") from None
        except httpx.TimeoutException:
            raise ModelBusyError("the model process did not answer in time") from None
        except httpx.TransportError:
            raise ModelUnavailableError("the model process cannot be reached") from None
        if response.status_code != httpx.codes.OK:
            raise _refused(response.status_code)
        try:
            return wire.decode_answer(response.content)
        except (wire.UnreadableMessageError, wire.UnknownWireVersionError) as error:
            raise MalformedAnswerError(str(error)) from error


def _refused(status: int) -> Exception:
    if status in _BUSY:
        return ModelBusyError(
            "the model process refused: its queue is full or the wait was too long"
        )
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return QuestionTooLargeError("the timeline is larger than the model process takes")
    if httpx.codes.is_client_error(status):
        return RefusedQuestionError(
            "the model process does not take this request", f"http.{status}"
        )
    return ModelUnavailableError(f"the model process answered with status {status}")


_ABOUT_PLANS: dict[str, type[RejectedError]] = {
    error.code: error
    for error in (UnknownPlanActionError, UnusableGoalError, MalformedPlanQuestionError)
}


def _as_error(refusal: wire.Refusal) -> Exception:
    if refusal.code in _ABOUT_MEMORIES:
        return _ABOUT_MEMORIES[refusal.code](refusal.detail)
    if refusal.code in _ABOUT_PLANS:
        return _ABOUT_PLANS[refusal.code](refusal.detail)
    if refusal.loudness is Loudness.REJECTED:
        return RefusedQuestionError(refusal.detail, refusal.code)
    return ModelUnavailableError(f"the model process failed ({refusal.code})")
