"""Inference: deterministic, each question alone, calibrated, honest about what it cannot say."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import PlattCalibration
from clinical.prediction.horizon import Horizon
from clinical.prediction.readout import ReadoutKind
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.calibrated import UNCALIBRATED, Calibration, Familiarity
from clinical.worldmodel.inference import Inference
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import (
    ASTHMA,
    DEATH,
    GLUCOSE,
    METFORMIN,
    START,
    WEIGHT,
    amount,
    fact,
    living,
    long_timeline,
    made_up,
    made_up_events,
    patient_id,
    question,
    retracted,
)

PEOPLE = living(range(12))


def test_a_batch_of_one_gives_the_bits_of_a_batch_of_many(inference: Inference):
    asked = [question(timeline) for timeline in [*PEOPLE, made_up(3, 2), long_timeline(700)]]
    together = inference.forecast(asked)
    alone = [inference.forecast([one])[0] for one in asked]
    assert together == alone
    backwards = inference.forecast(asked[::-1])[::-1]
    assert [f.output_digest for f in backwards] == [f.output_digest for f in alone]
    assert len({f.output_digest for f in alone}) == len(asked)


def test_the_same_question_gets_the_same_answer_whatever_the_process_wide_seed(
    inference: Inference,
):
    first = inference.forecast([question(PEOPLE[0])])
    torch.rand(3)
    assert inference.forecast([question(PEOPLE[0])]) == first


def test_nothing_known_after_the_question_changes_a_bit(inference: Inference):
    """Neither later events, nor later corrections and withdrawals, nor what reached us later."""
    events = made_up_events(6)
    timeline = Timeline.of(patient_id(6), events)
    as_of = timeline.standing[len(timeline) // 2].at
    request, _ = question(timeline, as_of=as_of)
    known = [k.event for k in timeline.cut(as_of).standing if k.event.kind is EventKind.OBSERVATION]
    corrected = replace(
        known[0],
        value=amount(1, "kg"),
        source=replace(known[0].source, digest="f" * 64, updated_at=START.replace(year=2021)),
    )
    days = (as_of - START) / timedelta(days=1)
    unreceived = replace(
        fact(6, "late", days - 5, EventKind.CONDITION, ASTHMA), received_at=START.replace(year=2040)
    )
    more = [corrected, retracted(known[1], updated=8000), unreceived]
    more.append(fact(6, "next", days + 1, EventKind.CONDITION, ASTHMA))
    grown = Timeline.of(patient_id(6), [*events, *more])
    before, cut, after = inference.forecast(
        [(request, timeline), (request, timeline.cut(as_of)), (request, grown)]
    )
    assert before == cut == after
    assert after != inference.forecast([question(grown)])[0]


def test_an_answer_says_everything_that_a_forecast_should(inference: Inference):
    request, timeline = question(PEOPLE[0])
    forecast = inference.forecast([(request, timeline)])[0]
    trajectory = forecast.trajectory
    assert trajectory is not None
    assert trajectory.horizons == inference.horizons == SMALL.horizons
    assert len(trajectory.data) == 4 * SMALL.latent * 4
    assert len(trajectory.state) == 4 * SMALL.width
    assert all(spread > 0 for spread in trajectory.spread)
    assert forecast.capsule.input_digest == timeline.input_digest
    assert forecast.capsule.config_digest == request.config_digest
    assert forecast.capsule.num_events == len(timeline)
    computed = forecast.capsule.computation
    assert computed is not None
    assert (computed.num_questions, computed.num_events) == (1, len(timeline))
    assert (computed.dtype, computed.num_members, computed.num_draws) == ("float32", 4, 0)
    assert f"torch {torch.__version__}" in computed.libraries
    assert computed.num_threads == torch.get_num_threads()
    named = {(r.name, r.horizon.label) for r in forecast.readouts}
    assert ("Emergency visit", "0-365 d") in named
    assert ("Glucose", "30-90 d") in named
    on_record = {event.event_id for event in timeline}
    for readout in forecast.readouts:
        assert set(readout.evidence) <= on_record
        if readout.kind is ReadoutKind.PROBABILITY:
            assert readout.estimate is not None
            assert 0 < readout.estimate < 1
            assert readout.intervals[0].low <= readout.estimate <= readout.intervals[0].high
            assert readout.reliability is not None
        elif readout.abstention is None:
            inner, outer = readout.intervals
            assert outer.low <= inner.low <= readout.estimate <= inner.high <= outer.high  # type: ignore[operator]
            assert readout.unit in {"kg", "mg/dL", "mm[Hg]"}
            assert readout.evidence


def test_a_quantity_leans_on_its_own_newest_values(inference: Inference):
    forecast = inference.forecast([question(PEOPLE[0])])[0]
    newest = [e.event_id for e in reversed(PEOPLE[0].events) if e.code.key == WEIGHT.key]
    said = [r for r in forecast.readouts if r.code is not None and r.code.key == WEIGHT.key]
    assert said
    assert all(list(readout.evidence) == newest[:3] for readout in said)


def test_risk_evidence_is_what_changes_the_risk_when_it_is_left_out(inference: Inference):
    """Leaving out what is not named, among the newest, moves the risk less than what is named."""
    forecast = inference.forecast([question(PEOPLE[1])])[0]
    risks = [r for r in forecast.readouts if r.kind is ReadoutKind.PROBABILITY and r.evidence]
    assert risks
    by_id = {event.event_id: event for event in PEOPLE[1]}
    for readout in risks[:3]:
        codes = [by_id[name].code.key for name in readout.evidence]
        moved = [
            _without(inference, PEOPLE[1], readout.name, readout.horizon, key) for key in codes
        ]
        assert all(abs(estimate - readout.estimate) > 1e-4 for estimate in moved)  # type: ignore[operator]


def _without(
    inference: Inference, timeline: Timeline, name: str, horizon: Horizon, key: str
) -> float:
    kept = [event for event in timeline if event.code.key != key]
    request, _ = question(timeline)
    forecast = inference.forecast([(request, Timeline.of(timeline.patient_id, kept))])[0]
    (found,) = [r for r in forecast.readouts if r.name == name and r.horizon == horizon]
    assert found.estimate is not None
    return found.estimate


def test_risks_grow_with_the_window_that_holds_them(inference: Inference):
    days = (5, 7, 20, 90, 200, 300, 365)
    horizons = tuple(Horizon(timedelta(0), timedelta(days=d)) for d in days)
    answer = replace(
        inference.calibration,
        probabilities={
            f"Death|{h.label}": PlattCalibration(
                calibration_id="t", slope=1, intercept=0, num_patients=40, num_outcomes=20
            )
            for h in horizons
        },
    )
    asked = replace(inference, calibration=answer)
    forecast = asked.forecast([question(PEOPLE[0], horizons=horizons)])[0]
    said = [r.estimate for r in forecast.readouts if r.name == "Death"]
    assert said == sorted(said)  # type: ignore[type-var]
    assert said[0] < said[-1]  # type: ignore[operator]


def test_any_window_gets_latents_but_only_calibrated_ones_get_numbers(inference: Inference):
    odd = Horizon(timedelta(days=11), timedelta(days=44))
    forecast = inference.forecast([question(PEOPLE[0], horizons=(odd,))])[0]
    assert forecast.trajectory is not None
    assert forecast.trajectory.horizons == (odd,)
    reasons = {r.abstention.reason for r in forecast.readouts if r.abstention}
    assert reasons <= {AbstentionReason.NOT_CALIBRATED, AbstentionReason.NEVER_MEASURED}
    assert all(r.abstention for r in forecast.readouts)


def test_a_plan_changes_the_forecast_and_is_part_of_the_capsule(inference: Inference):
    action = Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=timedelta(days=2))
    usual, planned = inference.forecast(
        [question(PEOPLE[0]), question(PEOPLE[0], actions=(action,))]
    )
    assert usual.trajectory is not None
    assert planned.trajectory is not None
    assert usual.trajectory.data != planned.trajectory.data
    assert usual.trajectory.state == planned.trajectory.state
    assert usual.capsule.config_digest != planned.capsule.config_digest


def reason(inference: Inference, timeline: Timeline) -> AbstentionReason | None:
    forecast = inference.forecast([question(timeline)])[0]
    if forecast.abstention is None:
        return None
    assert forecast.trajectory is None
    assert not forecast.readouts
    return forecast.abstention.reason


def test_a_patient_with_one_event_and_one_with_none_are_declined_by_name(inference: Inference):
    one = Timeline.of(
        patient_id(1), [fact(1, "w", 1, EventKind.OBSERVATION, WEIGHT, value=amount(70, "kg"))]
    )
    assert reason(inference, one) is AbstentionReason.TOO_FEW_EVENTS
    assert reason(inference, Timeline.of(patient_id(1), [])) is AbstentionReason.TOO_FEW_EVENTS


def test_the_deceased_have_no_course_to_foretell(inference: Inference):
    events = [*PEOPLE[0].events, fact(0, "death", 9000, EventKind.DEATH, DEATH)]
    events = [replace(event, patient_id=patient_id(0)) for event in events]
    assert (
        reason(inference, Timeline.of(patient_id(0), events)) is AbstentionReason.PATIENT_DECEASED
    )


def test_too_many_unknown_codes_are_a_reason_to_decline(inference: Inference):
    strange = [
        fact(1, f"s{n}", n, EventKind.OBSERVATION, Code(CodeSystem.LOINC, f"{n}-x", f"strange {n}"))
        for n in range(20)
    ]
    forecast = inference.forecast([question(Timeline.of(patient_id(1), strange))])[0]
    assert forecast.unseen_code_share == 1
    assert forecast.abstention is not None
    assert forecast.abstention.reason is AbstentionReason.UNFAMILIAR_CODES


def test_a_patient_far_from_the_training_patients_is_declined(inference: Inference):
    fitted = inference.calibration.familiarity
    assert fitted is not None
    near = inference.forecast([question(PEOPLE[0])])[0].familiarity
    assert near is not None
    strict = replace(
        inference.calibration, familiarity=replace(fitted, limit=fitted.limit * near / 2)
    )
    asked = replace(inference, calibration=strict)
    forecast = asked.forecast([question(PEOPLE[0])])[0]
    assert forecast.abstention is not None
    assert forecast.abstention.reason is AbstentionReason.UNFAMILIAR_PATIENT
    assert forecast.familiarity == pytest.approx(2)


def test_what_was_never_measured_is_not_foretold(inference: Inference):
    events = [event for event in PEOPLE[0] if event.code.key != GLUCOSE.key]
    forecast = inference.forecast([question(Timeline.of(PEOPLE[0].patient_id, events))])[0]
    said = [r for r in forecast.readouts if r.code is not None and r.code.key == GLUCOSE.key]
    assert said
    assert {r.abstention and r.abstention.reason for r in said} == {AbstentionReason.NEVER_MEASURED}


def test_without_calibration_no_number_is_said(inference: Inference):
    forecast = replace(inference, calibration=UNCALIBRATED).forecast([question(PEOPLE[0])])[0]
    assert forecast.trajectory is not None
    assert forecast.readouts
    assert all(readout.abstention is not None for readout in forecast.readouts)
    assert forecast.familiarity is None


def test_heads_that_disagree_and_intervals_that_say_nothing_are_withheld(inference: Inference):
    strict = replace(
        inference, limits=replace(inference.limits, max_head_range=0.0, max_head_share=0.0)
    )
    forecast = strict.forecast([question(PEOPLE[0])])[0]
    reasons = {r.abstention.reason for r in forecast.readouts if r.abstention}
    assert AbstentionReason.HEADS_DISAGREE in reasons
    narrow = {
        key: replace(fitted, population_width=0.1)
        for key, fitted in inference.calibration.quantities.items()
    }
    wide = replace(inference, calibration=replace(inference.calibration, quantities=narrow))
    reasons = {
        r.abstention.reason
        for r in wide.forecast([question(PEOPLE[0])])[0].readouts
        if r.abstention
    }
    assert AbstentionReason.INTERVAL_TOO_WIDE in reasons


def test_a_model_that_answers_with_no_number_abstains(inference: Inference):
    import copy

    broken = copy.deepcopy(inference.model)
    broken.predictor.heads.bias[0] = float("nan")
    forecast = replace(inference, model=broken).forecast([question(PEOPLE[0])])[0]
    assert forecast.abstention is not None
    assert forecast.abstention.reason is AbstentionReason.MODEL_NOT_NUMERIC


def test_familiarity_is_the_mahalanobis_distance_over_its_limit():
    fitted = Familiarity(mean=(1.0, 0.0), whitening=((2.0, 0.0), (0.0, 0.5)), limit=4.0)
    found = fitted.distance(torch.tensor([[3.0, 8.0]]))
    assert float(found[0]) == pytest.approx((16 + 16) ** 0.5 / 4)


def test_calibration_survives_being_written_down(inference: Inference):
    text = inference.calibration.to_json()
    assert Calibration.from_json(text) == inference.calibration


def test_fifty_thousand_events_are_answered_in_bounded_time(inference: Inference):
    timeline = long_timeline(50_000)
    start = time.perf_counter()
    forecast = inference.forecast([question(timeline)])[0]
    seconds = time.perf_counter() - start
    assert forecast.trajectory is not None
    assert forecast.capsule.num_events == 50_000
    assert seconds < 60
