"""What stands at the edge in tests that are not about it: written by hand, tried against the ports.

`tests/ports` holds each fake and its real counterpart to the same promises. There is none for the
database: tests use a real PostgreSQL.
"""

import hashlib
import random
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.horizon import Horizon
from clinical.prediction.memory import Answered, DamagedMemoryError, PatientMemory
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory
from clinical.review.writeback import Told, WriteBack
from clinical.services.ports import EhrUnavailableError, ModelUnavailableError
from clinical.timeline.chain import Prefix, is_kept
from clinical.timeline.timeline import Timeline

# Just before clocks in many places are put forward, in a spring of no particular meaning.
NOON = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def advance(self, length: timedelta) -> datetime:
        """Move on; the new moment."""
        self.moment += length
        return self.moment


class SeededIdentities:
    """The same identities in every run, none of them twice."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def new(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def salt(self) -> bytes:
        return self._random.randbytes(32)


MODEL = ModelFingerprint(
    name="fake",
    version="1",
    manifest_digest=hashlib.sha256(b"manifest").hexdigest(),
    vocabulary_digest=hashlib.sha256(b"vocabulary").hexdigest(),
)
HORIZONS = (
    Horizon(timedelta(0), timedelta(days=30)),
    Horizon(timedelta(days=30), timedelta(days=90)),
)
_LATENT_WIDTH = 4


class FakeModelServer:
    """Answers from the digest of the timeline alone: as repeatable as a model, and as ignorant as it looks.

    It withholds everything for fewer than `min_events` events, and is away while `is_away`.
    """

    def __init__(self, min_events: int = 1) -> None:
        self.min_events = min_events
        self.is_away = False
        self.num_asked = 0
        self.num_read = 0  # events of the last question that were not remembered

    def fingerprint(self) -> ModelFingerprint:
        if self.is_away:
            raise ModelUnavailableError("the fake model is away")
        return MODEL

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        capsule = Capsule(
            input_digest=timeline.input_digest,
            config_digest=request.config_digest,
            model=self.fingerprint(),
            code_version="0",
            torch_version="none",
            device="cpu",
            seed=request.seed,
            num_events=len(timeline),
        )
        self.num_asked += 1
        if len(timeline) < self.min_events:
            return _withheld(capsule, len(timeline))
        return _said(capsule, request.horizons or HORIZONS, timeline)

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        if memory is not None and memory != _fake_memory(timeline, memory.prefix):
            raise DamagedMemoryError("the fake model does not know this memory")
        self.num_read = len(timeline) - (0 if memory is None else memory.prefix.num_events)
        first, *prefixes = timeline.chain.resumable
        before, newest = memory.prefix if memory else first, timeline.chain.resumable[-1].num_blocks
        new = [p for p in prefixes if p.num_blocks > before.num_blocks]
        kept = [_fake_memory(timeline, p) for p in new if is_kept(p.num_blocks, newest)]
        return Answered(self.forecast(request, timeline), tuple(kept))


def _fake_memory(timeline: Timeline, prefix: Prefix) -> PatientMemory:
    data = prefix.digest.encode()
    return PatientMemory(
        patient_id=timeline.patient_id,
        manifest_digest=MODEL.manifest_digest,
        prefix=prefix,
        code_version="0",
        torch_version="none",
        device="cpu",
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _withheld(capsule: Capsule, num_events: int) -> Forecast:
    return Forecast(
        trajectory=None,
        readouts=(),
        abstention=Abstention(
            AbstentionReason.TOO_FEW_EVENTS, f"{num_events} events are too few to say anything."
        ),
        familiarity=None,
        unseen_code_share=0.0,
        capsule=capsule,
    )


def _said(capsule: Capsule, horizons: tuple[Horizon, ...], timeline: Timeline) -> Forecast:
    chances = random.Random(f"{capsule.input_digest}{capsule.config_digest}")

    def latents(count: int) -> bytes:
        return struct.pack(f"<{count}f", *(chances.uniform(-1, 1) for _ in range(count)))

    return Forecast(
        trajectory=LatentTrajectory(
            horizons=horizons,
            width=_LATENT_WIDTH,
            data=latents(_LATENT_WIDTH * len(horizons)),
            spread=tuple(chances.uniform(0, 0.1) for _ in horizons),
            state=latents(_LATENT_WIDTH),
        ),
        readouts=tuple(_risk(horizon, chances, timeline) for horizon in horizons),
        abstention=None,
        familiarity=chances.uniform(0, 1),
        unseen_code_share=0.0,
        capsule=capsule,
    )


def _risk(horizon: Horizon, chances: random.Random, timeline: Timeline) -> Readout:
    estimate = chances.uniform(0.05, 0.95)
    newest = [event.event_id for event in reversed(timeline.events[-3:])]
    return Readout(
        name="Hospital admission",
        kind=ReadoutKind.PROBABILITY,
        horizon=horizon,
        estimate=estimate,
        intervals=(Interval(estimate - 0.05, estimate + 0.05, 0.9),),
        calibration_id="none",
        evidence=tuple(newest),
    )


class FakeEhr:
    """An EHR that remembers by decision what it was told, and is away while `is_away`."""

    def __init__(self) -> None:
        self.is_away = False
        self.num_calls = 0
        self.told: dict[UUID, WriteBack] = {}
        self.taken_back: list[UUID] = []

    def take_back(self, write_back: WriteBack, ehr_id: str) -> Told:
        if self.is_away:
            raise EhrUnavailableError("the fake EHR is away")
        self.taken_back.append(write_back.decision.decision_id)
        return Told(ehr_id=ehr_id, resource_types=("RiskAssessment",))

    def write_back(self, write_back: WriteBack) -> Told:
        self.num_calls += 1
        if self.is_away:
            raise EhrUnavailableError("the fake EHR is away")
        decision_id = write_back.decision.decision_id
        self.told.setdefault(decision_id, write_back)
        return Told(ehr_id=f"RiskAssessment/{decision_id}", resource_types=("RiskAssessment",))
