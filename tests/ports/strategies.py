"""Any event, prediction, review and decision that the domain allows, within what text columns hold."""

import string
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.circumstances import Computation, Received
from clinical.prediction.horizon import Horizon
from clinical.prediction.prediction import Capsule, Forecast, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.prediction.trajectory import LatentTrajectory
from clinical.review.decision import Decision, Reason, Verdict
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag, Origin, Phase, Source, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime
from tests.fakes import MODEL

PATIENT = PatientRef("north", "of the strategies").patient_id

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
digests = st.text(string.hexdigits.lower(), min_size=64, max_size=64)
moments = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - the zone is drawn apart
    datetime(9997, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
codes = st.builds(Code, st.sampled_from(CodeSystem).map(str) | st.just("urn:other"), texts, texts)
decimals = st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(
    -(10**9), 10**9, places=6
)
quantities = st.builds(
    Quantity, decimals, st.none() | texts, texts, st.none() | st.sampled_from(Comparator)
)
ranges = st.builds(QuantityRange, st.none() | quantities, st.none() | quantities)
times = (
    moments.map(ClinicalTime.instant)
    | st.dates(date(2, 1, 1), date(9997, 12, 31)).map(
        lambda day: ClinicalTime.day(day.year, day.month, day.day)
    )
    | st.integers(2, 9996).map(ClinicalTime.year)
    | st.tuples(st.integers(2, 9996), st.integers(1, 12)).map(lambda p: ClinicalTime.month(*p))
)
sources = st.builds(
    Source,
    site=texts,
    record_type=texts,
    record_id=texts,
    version=texts,
    digest=digests,
    delivery_id=st.uuids(),
    updated_at=st.none() | moments,
)
events = st.builds(
    Event,
    patient_id=st.just(PATIENT),
    kind=st.sampled_from(EventKind),
    code=codes,
    source=sources,
    received_at=moments,
    occurred_at=st.none() | times,
    recorded_at=st.none() | moments,
    part=texts,
    phase=st.sampled_from(Phase),
    standing=st.sampled_from(Standing),
    origin=st.sampled_from(Origin),
    value=quantities | ranges | codes | texts | st.booleans() | st.none(),
    other_codes=st.lists(codes, max_size=3).map(tuple),
    status=texts,
    category=texts,
    encounter=texts,
    absent_reason=texts,
    flags=st.frozensets(st.sampled_from(Flag)),
)

horizons = st.builds(
    lambda start, length: Horizon(
        timedelta(microseconds=start),
        None if length is None else timedelta(microseconds=start + length),
    ),
    st.integers(0, 10**14),
    st.none() | st.integers(1, 10**14),
)
actions = st.builds(
    Action,
    kind=st.sampled_from(EventKind),
    code=codes,
    after=st.timedeltas(timedelta(0), timedelta(days=1000)),
    dose=st.none() | quantities,
    phase=st.sampled_from(Phase),
)


def _meant(horizons: list[Horizon], actions: list[Action]) -> dict[str, Any]:
    """Horizons with what of a plan can be meant within them."""
    ends = [timedelta.max if horizon.end is None else horizon.end for horizon in horizons]
    last = max(ends, default=timedelta.max)
    within = tuple(action for action in actions if action.after < last)
    return {"horizons": tuple(horizons), "actions": within}


requests = st.builds(
    lambda plan, **fields: PredictionRequest(**plan, **fields),
    plan=st.builds(
        _meant,
        st.lists(horizons, max_size=3),
        st.lists(actions, max_size=2, unique_by=lambda action: action.after),
    ),
    prediction_id=st.uuids(),
    patient_id=st.uuids(),
    as_of=moments,
    received_by=moments,
    purpose=st.sampled_from(Purpose),
    seed=st.integers(0, 2**63 - 1),
)
# An interval may be unbounded, and a zero may be negative: both are in the output's digest.
floats = st.floats(allow_nan=False)
abstentions = st.builds(Abstention, st.sampled_from(AbstentionReason), texts)
answered = st.builds(
    Readout,
    name=texts,
    kind=st.sampled_from(ReadoutKind),
    horizon=horizons,
    code=st.none() | codes,
    unit=texts,
    estimate=floats,
    intervals=st.lists(st.builds(Interval, floats, floats, floats), min_size=1, max_size=2).map(
        tuple
    ),
    calibration_id=texts,
    reliability=st.none() | st.builds(ReliabilityBin, floats, floats, st.integers(0, 10**6)),
    evidence=st.lists(st.uuids(), max_size=2).map(tuple),
)
withheld = st.builds(
    Readout,
    name=texts,
    kind=st.sampled_from(ReadoutKind),
    horizon=horizons,
    abstention=abstentions,
)


@st.composite
def trajectories(draw: st.DrawFn) -> LatentTrajectory:
    ahead = tuple(draw(st.lists(horizons, max_size=3)))
    width = draw(st.integers(0, 4))
    size = 4 * width * len(ahead)
    return LatentTrajectory(
        horizons=ahead,
        width=width,
        data=draw(st.binary(min_size=size, max_size=size)),
        spread=tuple(draw(floats) for _ in ahead),
        state=draw(st.sampled_from([b"", *(bytes(range(4 * n)) for n in (1, 5))]) | nan_states),
        noise=tuple(draw(floats) for _ in ahead) if draw(st.booleans()) else (),
    )


nan_states = st.just(b"\x00\x00\xc0\x7f")

computations = st.builds(
    Computation,
    tokeniser_digest=texts,
    libraries=texts,
    environment_digest=texts,
    hardware=texts,
    dtype=texts,
    num_threads=st.integers(0, 9),
    num_members=st.integers(0, 9),
    num_draws=st.integers(0, 9),
    num_questions=st.integers(0, 9),
    num_events=st.integers(0, 50_000),
)
received = st.builds(
    Received, digest=texts, num_records=st.integers(0, 9), num_deliveries=st.integers(0, 9)
)
capsules = st.builds(
    Capsule,
    input_digest=digests,
    config_digest=digests,
    model=st.just(MODEL),
    code_version=texts,
    torch_version=texts,
    device=texts,
    seed=st.integers(0, 2**63 - 1),
    num_events=st.integers(0, 50_000),
    computation=st.none() | computations,
    received=st.none() | received,
)
forecasts = st.builds(
    Forecast,
    trajectory=st.none() | trajectories(),
    readouts=st.lists(answered | withheld, max_size=3).map(tuple),
    abstention=st.none() | abstentions,
    familiarity=st.none() | floats,
    unseen_code_share=floats,
    capsule=capsules,
)
predictions = st.builds(Prediction, request=requests, forecast=forecasts, made_at=moments)

decisions = st.builds(
    Decision,
    decision_id=st.uuids(),
    review_id=st.just(UUID(int=7)),
    verdict=st.sampled_from(Verdict),
    reasons=st.lists(st.sampled_from(Reason), max_size=4).map(tuple),
    note=texts,
    decided_by=texts,
    decided_at=moments,
    prediction_digest=digests,
)
