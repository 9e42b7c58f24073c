"""What runs inside mosec: bytes in, the world model, bytes out; one bad question fails alone.

It is imported in the model process only, for it loads torch. It does not know HTTP: mosec's front
has queued, batched and timed the questions before they come here.
"""

import abc
import copyreg
import logging
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import mosec
from typing_extensions import override

from adapters.model_server import wire
from adapters.model_server.options import ServeOptions
from clinical.errors import ClinicalError, Loudness
from clinical.prediction.plan import PlanQuestion
from clinical.prediction.request import PredictionRequest
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Source
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline

if TYPE_CHECKING:
    from clinical.worldmodel.inference import Inference
    from clinical.worldmodel.planning import Planner

_LOG = logging.getLogger(__name__)

Asked = tuple[PredictionRequest, Timeline]


class _Configured(abc.ABCMeta):
    """The type of stage classes: one with options is pickled as the call that makes it."""


class ForecastStage(mosec.Worker, metaclass=_Configured):
    """Answers batches of questions; `options` is set on the class that `configured` makes."""

    options: ClassVar[ServeOptions]
    resp_mime_type = wire.CONTENT_TYPE

    def __init__(self) -> None:
        """Load the checkpoint and answer a question, so that the first caller meets a warm model."""
        super().__init__()  # type: ignore[no-untyped-call]
        # mosec warns of every timeline above a megabyte; they are meant to travel so.
        warnings.filterwarnings("ignore", message="IPC data", category=RuntimeWarning)
        self.inference = self.load()
        for size in {1, self.options.max_batch}:
            self.inference.forecast([warm_up_question()] * size)

    @cached_property
    def planner(self) -> "Planner":
        """Compares plans with the same model."""
        from clinical.worldmodel.planning import Planner  # noqa: PLC0415 - reaches torch

        return Planner(inference=self.inference)

    def load(self) -> "Inference":
        """The model of the options, on their device."""
        import torch  # noqa: PLC0415 - only the model process may load it

        from adapters.determinism import compute_alike  # noqa: PLC0415 - reaches torch
        from clinical.worldmodel import checkpoint  # noqa: PLC0415 - reaches torch

        torch.set_num_threads(self.options.num_threads)
        compute_alike(self.options.device)
        return checkpoint.load(self.options.checkpoint, device=self.options.device)

    @override
    def deserialize(self, message: bytes) -> bytes:
        """The bytes as they came: mosec fails a whole batch where this raises."""
        return bytes(message)

    @override
    def serialize(self, answer: wire.Answer) -> bytes:
        """The answer as bytes."""
        return wire.encode_answer(answer)

    @override
    def forward(self, messages: Any) -> Any:
        """One answer per question, in order; a stage that never batches is given its question bare."""
        if self.max_batch_size == 1:
            return self.answer([messages])[0]
        return self.answer(messages)

    def answer(self, messages: Sequence[bytes]) -> list[wire.Answer]:
        """One answer per question, in order: a forecast, a comparison, a fingerprint, or a refusal."""
        answers: list[wire.Answer | None] = [None] * len(messages)
        questions: dict[int, Asked] = {}
        for place, message in enumerate(messages):
            try:
                question = wire.decode_question(message)
            except ClinicalError as error:
                answers[place] = refusal(error)
                continue
            match question:
                case None:
                    answers[place] = wire.FingerprintAnswer(self.inference.fingerprint)
                case wire.PlannableQuestion(actions=actions):
                    answers[place] = self._plannable(actions)
                case wire.RememberingAsked():
                    answers[place] = self._remembering(question)
                case wire.PlansAsked(question=asked, timeline=timeline):
                    answers[place] = self._compare(asked, timeline)
                case _:
                    questions[place] = question
        for place, answer in zip(questions, self._forecast(list(questions.values())), strict=True):
            answers[place] = answer
        return [answer for answer in answers if answer is not None]

    def _remembering(self, asked: wire.RememberingAsked) -> wire.Answer:
        try:
            answered = self.inference.answer(asked.request, asked.timeline, asked.memory)
        except Exception as error:  # noqa: BLE001 - as for a forecast
            return refusal(error)
        return wire.RememberingAnswer(answered)

    def _plannable(self, actions: tuple[str, ...]) -> wire.Answer:
        try:
            return wire.PlannableAnswer(self.planner.plannable(actions))
        except Exception as error:  # noqa: BLE001 - as for a forecast
            return refusal(error)

    def _compare(self, question: PlanQuestion, timeline: Timeline) -> wire.Answer:
        try:
            return wire.PlanAnswer(self.planner.compare(question, timeline))
        except Exception as error:  # noqa: BLE001 - as for a forecast
            return refusal(error)

    def _forecast(self, questions: list[Asked]) -> list[wire.Answer]:
        if not questions:
            return []
        try:
            return [wire.ForecastAnswer(f) for f in self.inference.forecast(questions)]
        except Exception as error:  # noqa: BLE001 - a question that breaks the model must fail alone
            if len(questions) == 1:
                return [refusal(error)]
        # A batch answers as its members do alone, so asking each alone changes no other answer.
        return [answer for question in questions for answer in self._forecast([question])]


def refusal(error: Exception) -> wire.Refusal:
    """What the caller is told; the message of an error that is not ours could hold patient data."""
    if isinstance(error, ClinicalError):
        return wire.Refusal(error.code, str(error), error.loudness)
    _LOG.error("the model failed on a question: %s", type(error).__name__)
    return wire.Refusal("model.failed", "the model failed on this question", Loudness.BROKEN)


def configured(stage: type[ForecastStage], options: ServeOptions) -> type[ForecastStage]:
    """The stage class with these options.

    mosec makes its worker without arguments in a freshly spawned process: the options travel with
    the class, which reaches that process by being made there again.
    """
    made = _Configured("ConfiguredStage", (stage,), {"options": options})
    assert issubclass(made, ForecastStage)
    return made


def _reduce(stage: type[ForecastStage]) -> str | tuple[Any, tuple[type, ServeOptions]]:
    if "options" not in vars(stage):
        return stage.__qualname__  # an ordinary class: found again by its name
    return configured, (stage.__mro__[1], stage.options)


copyreg.pickle(_Configured, _reduce)  # type: ignore[arg-type]  # a class is an object too


def warm_up_question() -> Asked:
    """A question about an invented patient: born, then measured monthly for five years."""
    patient_id = UUID(int=0)
    start = datetime(2000, 1, 1, tzinfo=UTC)

    def fact(number: int, kind: EventKind, code: Code, value: Quantity | None) -> Event:
        moment = start + timedelta(days=30 * number)
        return Event(
            patient_id=patient_id,
            kind=kind,
            code=code,
            value=value,
            occurred_at=ClinicalTime.instant(moment),
            received_at=moment,
            source=Source(
                site="warm-up",
                record_type="Observation",
                record_id=str(number),
                digest="",
                delivery_id=UUID(int=0),
            ),
        )

    systolic = Code(CodeSystem.LOINC, "8480-6")
    female = Code(CodeSystem.GENDER, "female")
    facts = [fact(0, EventKind.PATIENT, female, None)] + [
        fact(number, EventKind.OBSERVATION, systolic, Quantity(Decimal(120), "mm[Hg]"))
        for number in range(1, 61)
    ]
    as_of = start + timedelta(days=30 * 61)
    request = PredictionRequest(
        prediction_id=UUID(int=0), patient_id=patient_id, as_of=as_of, received_by=as_of
    )
    return request, Timeline.of(patient_id, facts)
