"""A stage for the web face: a model at the port that says a bit of everything, and patients to say it of.

The forecasts are made up from the timeline (persistence with widening bands), so that every shape the
page must show is on stage: bands, withheld readouts, whole abstentions, evidence, calibration.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.horizon import Horizon
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.plan import PlanComparison, PlanQuestion
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory
from clinical.services.ports import ModelUnavailableError
from clinical.timeline.event import Event, EventKind
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from tests.planning import local_model

HORIZONS = tuple(
    Horizon(timedelta(days=start), timedelta(days=end))
    for start, end in ((0, 7), (7, 30), (30, 90), (90, 365))
)
FINGERPRINT = ModelFingerprint(
    name="staged", version="1.0", manifest_digest="ab" * 32, vocabulary_digest="cd" * 32
)
MIN_EVENTS = 5
_WIDTH = 8
_RISKS = ("Emergency visit", "Hospital admission", "New diagnosis", "Death")


@dataclass(slots=True)
class StagedModel:
    """Answers at once, always alike; `is_away` makes it refuse."""

    is_away: bool = False
    log_odds: float | None = -1.0  # of every action; None: how usual they are is not known

    def fingerprint(self) -> ModelFingerprint:
        if self.is_away:
            raise ModelUnavailableError("the model process is not there")
        return FINGERPRINT

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        return Answered(self.forecast(request, timeline))

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        is_thin = len(timeline) < MIN_EVENTS
        return Forecast(
            trajectory=None if is_thin else _trajectory(len(timeline)),
            readouts=() if is_thin else (*_risks(timeline), *_quantities(timeline)),
            abstention=Abstention(
                AbstentionReason.TOO_FEW_EVENTS, f"fewer than {MIN_EVENTS} events are known"
            )
            if is_thin
            else None,
            familiarity=None if is_thin else 0.4,
            unseen_code_share=0.03,
            capsule=Capsule(
                input_digest=timeline.input_digest,
                config_digest=request.config_digest,
                model=self.fingerprint(),
                code_version="staged",
                torch_version="2.13",
                device="cpu",
                seed=request.seed,
                num_events=len(timeline),
            ),
        )

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        """As the shipped model can, were every action as usual as every other."""
        self.fingerprint()
        return local_model(self.log_odds).plannable(actions)

    def compare_plans(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        """What that model answers, in this one's name: plans are not made up."""
        answer = local_model(self.log_odds).compare_plans(question, timeline)
        return replace(answer, capsule=replace(answer.capsule, model=self.fingerprint()))


def _trajectory(num_events: int) -> LatentTrajectory:
    numbers = [
        0.1 * (k + 1) * (i % 3) + num_events % 7 / 10 for k in range(4) for i in range(_WIDTH)
    ]
    return LatentTrajectory(
        horizons=HORIZONS,
        width=_WIDTH,
        data=struct.pack(f"<{len(numbers)}f", *numbers),
        spread=(0.02, 0.03, 0.05, 0.08),
        state=struct.pack("<2f", num_events / 100, 0.2),
    )


def _risks(timeline: Timeline) -> Iterable[Readout]:
    newest = tuple(event.event_id for event in reversed(timeline.events[-4:]))
    base = len(timeline) % 11 / 20
    for number, name in enumerate(_RISKS):
        for k, horizon in enumerate(HORIZONS):
            risk = min(0.04 + base / (number + 1) + 0.07 * k / (number + 1), 0.95)
            yield Readout(
                name=name,
                kind=ReadoutKind.PROBABILITY,
                horizon=horizon,
                estimate=None if name == "Death" else risk,
                intervals=() if name == "Death" else (Interval(risk * 0.7, risk * 1.2, 0.9),),
                calibration_id="staged",
                reliability=None
                if name == "Death"
                else ReliabilityBin(mean_predicted=risk, observed=risk * 0.95, count=41),
                evidence=() if name == "Death" else newest,
                abstention=Abstention(AbstentionReason.NOT_CALIBRATED, "fewer than 8 outcomes")
                if name == "Death"
                else None,
            )


def _quantities(timeline: Timeline) -> Iterable[Readout]:
    """The eight quantities measured most often."""
    measured: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in timeline.events:
        value = event.value
        if event.kind is EventKind.OBSERVATION and isinstance(value, Quantity) and value.unit:
            measured[event.code.key, value.unit].append(event)
    often = sorted(measured.items(), key=lambda item: -len(item[1]))[:8]
    for (_, unit), events in often:
        yield from _course(events, unit)


def _course(events: list[Event], unit: str) -> Iterable[Readout]:
    values = [float(event.value.value) for event in events if isinstance(event.value, Quantity)]
    wide = (max(values) - min(values)) / 3 + abs(values[-1]) / 40 + 0.01
    for k, horizon in enumerate(HORIZONS):
        middle = values[-1] + (sum(values) / len(values) - values[-1]) * k / 6
        reach = wide * (1 + k) / 2
        is_said = len(values) > 1 or k < 2
        yield Readout(
            name=events[-1].code.key,
            kind=ReadoutKind.QUANTITY,
            horizon=horizon,
            code=events[-1].code,
            unit=unit,
            estimate=middle if is_said else None,
            intervals=(
                Interval(middle - reach / 2.4, middle + reach / 2.4, 0.5),
                Interval(middle - reach, middle + reach, 0.9),
            )
            if is_said
            else (),
            calibration_id="staged",
            evidence=(events[-1].event_id,),
            abstention=None
            if is_said
            else Abstention(AbstentionReason.INTERVAL_TOO_WIDE, "measured once only"),
        )
