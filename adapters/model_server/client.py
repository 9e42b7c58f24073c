"""Asks the model process over HTTP, and trusts no answer that does not hold together.

It knows statuses, timeouts and what a sound answer looks like. It does not know torch, nor how the
model comes to its answer.
"""

import math
import sys
import threading
import time
from array import array
from typing import ClassVar

import httpx
from opentelemetry.trace import SpanKind

from adapters.model_server import wire
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
from clinical.prediction.readout import Readout
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from clinical.timeline.timeline import Timeline


class MalformedAnswerError(ModelUnavailableError):
    """The model process answered with what is no sound answer: nothing of it is used."""

    code = "model.malformed_answer"


class MisdirectedAnswerError(ModelUnavailableError):
    """The answer is to another question: its input or plan is not the one that was asked about."""

    code = "model.misdirected_answer"


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

        Raises:
            ModelUnavailableError: also as MalformedAnswerError and MisdirectedAnswerError.
            ModelBusyError, RefusedQuestionError, QuestionTooLargeError
        """
        answer = self._ask("/forecast", wire.encode_question(request, timeline))
        if isinstance(answer, wire.Refusal):
            raise _as_error(answer)
        if not isinstance(answer, wire.ForecastAnswer):
            raise MalformedAnswerError("the model process did not answer with a forecast")
        forecast = answer.forecast
        _require_answer_to(request, timeline, forecast.capsule)
        if not is_sound(forecast):
            raise MalformedAnswerError("the answer holds something that is no number")
        self._watch.answered(forecast.abstention.reason.value if forecast.abstention else "")
        return forecast

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
        answered = answer.answered
        _require_answer_to(request, timeline, answered.forecast.capsule)
        if not is_sound(answered.forecast) or not _are_sound(answered.memories, timeline):
            raise MalformedAnswerError("the answer does not hold together")
        abstention = answered.forecast.abstention
        self._watch.answered(abstention.reason.value if abstention else "")
        return answered

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
        _require_answer_to(question, timeline, comparison.capsule)
        if not is_sound_comparison(comparison):
            raise MalformedAnswerError("the comparison does not hold together")
        return comparison

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


def _require_answer_to(
    asked: PredictionRequest | PlanQuestion, timeline: Timeline, capsule: Capsule
) -> None:
    if (capsule.input_digest, capsule.config_digest, capsule.seed) != (
        timeline.input_digest,
        asked.config_digest,
        asked.seed,
    ):
        raise MisdirectedAnswerError("the answer is not to the question that was asked")


def _are_sound(memories: tuple[PatientMemory, ...], timeline: Timeline) -> bool:
    """Whether each is intact, and of the first events of this very timeline."""
    prefixes = timeline.chain.resumable
    return all(
        m.is_intact and m.patient_id == timeline.patient_id and m.prefix in prefixes
        for m in memories
    )


def is_sound_comparison(comparison: PlanComparison) -> bool:
    """Whether there are options in order or one abstention, and every number said is finite."""
    if bool(comparison.options) == (comparison.abstention is not None):
        return False
    energies = [option.energy for option in comparison.options]
    numbers = [*energies, *(option.support for option in comparison.options)]
    for option in comparison.options:
        numbers += [part.amount for part in option.parts]
        for readout in option.readouts:
            numbers += _numbers(readout)
    return energies == sorted(energies) and all(map(math.isfinite, numbers))


def is_sound(forecast: Forecast) -> bool:
    """Whether there is an answer or one abstention, and every number said is finite."""
    if (forecast.trajectory is None) != (forecast.abstention is not None):
        return False
    numbers = [forecast.unseen_code_share]
    if forecast.familiarity is not None:
        numbers.append(forecast.familiarity)
    for readout in forecast.readouts:
        numbers.extend(_numbers(readout))
    return all(map(math.isfinite, numbers)) and (
        forecast.trajectory is None or _is_finite(forecast.trajectory)
    )


def _numbers(readout: Readout) -> list[float]:
    said = [] if readout.estimate is None else [readout.estimate]
    for interval in readout.intervals:
        said += [interval.low, interval.high, interval.level]
    if readout.reliability is not None:
        said += [readout.reliability.mean_predicted, readout.reliability.observed]
    return said


def _is_finite(trajectory: LatentTrajectory) -> bool:
    if len(trajectory.state) % 4:
        return False
    latents = array("f", trajectory.data + trajectory.state)
    if sys.byteorder == "big":
        latents.byteswap()
    said = (latents, trajectory.spread, trajectory.noise)
    return all(math.isfinite(number) for numbers in said for number in numbers)


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
