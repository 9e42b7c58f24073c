"""The wire format between the callers and the model process: msgpack, versioned, both ends here.

It knows how a question and an answer are written as bytes. It does not know HTTP, torch, or what
the model makes of a timeline.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from adapters.model_server.timeline_wire import WireTimeline, from_wire, to_wire
from clinical.errors import ClinicalError, Loudness, RejectedError
from clinical.prediction.contradiction import ContradictoryPlanError
from clinical.prediction.horizon import ImpossibleHorizonError
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.plan import PlanComparison, PlanQuestion
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.request import PredictionRequest
from clinical.timeline.timeline import Timeline

VERSION = 2
MAX_QUESTION_BYTES = 64 * 1024 * 1024
"""About 170,000 events. Both ends hold to it: a server that refuses while it is still being sent to
closes the connection, and its reason is not heard."""
CONTENT_TYPE = "application/vnd.clinical-jepa.model+msgpack"


class UnreadableMessageError(RejectedError):
    """The bytes are not a question or an answer of this wire format."""

    code = "model.unreadable_message"


class UnknownWireVersionError(RejectedError):
    """The bytes are of a version of the wire format that this side does not speak."""

    code = "model.unknown_wire_version"


class ForecastQuestion(msgspec.Struct, frozen=True, array_like=True, tag="forecast"):
    """What is asked of the model, with the timeline already cut."""

    request: PredictionRequest
    timeline: WireTimeline


class RememberingQuestion(msgspec.Struct, frozen=True, array_like=True, tag="remembering"):
    """As a forecast question; with a memory the timeline holds only what comes after it."""

    request: PredictionRequest
    timeline: WireTimeline
    memory: PatientMemory | None


@dataclass(frozen=True, slots=True)
class RememberingAsked:
    """A question as it arrived, with what may be gone on from."""

    request: PredictionRequest
    timeline: Timeline
    memory: PatientMemory | None


class FingerprintQuestion(msgspec.Struct, frozen=True, array_like=True, tag="fingerprint"):
    """Who is there, and warm."""


class PlansQuestion(msgspec.Struct, frozen=True, array_like=True, tag="plan"):
    """Which plan comes nearest to the goals, with the timeline already cut."""

    question: PlanQuestion
    timeline: WireTimeline


@dataclass(frozen=True, slots=True)
class PlansAsked:
    """A question about plans as it arrived, and the timeline that came with it."""

    question: PlanQuestion
    timeline: Timeline


class PlannableQuestion(msgspec.Struct, frozen=True, array_like=True, tag="plannable"):
    """Of these actions, by `Code.key`: which can the model plan?"""

    actions: tuple[str, ...]


class ForecastAnswer(msgspec.Struct, frozen=True, array_like=True, tag="forecast"):
    """The forecast."""

    forecast: Forecast


class RememberingAnswer(msgspec.Struct, frozen=True, array_like=True, tag="remembering"):
    """The forecast, and from where later readings may go on."""

    answered: Answered


class PlanAnswer(msgspec.Struct, frozen=True, array_like=True, tag="plan"):
    """The comparison."""

    comparison: PlanComparison


class PlannableAnswer(msgspec.Struct, frozen=True, array_like=True, tag="plannable"):
    """One answer per action asked about, in order."""

    is_plannable: tuple[bool, ...]


class FingerprintAnswer(msgspec.Struct, frozen=True, array_like=True, tag="fingerprint"):
    """The model that serves."""

    fingerprint: ModelFingerprint


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    """Why one question has no answer; a neighbour in the same batch may have one."""

    code: str
    detail: str
    loudness: Loudness


Question = (
    ForecastQuestion | RememberingQuestion | PlansQuestion | PlannableQuestion | FingerprintQuestion
)
Answer = (
    ForecastAnswer | RememberingAnswer | PlanAnswer | PlannableAnswer | FingerprintAnswer | Refusal
)


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    format: Literal["clinical-jepa"]
    version: int
    body: msgspec.Raw


Body = TypeVar("Body")

_IMPOSSIBLE_QUESTIONS = (ImpossibleHorizonError, ContradictoryPlanError)

_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPES = msgspec.msgpack.Decoder(_Envelope)
_QUESTIONS = msgspec.msgpack.Decoder(Question)
_ANSWERS = msgspec.msgpack.Decoder(Answer)


def encode_question(request: PredictionRequest, timeline: Timeline) -> bytes:
    """A question as bytes; the timeline is sent as it stands, with every version it holds."""
    return _sealed(ForecastQuestion(request, to_wire(timeline)))


def encode_remembering_question(
    request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
) -> bytes:
    """As `encode_question`; with a memory the timeline holds only what comes after it."""
    return _sealed(RememberingQuestion(request, to_wire(timeline), memory))


def encode_fingerprint_question() -> bytes:
    """The question "which model are you?" as bytes."""
    return _sealed(FingerprintQuestion())


def encode_plan_question(question: PlanQuestion, timeline: Timeline) -> bytes:
    """A question about plans as bytes, with the timeline as `encode_question` sends it."""
    return _sealed(PlansQuestion(question, to_wire(timeline)))


def encode_plannable_question(actions: tuple[str, ...]) -> bytes:
    """The question which of these actions the model can plan, as bytes."""
    return _sealed(PlannableQuestion(actions))


def decode_question(
    message: bytes,
) -> tuple[PredictionRequest, Timeline] | RememberingAsked | PlansAsked | PlannableQuestion | None:
    """The question that the bytes hold; None where they only ask which model serves.

    Raises:
        UnreadableMessageError, UnknownWireVersionError
        ImpossibleHorizonError, ContradictoryPlanError: the question cannot be asked of any model.
    """
    question = _opened(message, _QUESTIONS)
    if isinstance(question, FingerprintQuestion):
        return None
    if isinstance(question, PlannableQuestion):
        return question
    timeline = _understood(question.timeline)
    if isinstance(question, PlansQuestion):
        return PlansAsked(question.question, timeline)
    if isinstance(question, RememberingQuestion):
        return RememberingAsked(question.request, timeline, question.memory)
    return question.request, timeline


def encode_answer(answer: Answer) -> bytes:
    """An answer as bytes."""
    return _sealed(answer)


def decode_answer(message: bytes) -> Answer:
    """The answer that the bytes hold.

    Raises:
        UnreadableMessageError, UnknownWireVersionError
    """
    answer: Answer = _opened(message, _ANSWERS)
    return answer


def _sealed(body: Question | Answer) -> bytes:
    return _ENCODER.encode(_Envelope("clinical-jepa", VERSION, msgspec.Raw(_ENCODER.encode(body))))


def _opened(message: bytes, decoder: "msgspec.msgpack.Decoder[Body]") -> Body:
    try:
        envelope = _ENVELOPES.decode(message)
        if envelope.version != VERSION:
            raise UnknownWireVersionError("the other side speaks another version of the format")
        return decoder.decode(envelope.body)
    # msgspec's own messages may quote what they met, and that may be of a patient.
    except (msgspec.MsgspecError, ValueError, OverflowError):
        raise UnreadableMessageError("the bytes are not a message of the model process") from None
    except ClinicalError as error:
        is_asked = decoder is _QUESTIONS and isinstance(error, _IMPOSSIBLE_QUESTIONS)
        if is_asked or isinstance(error, UnknownWireVersionError):
            raise
        raise UnreadableMessageError("the message holds a value that cannot be") from None


def _understood(timeline: WireTimeline) -> Timeline:
    try:
        return from_wire(timeline)
    except IndexError:
        raise UnreadableMessageError("the message refers to what it does not hold") from None
