"""Going on from what is remembered: the bits of reading the whole, or a named refusal."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest
import torch

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.memory import (
    Answered,
    DamagedMemoryError,
    ForeignMemoryError,
    PatientMemory,
    UncutQuestionError,
)
from clinical.prediction.request import PredictionRequest
from clinical.timeline.chain import RECENT, Prefix
from clinical.timeline.event import Event, EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.memory_bytes import Maker, restored, stored
from clinical.worldmodel.remembering import Past
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.tensorize import Tensorizer
from tests.clinical.worldmodel.patients import (
    ASTHMA,
    DEATH,
    amount,
    fact,
    long_timeline,
    made_up_events,
    patient_id,
    question,
    retracted,
)

NUMBER = 8
EVENTS = [e for e in made_up_events(NUMBER, 400) if e.kind is not EventKind.DEATH]
WHOLE = Timeline.of(patient_id(NUMBER), EVENTS)


def rest(timeline: Timeline, prefix: Prefix) -> Timeline:
    """What is sent beside a memory: the standing events that it does not hold."""
    after = timeline.standing[prefix.num_events :]
    return Timeline(timeline.patient_id, after, after)


def resumed(inference: Inference, timeline: Timeline, memory: PatientMemory) -> Answered:
    request, _ = question(timeline)
    return inference.answer(request, rest(timeline, memory.prefix), memory)


def usable(timeline: Timeline, memories: tuple[PatientMemory, ...]) -> list[PatientMemory]:
    """Those whose events are the first of this timeline, and leave enough to be read again."""
    return [memory for memory in memories if memory.prefix in timeline.chain.resumable]


@pytest.fixture(scope="module")
def whole(inference: Inference) -> Answered:
    assert len(WHOLE) > 2000
    return inference.answer(*question(WHOLE))


def test_going_on_from_any_memory_gives_the_bits_of_reading_the_whole(
    inference: Inference, whole: Answered
):
    assert len(whole.memories) >= 4
    assert whole.forecast.abstention is None
    assert whole.forecast == inference.forecast([question(WHOLE)])[0]
    for memory in whole.memories:
        again = resumed(inference, WHOLE, memory)
        assert again.forecast == whole.forecast
        after = [m for m in whole.memories if m.prefix.num_blocks > memory.prefix.num_blocks]
        assert list(again.memories) == after


def test_a_growing_record_is_followed_from_memory_to_memory(inference: Inference):
    """As in service: each answer goes on from the newest memory of the ones before."""
    memory, num_resumed = None, 0
    for end in range(700, len(WHOLE), 230):
        grown = WHOLE.cut(WHOLE.standing[end].at)
        request, _ = question(grown)
        if memory is None:
            answered = inference.answer(request, grown)
        else:
            answered = resumed(inference, grown, memory)
            num_resumed += 1
        assert answered.forecast == inference.forecast([(request, grown)])[0]
        memory = answered.memories[-1] if answered.memories else memory
    assert num_resumed >= 5


def _late(day: float) -> list[Event]:
    return [*EVENTS, fact(NUMBER, "late", day, EventKind.CONDITION, ASTHMA)]


def _corrected(place: int) -> list[Event]:
    """One old event withdrawn, as of now: it no longer stands anywhere in the timeline."""
    return [*EVENTS, retracted(WHOLE.standing[place].event, updated=9000)]


@pytest.mark.parametrize("place", [300, 1500])
@pytest.mark.parametrize("how", ["late", "withdrawn"])
def test_a_late_event_or_a_withdrawal_goes_on_from_the_last_memory_before_it(
    inference: Inference, whole: Answered, place: int, how: str
):
    day = (WHOLE.standing[place].at - datetime(2000, 1, 1, tzinfo=WHOLE.standing[0].at.tzinfo)).days
    events = _late(day + 0.5) if how == "late" else _corrected(place)
    changed = Timeline.of(WHOLE.patient_id, events)
    good = usable(changed, whole.memories)
    assert len(good) < len(whole.memories)
    assert all(memory.prefix.num_events <= place + 40 for memory in good)
    request, _ = question(changed)
    expected = inference.answer(request, changed)
    assert expected.memories[-1].data != whole.memories[-1].data
    for memory in good[-1:]:
        again = resumed(inference, changed, memory)
        assert again.forecast == expected.forecast
    assert good or place < 600


def test_a_memory_of_other_events_cannot_vouch_for_the_whole(inference: Inference, whole: Answered):
    """Its digest is another: the caller, who has the whole, sees that the answer is to another question."""
    changed = Timeline.of(WHOLE.patient_id, _corrected(100))
    memory = whole.memories[-1]
    answered = resumed(inference, changed, memory)
    assert answered.forecast.capsule.input_digest != changed.input_digest


def test_what_was_counted_long_ago_still_withholds(inference: Inference):
    events = [*EVENTS, fact(NUMBER, "death", 1000, EventKind.DEATH, DEATH)]
    died = Timeline.of(WHOLE.patient_id, events)
    answered = inference.answer(*question(died))
    assert answered.forecast.abstention is not None
    assert answered.forecast.abstention.reason is AbstentionReason.PATIENT_DECEASED
    assert resumed(inference, died, answered.memories[-1]).forecast == answered.forecast


def test_a_short_record_leaves_nothing_to_go_on_from(inference: Inference):
    assert inference.answer(*question(long_timeline(RECENT))).memories == ()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost what else runs on the machine, not what is measured."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_going_on_costs_the_same_however_long_the_history(inference: Inference):
    asked = []
    for length in (2_048, 10_240):
        timeline = long_timeline(length)
        memory = inference.answer(*question(timeline)).memories[-1]
        remaining = rest(timeline, memory.prefix)
        assert len(remaining) == RECENT
        assert len(memory.data) < 10_000
        asked.append((question(timeline)[0], remaining, memory))
    tries = [[_seconds(inference, *each) for each in asked] for _ in range(5)]
    short, long = (min(seconds) for seconds in zip(*tries, strict=True))
    assert long < 1.2 * short


def _seconds(inference: Inference, *asked: Any) -> float:
    start = time.process_time()
    inference.answer(*asked)
    return time.process_time() - start


def _maker(inference: Inference, memory: PatientMemory, **changes: Any) -> Maker:
    made = Maker(
        manifest_digest=memory.manifest_digest,
        vocabulary_digest=inference.fingerprint.vocabulary_digest,
        clock_days=1.0,
        code_version=memory.code_version,
        torch_version=memory.torch_version,
        device=memory.device,
    )
    return replace(made, **changes)


def _past(inference: Inference, memory: PatientMemory) -> Past:
    return restored(memory, memory.patient_id, _maker(inference, memory), "cpu")


def test_the_same_contents_have_the_same_bytes_and_nothing_is_lost(
    inference: Inference, whole: Answered
):
    memory = whole.memories[-1]
    past = _past(inference, memory)
    assert stored(past, memory.patient_id, _maker(inference, memory)) == memory
    assert past.prefix == memory.prefix
    assert past.values
    assert past.counts.num_facts == memory.prefix.num_events - 1
    # Whoever adds a field to what is remembered must store it too.
    assert {f.name for f in fields(Tally)} == {"running", "conditions", "birth_day", "last_day"}
    assert {f.name for f in fields(Past)} == {"prefix", "remembered", "tally", "values", "counts"}
    assert past.tally.running
    assert past.tally.conditions
    assert not math.isnan(past.tally.birth_day + past.tally.last_day)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"manifest_digest": "1" * 64}, "manifest"),
        ({"vocabulary_digest": "1" * 64}, "vocabulary"),
        ({"clock_days": 1 / 24}, "clock days"),
        ({"code_version": "other"}, "code version"),
        ({"torch_version": "0"}, "torch version"),
        ({"device": "cpu (threads: 64)"}, "device"),
    ],
)
def test_a_memory_of_another_maker_is_refused_by_name(
    inference: Inference, whole: Answered, change: dict[str, Any], named: str
):
    memory = whole.memories[-1]
    with pytest.raises(ForeignMemoryError, match=named):
        restored(memory, memory.patient_id, _maker(inference, memory, **change), "cpu")


def test_another_model_or_clock_refuses_the_question(inference: Inference, whole: Answered):
    vocabulary = inference.tensorizer.vocabulary
    others = [
        replace(inference, fingerprint=replace(inference.fingerprint, manifest_digest="2" * 64)),
        replace(inference, tensorizer=Tensorizer(vocabulary, clock_days=1 / 24)),
        replace(inference, code_version="other"),
    ]
    for other in others:
        with pytest.raises(ForeignMemoryError):
            resumed(other, WHOLE, whole.memories[-1])


def _sealed_again(memory: PatientMemory, data: bytes) -> PatientMemory:
    return replace(memory, data=data, digest=hashlib.sha256(data).hexdigest())


def test_a_changed_byte_anywhere_is_refused(inference: Inference, whole: Answered):
    memory = whole.memories[-1]
    for place in range(0, len(memory.data), max(1, len(memory.data) // 40)):
        data = bytearray(memory.data)
        data[place] ^= 1
        with pytest.raises(DamagedMemoryError):
            resumed(inference, WHOLE, replace(memory, data=bytes(data)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:40],
        lambda data: data.replace(b" memory 1\n", b" memory 9\n"),
        lambda data: data.replace(b'"shape":[', b'"shape":[9,'),
        lambda data: data.replace(b'"maker":{', b'"maker":{"more":1,'),
        lambda data: data.replace(b'"counts":{', b'"counts":[{'),
    ],
)
def test_bytes_that_were_never_written_by_this_code_are_refused_even_when_sealed(
    inference: Inference, whole: Answered, damage: Any
):
    memory = whole.memories[-1]
    data = damage(memory.data)
    assert data != memory.data
    with pytest.raises(DamagedMemoryError):
        resumed(inference, WHOLE, _sealed_again(memory, data))


def test_a_memory_of_another_patient_or_place_is_refused(inference: Inference, whole: Answered):
    first, last = whole.memories[0], whole.memories[-1]
    other = replace(WHOLE, patient_id=patient_id(3))
    with pytest.raises(DamagedMemoryError):
        resumed(inference, other, last)
    with pytest.raises(DamagedMemoryError):
        resumed(inference, WHOLE, replace(last, prefix=first.prefix))


def test_what_follows_a_memory_must_be_cut_and_long_enough_to_be_read_again(
    inference: Inference, whole: Answered
):
    memory = whole.memories[-1]
    request, _ = question(WHOLE)
    remaining = rest(WHOLE, memory.prefix)
    early: PredictionRequest = replace(request, as_of=remaining.standing[-1].at.replace(year=2001))
    with pytest.raises(UncutQuestionError):
        inference.answer(early, remaining, memory)
    after = WHOLE.standing[-100:]
    with pytest.raises(UncutQuestionError):
        inference.answer(request, Timeline(WHOLE.patient_id, after, after), memory)
    uncut = replace(remaining, versions=WHOLE.versions)
    with pytest.raises(UncutQuestionError):
        inference.answer(request, uncut, memory)


def test_amounts_far_back_still_count_in_the_statistics(inference: Inference, whole: Answered):
    """A value of the first block changes what is remembered of it, and the answer long after."""
    first = next(e for e in WHOLE.events if e.code.display == "Body Weight")
    other = replace(first, value=amount(200, "kg"), source=replace(first.source, digest="e" * 64))
    events = [other if e.event_id == first.event_id else e for e in WHOLE.events]
    changed = inference.answer(*question(Timeline.of(WHOLE.patient_id, events)))
    assert changed.memories[-1].data != whole.memories[-1].data
    assert changed.forecast.output_digest != whole.forecast.output_digest
