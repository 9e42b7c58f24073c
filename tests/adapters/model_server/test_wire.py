"""The wire format returns exactly what was put in, and refuses what it did not write."""

import hashlib
import string
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.model_server import wire
from clinical.errors import Loudness
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.circumstances import Computation, Received
from clinical.prediction.contradiction import ContradictoryPlanError
from clinical.prediction.horizon import Horizon, ImpossibleHorizonError
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.prediction import Capsule, Forecast
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.prediction.trajectory import LatentTrajectory
from clinical.timeline.chain import Prefix
from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, Flag, Origin, Phase, Source, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import FINGERPRINT, forecast_for, question
from tests.clinical.builders import PATIENT

words = st.text(alphabet=string.ascii_letters + "é°µ|-/ \n\t", max_size=12)
moments = st.integers(-3_000_000_000_000_000, 7_000_000_000_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
codes = st.builds(Code, st.sampled_from(["LOINC", "http://local", "text"]), words, words)
quantities = st.builds(
    Quantity,
    st.decimals(allow_nan=False, allow_infinity=False),
    st.none() | words,
    words,
    st.none() | st.sampled_from(Comparator),
)
ranges = st.builds(QuantityRange, st.none() | quantities, st.none() | quantities)
times = (
    moments.map(ClinicalTime.instant)
    | st.dates(date(1880, 1, 1), date(2200, 1, 1)).map(
        lambda day: ClinicalTime.day(day.year, day.month, day.day)
    )
    | st.integers(1880, 2200).map(ClinicalTime.year)
    | st.tuples(st.integers(1880, 2200), st.integers(1, 12)).map(lambda p: ClinicalTime.month(*p))
)
sources = st.builds(
    Source,
    site=words,
    record_type=st.sampled_from(["Observation", "Condition"]),
    record_id=st.sampled_from(["1", "2", "3"]),
    version=words,
    digest=words,
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
    part=words,
    phase=st.sampled_from(Phase),
    standing=st.sampled_from(Standing),
    origin=st.sampled_from(Origin),
    value=quantities | ranges | codes | words | st.booleans() | st.none(),
    other_codes=st.lists(codes, max_size=3).map(tuple),
    status=words,
    category=words,
    encounter=words,
    absent_reason=words,
    flags=st.frozensets(st.sampled_from(Flag)),
)
timelines = st.builds(
    lambda held, as_of, received_by: Timeline.of(PATIENT, held).cut(as_of, received_by=received_by),
    st.lists(events, max_size=8),
    moments,
    st.none() | moments,
)
horizons = st.builds(
    lambda start, length: Horizon(
        timedelta(microseconds=start),
        None if length is None else timedelta(microseconds=start + length),
    ),
    st.integers(0, 10**12),
    st.none() | st.integers(1, 10**12),
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
        st.lists(actions, max_size=3, unique_by=lambda action: action.after),
    ),
    prediction_id=st.uuids(),
    patient_id=st.just(PATIENT),
    as_of=moments,
    received_by=moments,
    purpose=st.sampled_from(Purpose),
    seed=st.integers(0, 2**63 - 1),
)
floats = st.floats(allow_nan=False, allow_infinity=False)
abstentions = st.builds(Abstention, st.sampled_from(AbstentionReason), words)
answered = st.builds(
    Readout,
    name=words,
    kind=st.sampled_from(ReadoutKind),
    horizon=horizons,
    code=st.none() | codes,
    unit=words,
    estimate=floats,
    intervals=st.lists(st.builds(Interval, floats, floats, floats), min_size=1, max_size=2).map(
        tuple
    ),
    calibration_id=words,
    reliability=st.none() | st.builds(ReliabilityBin, floats, floats, st.integers(0, 99)),
    evidence=st.lists(st.uuids(), max_size=2).map(tuple),
)
withheld = st.builds(
    Readout,
    name=words,
    kind=st.sampled_from(ReadoutKind),
    horizon=horizons,
    abstention=abstentions,
)
trajectories = st.builds(
    lambda horizon, data, spread, state: LatentTrajectory((horizon,), 3, data, (spread,), state),
    horizons,
    st.binary(min_size=12, max_size=12),
    floats,
    st.binary(max_size=8),
)
computations = st.builds(
    Computation,
    tokeniser_digest=words,
    libraries=words,
    environment_digest=words,
    hardware=words,
    dtype=words,
    num_threads=st.integers(0, 9),
    num_members=st.integers(0, 9),
    num_draws=st.integers(0, 9),
    num_questions=st.integers(0, 9),
    num_events=st.integers(0, 50_000),
)
received = st.builds(
    Received, digest=words, num_records=st.integers(0, 9), num_deliveries=st.integers(0, 9)
)
capsules = st.builds(
    Capsule,
    input_digest=words,
    config_digest=words,
    model=st.just(FINGERPRINT),
    code_version=words,
    torch_version=words,
    device=words,
    seed=st.integers(0, 9),
    num_events=st.integers(0, 50_000),
    computation=st.none() | computations,
    received=st.none() | received,
)
forecasts = st.builds(
    Forecast,
    trajectory=st.none() | trajectories,
    readouts=st.lists(answered | withheld, max_size=3).map(tuple),
    abstention=st.none() | abstentions,
    familiarity=st.none() | floats,
    unseen_code_share=floats,
    capsule=capsules,
)


@settings(max_examples=50, deadline=None)
@given(requests, timelines)
def test_a_question_comes_out_as_it_went_in(request: PredictionRequest, timeline: Timeline) -> None:
    arrived = wire.decode_question(wire.encode_question(request, timeline))
    assert arrived is not None
    assert arrived == (request, timeline)
    assert arrived[0].config_digest == request.config_digest
    assert arrived[1].digest == timeline.digest


@settings(max_examples=50, deadline=None)
@given(st.lists(events, min_size=1, max_size=6))
def test_every_digit_of_a_value_survives(held: list[Event]) -> None:
    """Equal decimals may have different digits (1.5 and 1.50); the digits too must be kept."""
    timeline = Timeline.of(PATIENT, held)
    arrived = wire.decode_question(wire.encode_question(question()[0], timeline))
    assert arrived is not None
    pairs = zip(arrived[1].versions, timeline.versions, strict=True)
    assert all(repr(new.event.value) == repr(old.event.value) for new, old in pairs)


@settings(max_examples=50, deadline=None)
@given(forecasts)
def test_an_answer_comes_out_as_it_went_in(forecast: Forecast) -> None:
    arrived = wire.decode_answer(wire.encode_answer(wire.ForecastAnswer(forecast)))
    assert isinstance(arrived, wire.ForecastAnswer)
    assert arrived.forecast == forecast
    assert arrived.forecast.output_digest == forecast.output_digest


@settings(max_examples=30, deadline=None)
@given(requests, timelines, st.binary(max_size=64), st.none() | moments, forecasts)
def test_a_memory_goes_out_and_comes_back_to_the_last_bit(
    request: PredictionRequest,
    timeline: Timeline,
    data: bytes,
    known_until: datetime | None,
    forecast: Forecast,
) -> None:
    memory = PatientMemory(
        patient_id=timeline.patient_id,
        manifest_digest="m",
        prefix=Prefix(1, 300, known_until, "d"),
        code_version="c",
        torch_version="t",
        device="cpu",
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )
    for held in (memory, None):
        asked = wire.decode_question(wire.encode_remembering_question(request, timeline, held))
        assert asked == wire.RememberingAsked(request, timeline, held)
    answer = wire.RememberingAnswer(Answered(forecast, (memory, memory)))
    assert wire.decode_answer(wire.encode_answer(answer)) == answer


def test_the_question_who_is_there_and_its_answer_come_out_as_they_went_in() -> None:
    assert wire.decode_question(wire.encode_fingerprint_question()) is None
    answer = wire.FingerprintAnswer(FINGERPRINT)
    assert wire.decode_answer(wire.encode_answer(answer)) == answer


def test_a_refusal_comes_out_as_it_went_in() -> None:
    answer = wire.Refusal("model.failed", "why", Loudness.BROKEN)
    assert wire.decode_answer(wire.encode_answer(answer)) == answer


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_by_name(garbage: bytes) -> None:
    with pytest.raises(wire.UnreadableMessageError):
        wire.decode_question(garbage)
    with pytest.raises(wire.UnreadableMessageError):
        wire.decode_answer(garbage)


@given(st.integers(0, 2**31), st.integers(0, 255))
def test_a_damaged_question_is_refused_by_name_or_still_a_question(place: int, byte: int) -> None:
    message = bytearray(wire.encode_question(*question()))
    message[place % len(message)] = byte
    try:
        arrived = wire.decode_question(bytes(message))
    except (wire.UnreadableMessageError, wire.UnknownWireVersionError, ImpossibleHorizonError):
        return
    assert arrived is None or isinstance(arrived[1], Timeline)


def test_a_truncated_question_is_refused_by_name() -> None:
    message = wire.encode_question(*question())
    for length in range(0, len(message), 7):
        with pytest.raises(wire.UnreadableMessageError):
            wire.decode_question(message[:length])


def test_another_version_of_the_format_is_refused_by_name() -> None:
    message = msgspec.msgpack.encode(["clinical-jepa", wire.VERSION + 1, {"new": "shape"}])
    with pytest.raises(wire.UnknownWireVersionError):
        wire.decode_question(message)


def test_an_answer_with_an_impossible_trajectory_is_refused_by_name() -> None:
    message = wire.encode_answer(wire.ForecastAnswer(forecast_for(*question())))
    eight_bytes, seven_bytes = b"\xc4\x08" + b"\x00" * 8, b"\xc4\x07" + b"\x00" * 7
    assert message.count(eight_bytes) == 1
    with pytest.raises(wire.UnreadableMessageError):
        wire.decode_answer(message.replace(eight_bytes, seven_bytes))


def test_an_impossible_question_is_refused_by_its_own_name() -> None:
    """Not as bytes that cannot be read: whoever asked learns what cannot be asked."""
    request, timeline = question()
    week = Horizon(timedelta(0), timedelta(days=7))
    asked = replace(
        request,
        horizons=(week,),
        actions=(
            Action(kind=EventKind.PROCEDURE, code=Code("LOINC", "1"), after=timedelta(hours=1)),
        ),
    )
    message = wire.encode_question(asked, timeline)
    lengths = [msgspec.msgpack.encode(t) for t in (timedelta(days=7), timedelta(0))]
    assert message.count(lengths[0]) == 1
    with pytest.raises(ImpossibleHorizonError):
        wire.decode_question(message.replace(*lengths))
    hour, past = (msgspec.msgpack.encode(t) for t in (timedelta(hours=1), timedelta(hours=-1)))
    assert message.count(hour) == 1
    with pytest.raises(ContradictoryPlanError):
        wire.decode_question(message.replace(hour, past))


def test_an_error_of_the_format_quotes_nothing_of_the_message() -> None:
    request, timeline = question()
    message = wire.encode_question(request, timeline).replace(b"observation", b"DOE-JANE-77")
    with pytest.raises(wire.UnreadableMessageError) as caught:
        wire.decode_question(message)
    assert "DOE" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_fifty_thousand_events_are_written_and_read_within_seconds() -> None:
    """Guards against a slow encoding; typical is a fifth of a second to write and under one to read."""
    request, timeline = question(num_events=50_000)
    start = time.perf_counter()
    message = wire.encode_question(request, timeline)
    arrived = wire.decode_question(message)
    assert time.perf_counter() - start < 8
    assert arrived is not None
    assert arrived[1].digest == timeline.digest
    assert len(message) < 32 * 1024 * 1024
    assert arrived[1].versions[-1].event.value == Quantity(Decimal("49999.50"), "mg/dL")
    assert arrived[0].prediction_id == UUID(int=7)
