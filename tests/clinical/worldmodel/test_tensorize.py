"""Timeline → tensors: what the model is shown of a timeline, and what it is not."""

import random
from dataclasses import fields, replace

import pytest
import torch

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.quantity import Comparator, Quantity
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.encoder import SetPool
from clinical.worldmodel.families import FAMILIES, FORETOLD
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.statistics import Running, features
from clinical.worldmodel.tensorize import NUM_FLAGS, Tensorizer, day_of
from tests.clinical.worldmodel.patients import (
    ASTHMA,
    START,
    WEIGHT,
    amount,
    fact,
    made_up,
    made_up_events,
    patient_id,
    retracted,
)


def equal(one: TimelineBatch, other: TimelineBatch) -> bool:
    def same(a: object, b: object) -> bool:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))
        return a == b

    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(TimelineBatch))


def weighed(value: str, unit: str | None, comparator: Comparator | None = None) -> Timeline:
    from decimal import Decimal

    quantity = Quantity(Decimal(value), unit, unit or "stone", comparator)
    return Timeline.of(
        patient_id(1), [fact(1, "w", 1, EventKind.OBSERVATION, WEIGHT, value=quantity)]
    )


def test_the_order_in_which_events_arrive_makes_no_difference(tensorizer: Tensorizer):
    events = made_up_events(4)
    shuffled = events[:]
    random.Random(1).shuffle(shuffled)
    one, other = (Timeline.of(patient_id(4), given) for given in (events, shuffled))
    assert equal(tensorizer.timeline(one), tensorizer.timeline(other))


def test_events_known_at_one_moment_make_one_bundle_whatever_happened_when(tensorizer: Tensorizer):
    events = [
        fact(1, "a", 1, EventKind.OBSERVATION, WEIGHT, value=amount(70, "kg"), recorded=5),
        fact(1, "b", 3, EventKind.OBSERVATION, WEIGHT, value=amount(71, "kg"), recorded=5),
        fact(1, "c", 2, EventKind.OBSERVATION, WEIGHT, value=amount(72, "kg"), recorded=6),
    ]
    batch = tensorizer.timeline(Timeline.of(patient_id(1), events))
    assert batch.event_bundle.tolist() == [0, 0, 1]
    assert (batch.bundle_day - day_of(START)).tolist() == [5, 6]
    assert batch.event_lag[0] > batch.event_lag[1] > 0


@torch.no_grad()
def test_the_order_inside_a_bundle_makes_no_difference_to_the_encoder():
    generator = torch.Generator().manual_seed(2)
    pool = SetPool(8, 2)
    initialise(pool, generator)
    members = torch.randn(30, 8, generator=generator)
    set_of = torch.arange(30) % 4
    order = torch.randperm(30, generator=generator)
    torch.testing.assert_close(
        pool(members[order], set_of[order], 4), pool(members, set_of, 4), atol=1e-6, rtol=1e-6
    )
    assert not torch.allclose(pool(members, set_of, 4)[0], pool(members, (set_of + 1) % 4, 4)[0])


@pytest.mark.parametrize(("value", "unit"), [("70000", "g"), ("70000.0", "g"), ("70.0", "kg")])
def test_a_value_sent_in_another_unit_gives_the_same_token(
    tensorizer: Tensorizer, value: str, unit: str
):
    sent = tensorizer.timeline(weighed("70", "kg"))
    other = tensorizer.timeline(weighed(value, unit))
    assert torch.equal(sent.event_number, other.event_number)
    assert torch.equal(sent.running, other.running)
    assert sent.event_number[0, 2] == 1


@pytest.mark.parametrize(
    ("unit", "comparator", "flag"),
    [(None, None, -3), ("mm[Hg]", None, -3), ("kg", Comparator.LESS, -2)],
    ids=["not UCUM", "another dimension", "only a bound"],
)
def test_a_value_that_cannot_be_known_is_withheld_and_flagged_but_its_code_is_kept(
    tensorizer: Tensorizer, unit: str | None, comparator: Comparator | None, flag: int
):
    batch = tensorizer.timeline(weighed("70", unit, comparator))
    assert batch.event_number.tolist() == [[0, 0, 0]]
    assert batch.event_flags[0, NUM_FLAGS + flag] == 1
    assert batch.concept_token[batch.event_concept[0]] > 0
    assert not len(batch.running)


@torch.no_grad()
def test_a_code_never_met_still_says_its_words_and_ancestors(model: Jepa, tensorizer: Tensorizer):
    def vector(code: Code) -> torch.Tensor:
        event = fact(1, "x", 1, EventKind.CONDITION, code, phase=Phase.START)
        batch = tensorizer.timeline(Timeline.of(patient_id(1), [event]))
        assert batch.num_unseen == (1,)
        return model.embedding(batch)[0]

    insulin = vector(Code(CodeSystem.ICD_10_CM, "E11.65", "Type 2 diabetes with hyperglycemia"))
    alike = vector(Code(CodeSystem.ICD_10_CM, "E11.21", "Type 2 diabetes with nephropathy"))
    other = vector(Code(CodeSystem.ICD_10_CM, "S82.1", "Fracture of upper end of tibia"))
    assert torch.isfinite(insulin).all()
    assert (insulin - alike).norm() < (insulin - other).norm()


@torch.no_grad()
def test_a_known_code_is_known_whatever_words_come_with_it(model: Jepa, tensorizer: Tensorizer):
    def vector(display: str) -> torch.Tensor:
        event = fact(1, "x", 1, EventKind.CONDITION, replace(ASTHMA, display=display))
        return model.embedding(tensorizer.timeline(Timeline.of(patient_id(1), [event])))[0]

    assert torch.equal(vector("Asthma"), vector("asthme bronchique"))


def test_what_came_after_the_cut_changes_no_bit(tensorizer: Tensorizer):
    """Also corrections and withdrawals of what was known then."""
    events = made_up_events(6)
    timeline = Timeline.of(patient_id(6), events)
    as_of = timeline.standing[len(timeline) // 2].at
    before = tensorizer.timeline(timeline.cut(as_of))
    days = (as_of - START).days + 1
    known = [k.event for k in timeline.cut(as_of).standing if k.event.kind is EventKind.OBSERVATION]
    correction = replace(
        known[0],
        value=amount(1, "kg"),
        source=replace(known[0].source, digest="f" * 64, updated_at=START.replace(year=2021)),
    )
    more = [
        correction,
        retracted(known[1], updated=8000),
        fact(6, "new", days, EventKind.CONDITION, ASTHMA),
    ]
    after = tensorizer.timeline(Timeline.of(patient_id(6), [*events, *more]).cut(as_of))
    assert equal(before, after)
    late = tensorizer.timeline(Timeline.of(patient_id(6), [*events, *more]))
    assert not equal(tensorizer.timeline(timeline), late)


def test_joining_timelines_keeps_each_as_it_was(tensorizer: Tensorizer, model: Jepa):
    batches = [tensorizer.timeline(made_up(number)) for number in range(5)]
    joined = join(batches)
    days = torch.tensor([float(b.bundle_day[-1]) + 3 for b in batches], dtype=torch.float64)
    with torch.no_grad():
        together = model.read(joined, model.encode(joined), torch.arange(5), days)
        for place, batch in enumerate(batches):
            row = torch.zeros(1, dtype=torch.int64)
            alone = model.read(batch, model.encode(batch), row, days[place : place + 1])
            torch.testing.assert_close(together.state[place], alone.state[0], atol=1e-5, rtol=1e-5)
            assert torch.equal(together.features[place], alone.features[0])


def test_running_statistics_are_those_of_the_values_so_far():
    values, running = [1.0, 4.0, -2.0, 0.5], Running()
    for place, value in enumerate(values):
        running.add(value, float(place * 10))
    table = torch.tensor([[running.numbers()]], dtype=torch.float64)
    day = torch.tensor([40.0], dtype=torch.float64)
    found = features(table, day, torch.ones(1, 1, dtype=torch.bool))[0, 0]
    numbers = torch.tensor(values)
    expected = [0.5, -2.0, 4.0, numbers.mean(), numbers.std(unbiased=False), 1.0]
    torch.testing.assert_close(found[:6], torch.tensor(expected))
    torch.testing.assert_close(found[6], torch.tensor(4.0).log1p())
    assert found[9] == 1
    hidden = features(table, day, torch.zeros(1, 1, dtype=torch.bool))
    assert not hidden.any()


def test_families_count_beginnings_and_the_first_of_each_diagnosis_only(tensorizer: Tensorizer):
    events = [
        fact(1, "c1", 1, EventKind.CONDITION, ASTHMA, phase=Phase.START),
        fact(1, "c2", 9, EventKind.CONDITION, ASTHMA, phase=Phase.START),
        fact(1, "c1", 5, EventKind.CONDITION, ASTHMA, part="end", phase=Phase.END),
        fact(1, "e", 5, EventKind.ENCOUNTER, Code(CodeSystem.ACT, "IMP"), phase=Phase.START),
        fact(
            1, "e", 6, EventKind.ENCOUNTER, Code(CodeSystem.ACT, "IMP"), part="end", phase=Phase.END
        ),
    ]
    batch = tensorizer.timeline(Timeline.of(patient_id(1), events))
    names = [FAMILIES[series - len(tensorizer.series)] for series in batch.value_series.tolist()]
    assert sorted(names) == sorted([FORETOLD[2], FORETOLD[1], "encounter"])
