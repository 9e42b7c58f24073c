"""The leakage rule: a question sees what its cut shows, and learns from what was news after it."""

from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from clinical.prediction.outcome import happened, next_value
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.grounding import outcomes
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer, day_of
from pipelines.training.dataset import (
    Case,
    Split,
    by_split,
    case_of,
    digest_of,
    draw_day,
    lesson_of,
    moment_of,
    split_of,
)
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import (
    START,
    WEIGHT,
    amount,
    fact,
    living,
    made_up,
    made_up_events,
    patient_id,
)

BOUNDS = torch.tensor(SMALL.windows_days)
FIRST = day_of(START)


@pytest.fixture(scope="module")
def model(tensorizer: Tensorizer) -> Jepa:
    built = Jepa(SMALL, tensorizer.vocabulary)
    initialise(built, torch.Generator().manual_seed(5))
    return built.eval().requires_grad_(requires_grad=False)


def corrected_patient() -> Timeline:
    """Weighed on day 10; on day 400 the record is corrected; sex became known on day 20."""
    events = [event for event in made_up_events(2, 10) if event.kind is not EventKind.PATIENT]
    events = [e for e in events if e.kind is not EventKind.DEATH]
    sex = Code(CodeSystem.GENDER, "female")
    events.append(fact(2, "patient", 20, EventKind.PATIENT, sex))
    one = {"kind": EventKind.OBSERVATION, "code": WEIGHT}
    events.append(fact(2, "w", 10, content="a", value=amount(70, "kg"), updated=10, **one))
    events.append(fact(2, "w", 10, content="b", value=amount(170, "kg"), updated=400, **one))
    return Timeline.of(patient_id(2), events)


def ask(case: Case, tensorizer: Tensorizer, *days: float) -> object:
    asked = [(case, day) for day in days]
    bounds = BOUNDS.expand(len(days), -1, -1)
    return lesson_of(asked, tensorizer, bounds, torch.ones(len(days), SMALL.num_heads))


@pytest.mark.parametrize("timeline", [made_up(4), made_up(9), corrected_patient()])
def test_a_question_sees_exactly_what_the_cut_timeline_shows(
    timeline: Timeline, tensorizer: Tensorizer, model: Jepa
):
    case = case_of(timeline, tensorizer)
    assert case is not None
    generator = torch.Generator().manual_seed(1)
    days = [*case.asked_days, *(draw_day(case, generator) for _ in range(20))]
    lesson = ask(case, tensorizer, *days)
    state = model.read(lesson.context, model.encode(lesson.context), lesson.row, lesson.day)  # type: ignore[attr-defined]
    for place, day in enumerate(days):
        cut = tensorizer.timeline(timeline.cut(moment_of(day)))
        row = torch.zeros(1, dtype=torch.int64)
        alone = model.read(cut, model.encode(cut), row, torch.tensor([day], dtype=torch.float64))
        torch.testing.assert_close(state.state[place], alone.state[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state.features[place], alone.features[0], atol=1e-6, rtol=1e-6)


def test_a_later_correction_is_no_news_and_no_target(tensorizer: Tensorizer, model: Jepa):
    """The corrected weight of 170 kg became known on day 400, but weighing was on day 10."""
    timeline = corrected_patient()
    case = case_of(timeline, tensorizer)
    assert case is not None
    assert case.shared_from_day >= FIRST + 400
    lesson = ask(case, tensorizer, FIRST + 399.0)
    found = outcomes(model, lesson, torch.tensor([1]))  # type: ignore[arg-type]
    series = tensorizer.series[WEIGHT.key]
    scale = tensorizer.vocabulary.scales[WEIGHT.key]
    values = found.values[0, :, series] * scale.sd + scale.mean
    assert not ((values > 165) & (values < 175)).any()
    is_corrected = [
        not entered
        for entered, event in zip(case.may_enter.tolist(), case.whole.events, strict=True)
        if event.source.record_id == "2/w"
    ]
    assert is_corrected == [True]


def test_training_and_audit_agree_on_what_happened(tensorizer: Tensorizer, model: Jepa):
    """The tensors of a lesson against `clinical.prediction.outcome`, question by question."""
    num_compared = 0
    for timeline in living(range(12)):
        case = case_of(timeline, tensorizer)
        assert case is not None
        days = case.asked_days[::3]
        found = outcomes(model, ask(case, tensorizer, *days), torch.tensor([1]))  # type: ignore[arg-type]
        for place, day in enumerate(days):
            as_of = moment_of(day)
            for number, horizon in enumerate(SMALL.horizons):
                for risk, name in enumerate(FORETOLD):
                    told = happened(name, timeline, as_of, horizon)
                    if told is None:
                        assert not found.is_followed[place, number]
                        continue
                    is_repeat = name == "New diagnosis" and horizon.start > timedelta(0)
                    if is_repeat and told and not found.happened[place, number, risk]:
                        continue  # diagnosed in an earlier window, and again in this one
                    assert bool(found.happened[place, number, risk]) == told
                    num_compared += 1
                for code in tensorizer.vocabulary.numeric_codes:
                    scale = tensorizer.vocabulary.scales[code.key]
                    value = next_value(
                        code,
                        scale.unit,
                        timeline,
                        as_of,
                        horizon,
                        convert=lambda quantity, _, scale=scale: scale.canonical(quantity),
                    )
                    said = found.values[place, number, tensorizer.series[code.key]]
                    if value is None:
                        assert torch.isnan(said)
                    else:
                        assert float(said) == pytest.approx(scale.standardised(value), abs=1e-5)
                        num_compared += 1
    assert num_compared > 200


def test_questions_are_asked_of_the_living_and_windows_beyond_the_record_teach_nothing(
    tensorizer: Tensorizer, timelines: list[Timeline], model: Jepa
):
    generator = torch.Generator().manual_seed(0)
    dead = [t for t in timelines if any(e.kind is EventKind.DEATH for e in t)]
    assert dead
    for timeline in dead:
        case = case_of(timeline, tensorizer)
        assert case is not None
        died = day_of(next(k.at for k in timeline.standing if k.event.kind is EventKind.DEATH))
        assert all(draw_day(case, generator) <= died for _ in range(50))
        assert max(case.asked_days) < died
        assert case.followed_until == float("inf")
    alive = case_of(living(range(3))[0], tensorizer)
    assert alive is not None
    lesson = ask(alive, tensorizer, alive.end_day - 40)
    found = outcomes(model, lesson, torch.tensor([1]))  # type: ignore[arg-type]
    assert found.is_followed[0].tolist() == [True, True, False, False]


def test_a_question_amid_a_visit_is_not_asked(cases: list[Case]):
    for case in cases[:5]:
        days = case.whole.bundle_day.tolist()
        for day in case.asked_days[:-1]:
            assert days[days.index(day) + 1] - day >= 0.25


def test_no_patient_is_on_two_sides_and_the_sides_do_not_depend_on_who_else_is_there(
    timelines: list[Timeline],
):
    splits = by_split(timelines)
    everybody = [t.patient_id for members in splits.values() for t in members]
    assert len(everybody) == len(set(everybody)) == len(timelines)
    assert all(splits[split] for split in Split)
    fewer = by_split(timelines[::-1][:20])
    assert all(split_of(t) is split for split, members in fewer.items() for t in members)
    assert [t for t in splits[Split.TRAINING] if t in timelines[40:]] == fewer[Split.TRAINING]


def test_the_data_digest_is_of_the_content_in_any_order(timelines: list[Timeline]):
    assert digest_of(timelines) == digest_of(timelines[::-1])
    events = list(timelines[0])
    changed = Timeline.of(timelines[0].patient_id, [replace(events[0], status="x"), *events[2:]])
    assert digest_of([changed, *timelines[1:]]) != digest_of(timelines)


def test_a_patient_with_one_moment_on_record_is_no_case(tensorizer: Tensorizer):
    one = Timeline.of(patient_id(1), [fact(1, "w", 1, EventKind.OBSERVATION, WEIGHT)])
    assert case_of(one, tensorizer) is None
