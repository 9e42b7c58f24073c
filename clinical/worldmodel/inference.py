"""Questions in, forecasts out: deterministic, without gradients, and each question as if it were alone.

Knows calibration and when to decline. Every question is computed by itself, in the same order of
operations whatever it is batched with: a batch of one gives the bits of a batch of many. Guaranteed
for one build of torch, one device and one number of threads; across those only to about 1e-5.
"""

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.circumstances import Computation
from clinical.prediction.contradiction import require_consistent
from clinical.prediction.horizon import Horizon
from clinical.prediction.memory import Answered, PatientMemory, UncutQuestionError
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint
from clinical.prediction.readout import Readout
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory
from clinical.timeline.chain import RECENT
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.answering import Answer, History, ask, read_history
from clinical.worldmodel.calibrated import Calibration
from clinical.worldmodel.computing import environment_digest, hardware, libraries
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.declining import declined_question, implausible, is_in_reach
from clinical.worldmodel.evidence import lean
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.memory_bytes import Maker, restored, stored
from clinical.worldmodel.probe import Probes
from clinical.worldmodel.remembering import Past
from clinical.worldmodel.speaking import Speaker
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.uncertainty import noise_of, spread_of


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A loaded model that answers questions."""

    model: Jepa
    tensorizer: Tensorizer
    calibration: Calibration
    limits: AbstentionLimits
    fingerprint: ModelFingerprint
    device: str
    code_version: str
    probes: Probes = field(default_factory=Probes)

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """The windows that the model was trained for, nearest first."""
        return self.model.config.horizons

    def forecast(self, questions: Sequence[tuple[PredictionRequest, Timeline]]) -> list[Forecast]:
        """One forecast per question, in order.

        Whatever became known after a request's `as_of`, or reached us after its `received_by`, is
        cut away before anything is read.
        """
        with torch.no_grad():
            return [self._answer(request, timeline)[0] for request, timeline in questions]

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None = None
    ) -> Answered:
        """The forecast, and from where later readings may go on.

        With `memory`, `timeline` holds only the standing events that come after it, already cut;
        the forecast has the bits that reading the whole would give.

        Raises:
            DamagedMemoryError, ForeignMemoryError: read the whole timeline instead.
        """
        maker = self._maker()
        with torch.no_grad():
            past = None
            if memory is not None:
                past = restored(memory, timeline.patient_id, maker, self.device)
                _require_resumable(request, timeline)
            forecast, history = self._answer(request, timeline, past)
        made = [stored(past, timeline.patient_id, maker) for past in history.pasts]
        return Answered(forecast, tuple(made))

    def _maker(self) -> Maker:
        return Maker(
            manifest_digest=self.fingerprint.manifest_digest,
            vocabulary_digest=self.fingerprint.vocabulary_digest,
            clock_days=self.tensorizer.clock_days,
            code_version=self.code_version,
            torch_version=str(torch.__version__),
            device=_computed_on(self.device),
        )

    def _answer(
        self, request: PredictionRequest, timeline: Timeline, past: Past | None = None
    ) -> tuple[Forecast, History]:
        timeline = _as_known(request, timeline)
        history = read_history(self.model, self.tensorizer, timeline, self.device, past)
        return self._forecast(request, history), history

    def _forecast(self, request: PredictionRequest, history: History) -> Forecast:
        capsule, unseen = self._capsule(request, history), history.unseen_share
        early = self._declined_unasked(history)
        if early is not None:
            return _withheld(early, capsule, unseen, None)
        wanted, config = request.horizons or self.horizons, self.model.config
        require_consistent(request.actions, wanted)
        spoken = wanted if request.horizons else (*wanted, config.whole)
        horizons = tuple(horizon for horizon in wanted if is_in_reach(config, horizon))
        unasked = declined_question(config, self.tensorizer.vocabulary, request, horizons)
        if unasked is not None:
            return _withheld(unasked, capsule, unseen, None)
        answer = ask(self.model, self.tensorizer, history, request, horizons)
        familiarity = self._familiarity(answer)
        late = self._declined(answer, familiarity)
        if late is not None:
            return _withheld(late, capsule, unseen, familiarity)
        return Forecast(
            trajectory=self._trajectory(answer, horizons),
            readouts=self._readouts(request, history, answer, horizons, spoken),
            abstention=None,
            familiarity=familiarity,
            unseen_code_share=unseen,
            capsule=capsule,
        )

    def _capsule(self, request: PredictionRequest, history: History) -> Capsule:
        return Capsule(
            input_digest=history.input_digest,
            config_digest=request.config_digest,
            model=self.fingerprint,
            code_version=self.code_version,
            torch_version=str(torch.__version__),
            device=_computed_on(self.device),
            seed=request.seed,
            num_events=history.num_events,
            computation=self._computation(history),
        )

    def _computation(self, history: History) -> Computation:
        return Computation(
            tokeniser_digest=self.tensorizer.digest,
            libraries=libraries(),
            environment_digest=environment_digest(),
            hardware=hardware(self.device),
            dtype=str(next(self.model.parameters()).dtype).removeprefix("torch."),
            is_deterministic=torch.are_deterministic_algorithms_enabled(),
            num_threads=torch.get_num_threads(),
            num_members=self.model.config.num_heads,
            num_draws=0,
            num_questions=history.batch.num_timelines,
            num_events=len(history.recent),
        )

    def _declined_unasked(self, history: History) -> Abstention | None:
        if history.counts.is_deceased:
            return Abstention(AbstentionReason.PATIENT_DECEASED, "a death is on record")
        if history.counts.num_facts < self.limits.min_events:
            return Abstention(
                AbstentionReason.TOO_FEW_EVENTS,
                f"fewer than {self.limits.min_events} events are on record",
            )
        if history.unseen_share > self.limits.max_unseen_code_share:
            return Abstention(
                AbstentionReason.UNFAMILIAR_CODES,
                f"more than {self.limits.max_unseen_code_share:.0%} of the codes are unknown to the model",
            )
        return None

    def _declined(self, answer: Answer, familiarity: float | None) -> Abstention | None:
        raw = answer.raw
        said = (answer.state, answer.latents, raw.quantiles, raw.intensity)
        if not all(bool(torch.isfinite(numbers).all()) for numbers in said):
            return Abstention(
                AbstentionReason.MODEL_NOT_NUMERIC,
                "the model answered with something that is no number",
            )
        absurd = implausible(answer.reading.features)
        if absurd is not None:
            return absurd
        if familiarity is not None and familiarity > self.limits.max_familiarity:
            return Abstention(
                AbstentionReason.UNFAMILIAR_PATIENT,
                "the patient is further from the training patients than 99 % of those set aside",
            )
        return None

    def _familiarity(self, answer: Answer) -> float | None:
        fitted = self.calibration.familiarity
        if fitted is None:
            return None
        distance = float(fitted.distance(answer.state)[0])
        return distance if distance == distance else None  # noqa: PLR0124 - NaN is not itself

    def _trajectory(self, answer: Answer, horizons: Sequence[Horizon]) -> LatentTrajectory:
        latents = answer.latents[-len(horizons) :]
        mean = latents.mean(1)
        variance = answer.raw.variance
        noise = [] if variance is None else noise_of(variance[0, -len(horizons) :]).tolist()
        return LatentTrajectory(
            horizons=tuple(horizons),
            width=mean.shape[1],
            data=_bytes(mean),
            spread=tuple(spread_of(latents).tolist()),
            state=_bytes(answer.state),
            noise=tuple(noise),
        )

    def _readouts(
        self,
        request: PredictionRequest,
        history: History,
        answer: Answer,
        horizons: Sequence[Horizon],
        spoken: Sequence[Horizon],
    ) -> tuple[Readout, ...]:
        speaker = Speaker(
            vocabulary=self.tensorizer.vocabulary,
            windows=self.model.config.windows_days,
            calibration=self.calibration,
            limits=self.limits,
        )
        outcomes = () if request.horizons else self.probes.outcomes
        leaning = lean(self.model, self.tensorizer, history, request, outcomes)
        prognoses = speaker.prognoses(answer, leaning, outcomes)
        is_said = self.model.config.says_family_risks
        risks = speaker.risks(answer, leaning, spoken) if is_said else []
        return (
            *prognoses,
            *risks,
            *speaker.quantities(answer, history, horizons, request.horizons),
        )


def _as_known(request: PredictionRequest, timeline: Timeline) -> Timeline:
    is_cut = all(
        known.at <= request.as_of and known.event.received_at <= request.received_by
        for known in timeline.versions
    )
    return timeline if is_cut else timeline.cut(request.as_of, received_by=request.received_by)


def _require_resumable(request: PredictionRequest, timeline: Timeline) -> None:
    """Cutting needs every version since birth; so what continues a memory must come already cut."""
    if _as_known(request, timeline) is not timeline or timeline.versions != timeline.standing:
        raise UncutQuestionError("what continues a memory must be cut already")
    if len(timeline) < RECENT:
        raise UncutQuestionError("the memory reaches too near to the question")


def _withheld(
    abstention: Abstention, capsule: Capsule, unseen: float, familiarity: float | None
) -> Forecast:
    return Forecast(
        trajectory=None,
        readouts=(),
        abstention=abstention,
        familiarity=familiarity,
        unseen_code_share=unseen,
        capsule=capsule,
    )


def _bytes(numbers: Float[Tensor, "*n"]) -> bytes:
    """Little-endian float32, row-major."""
    values = array("f", numbers.detach().cpu().flatten().tolist())
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _computed_on(device: str) -> str:
    """The device, and for a CPU how many threads: sums split otherwise differ in their last bits."""
    return f"{device} (threads: {torch.get_num_threads()})" if device == "cpu" else device
