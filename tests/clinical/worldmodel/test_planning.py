"""Comparing plans with a model: its options, its filters, and when it will not rank."""

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import torch

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.constraint import AtMostOne, Constraint, Interaction, OnRecord, PlanRules
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import (
    PLANNABLE_RISKS,
    Goal,
    MalformedPlanQuestionError,
    PlanChoice,
    PlanDecision,
    PlanQuestion,
    UnknownPlanActionError,
    UnusableGoalError,
)
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.answering import ask, read_at, read_history
from clinical.worldmodel.behaviour import behaviour_of, probe_name
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.costing import goals_of
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.planning import Planner, searched
from clinical.worldmodel.planspace import PlanSpace, slot_of
from clinical.worldmodel.probe import Probe, Probes
from clinical.worldmodel.search import beam, cem, enumerate_all
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import (
    GLUCOSE,
    INHALER,
    LATER,
    METFORMIN,
    fact,
    living,
    question,
)

DAY = timedelta(days=1)
ODDS = {METFORMIN.key: 0.5, INHALER.key: -1.5}


def _start(code: Code, name: str) -> PlanChoice:
    action = Action(kind=EventKind.MEDICATION_REQUEST, code=code, after=timedelta(0))
    return PlanChoice(name=name, label=f"Start {name}", actions=(action,))


GLYCAEMIA = PlanDecision(
    name="glycaemia",
    label="Glycaemia",
    choices=(_start(METFORMIN, "metformin"),),
    moments=(DAY, 30 * DAY, 60 * DAY),
)
BREATHING = PlanDecision(
    name="breathing", label="Breathing", choices=(_start(INHALER, "inhaler"),), moments=(DAY, 14 * DAY)
)  # fmt: skip
LOW_GLUCOSE = Goal(name="glucose", label="Glucose", code=GLUCOSE, unit="mg/dL", high=90.0)


def _probe(action: str, log_odds: float) -> Probe:
    zeros, ones = (0.0,) * SMALL.width, (1.0,) * SMALL.width
    weights = (0.01, *zeros[1:])
    return Probe(
        name=probe_name(action, SMALL), mean=zeros, scale=ones, weights=weights, bias=log_odds
    )


@pytest.fixture(scope="module")
def patient() -> Timeline:
    return living(range(30))[0]


@pytest.fixture(scope="module")
def planner(inference: Inference) -> Planner:
    return _planner(inference)


def _planner(inference: Inference, odds: dict[str, float] | None = None, **limits: Any) -> Planner:
    probes = Probes(behaviour=tuple(itertools.starmap(_probe, (odds or ODDS).items())))
    return Planner(
        inference=replace(inference, probes=probes, limits=replace(inference.limits, **limits))
    )


def asked(patient: Timeline, **changes: Any) -> PlanQuestion:
    fields: dict[str, Any] = {
        "comparison_id": UUID(int=9),
        "patient_id": patient.patient_id,
        "as_of": patient.known_until,
        "received_by": LATER,
        "decisions": (GLYCAEMIA, BREATHING),
        "goals": (LOW_GLUCOSE,),
        "risks": (Risk.INPATIENT,),
    }
    return PlanQuestion(**(fields | changes))


def space_of(planner: Planner, asked: PlanQuestion, patient: Timeline) -> PlanSpace:
    inference = planner.inference
    model, tensorizer = inference.model, inference.tensorizer
    history = read_history(model, tensorizer, patient, "cpu")
    request, _ = question(patient)
    reading = read_at(model, history.batch, model.encode(history.batch, history.earlier), request)
    actions = tensorizer.vocabulary.actions
    behaviour = behaviour_of(inference.probes, actions, model.config, reading.state)
    return PlanSpace(
        model=model,
        reading=reading,
        bounds=torch.tensor([SMALL.windows_days], dtype=torch.float32),
        goals=goals_of(asked, tensorizer.vocabulary, SMALL),
        slots=tuple(slot_of(model, tensorizer, d, d.ways(), behaviour) for d in asked.decisions),
        actions=actions,
        record=OnRecord.of(patient),
        rules=asked.rules,
    )


@torch.no_grad()
def test_a_plan_is_read_as_the_same_actions_are_in_a_forecast(
    planner: Planner, patient: Timeline
) -> None:
    """The row of a plan and the request of the same actions give the same latents and energy."""
    space = space_of(planner, asked(patient), patient)
    row = torch.tensor([[2, 1]])
    model, tensorizer = planner.inference.model, planner.inference.tensorizer
    actions = tuple(a for way in space.taken([2, 1]) for a in way.actions)
    assert [a.after for a in actions] == [30 * DAY, DAY]
    request, _ = question(patient, actions=actions)
    history = read_history(model, tensorizer, patient, "cpu")
    expected = ask(model, tensorizer, history, request, ())
    latents, _ = model.forecast(space.reading, space.bounds, space.plan(row))
    torch.testing.assert_close(latents[0], expected.latents, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_many_plans_cost_what_each_costs_alone(planner: Planner, patient: Timeline) -> None:
    """The seam of every search: energies and parts of many plans at once."""
    space = space_of(planner, asked(patient), patient)
    plans = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    energies, parts = space.cost(plans)
    torch.testing.assert_close(parts.sum(1), energies)
    alone = torch.cat([space.cost(row[None])[0] for row in plans])
    torch.testing.assert_close(alone, energies, atol=1e-5, rtol=1e-5)
    assert energies.unique().numel() > 6  # what is planned, and when, matters


@torch.no_grad()
def test_how_usual_a_plan_is_counts_what_is_done_and_what_is_left(
    planner: Planner, patient: Timeline
) -> None:
    """By hand: independent actions, each done or not done."""
    space = space_of(planner, asked(patient), patient)
    usual = behaviour_of(
        planner.inference.probes, (METFORMIN.key, INHALER.key), SMALL, space.reading.state
    )
    done = {key: torch.tensor(odds).sigmoid().item() for key, odds in usual.log_odds.items()}
    metformin, inhaler = done[METFORMIN.key], done[INHALER.key]
    plans = torch.tensor([[0, 0], [1, 0], [3, 2]])
    expected = torch.tensor(
        [
            [1 - metformin, 1 - inhaler],
            [metformin, 1 - inhaler],
            [metformin, inhaler],
        ]
    ).double()
    torch.testing.assert_close(space.shares(plans), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(space.surprise(plans), -expected.log().sum(1), atol=1e-5, rtol=1e-5)
    assert space.usual() == (1, 0)


def test_the_options_are_ranked_distinct_and_hold_no_change(
    planner: Planner, patient: Timeline
) -> None:
    comparison = planner.compare(asked(patient), patient)
    assert comparison.abstention is None
    energies = [option.energy for option in comparison.options]
    assert energies == sorted(energies)
    kinds = [frozenset(t.choice for t in option.taken) for option in comparison.options]
    assert len(kinds) == len(set(kinds)) == 4
    assert frozenset() in kinds
    assert comparison.num_considered == 4 * 3
    for option in comparison.options:
        assert option.energy == pytest.approx(sum(part.amount for part in option.parts), abs=1e-5)
        assert 0 < option.support < 1
        assert {r.name for r in option.readouts} == {Risk.INPATIENT, "Glucose"}


@torch.no_grad()
def test_the_best_option_is_the_best_of_all_plans(planner: Planner, patient: Timeline) -> None:
    """Against brute force, and so are the beam and the cross-entropy method on the real cost."""
    space = space_of(planner, asked(patient), patient)
    truth = enumerate_all(space, space.choices())
    best = planner.compare(asked(patient), patient).options[0]
    assert best.taken == space.taken(truth.best.tolist())
    assert best.energy == pytest.approx(float(truth.energies[0]), abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    for found in (
        beam(space, space.choices(), width=4, num_sweeps=2),
        cem(space, space.choices(), generator),
    ):
        assert torch.equal(found.best, truth.best)


@torch.no_grad()
def test_many_plans_are_searched_and_the_search_finds_the_best(
    planner: Planner, patient: Timeline
) -> None:
    """Six decisions, 20736 plans; held to brute force."""
    decisions = tuple(
        replace(d, name=f"{d.name}{n}", moments=m)
        for n, (d, m) in enumerate(
            itertools.product((GLYCAEMIA, BREATHING), [(DAY, 9 * DAY, 30 * DAY, 80 * DAY)] * 3)
        )
    )
    space = space_of(planner, asked(patient, decisions=decisions[:5]), patient)
    found, num_draws = searched(space, 0)
    assert 0 < num_draws <= len(found.plans) < 5**5
    truth = enumerate_all(space, space.choices())
    assert found.energies[0] == pytest.approx(float(truth.energies[0]), abs=1e-5)


def test_the_same_question_gets_the_same_answer(planner: Planner, patient: Timeline) -> None:
    first = planner.compare(asked(patient), patient)
    again = planner.compare(asked(patient, comparison_id=UUID(int=77)), patient)
    assert first == again
    assert first.output_digest == again.output_digest
    assert first.capsule.config_digest == asked(patient).config_digest


def test_nothing_known_after_the_question_changes_it(planner: Planner, patient: Timeline) -> None:
    middle = patient.standing[len(patient) // 2].at
    early = planner.compare(asked(patient, as_of=middle), patient)
    assert early == planner.compare(asked(patient, as_of=middle), patient.cut(middle))


def test_what_breaks_a_constraint_is_left_out_and_named(
    planner: Planner, patient: Timeline
) -> None:
    rules = PlanRules(
        interactions=(Interaction(name="test", one=(INHALER.key,), other=(METFORMIN.key,)),)
    )
    treated = Timeline.of(
        patient.patient_id,
        [
            *(e for e in patient.events if e.code not in (METFORMIN, INHALER)),
            fact(0, "drug", 1, EventKind.MEDICATION_REQUEST, METFORMIN, patient_id=patient.patient_id),
        ],
    )  # fmt: skip
    comparison = planner.compare(asked(treated, rules=rules), treated)
    assert {(e.choice, e.constraint) for e in comparison.excluded} == {
        ("inhaler", Constraint.INTERACTION)
    }
    assert all(t.choice != "inhaler" for o in comparison.options for t in o.taken)


def test_alternatives_are_never_planned_together(planner: Planner, patient: Timeline) -> None:
    rules = PlanRules(alternatives=(AtMostOne(name="x", actions=(METFORMIN.key, INHALER.key)),))
    comparison = planner.compare(asked(patient, rules=rules), patient)
    assert comparison.num_considered == 4 * 3 - 3 * 2
    assert max(len(option.taken) for option in comparison.options) == 1
    assert comparison.excluded == ()


def test_without_probes_of_behaviour_nothing_is_ranked(
    inference: Inference, patient: Timeline
) -> None:
    assert inference.probes == Probes()
    comparison = Planner(inference=inference).compare(asked(patient), patient)
    assert comparison.options == ()
    assert comparison.abstention is not None
    assert comparison.abstention.reason is AbstentionReason.SUPPORT_UNKNOWN
    assert {e.constraint for e in comparison.excluded} == {Constraint.SUPPORT_UNKNOWN}


def test_where_every_choice_is_forbidden_that_is_the_reason(
    planner: Planner, patient: Timeline
) -> None:
    allergic = Timeline.of(
        patient.patient_id,
        [
            *patient.events,
            *(
                fact(0, c.value, 1, EventKind.ALLERGY, c, patient_id=patient.patient_id)
                for c in (METFORMIN, INHALER)
            ),
        ],
    )
    comparison = planner.compare(asked(allergic), allergic)
    assert comparison.abstention is not None
    assert comparison.abstention.reason is AbstentionReason.NO_ALLOWED_PLAN


def test_a_best_plan_that_hardly_anybody_followed_is_not_ranked(
    inference: Inference, patient: Timeline
) -> None:
    """Every plan leaves or takes something as likely as not: less than this gate asks for."""
    even = {METFORMIN.key: 0.0, INHALER.key: 0.0}
    assert _planner(inference, even).compare(asked(patient), patient).options[0].support < 0.6
    closed = _planner(inference, even, min_support=0.6).compare(asked(patient), patient)
    assert closed.options == ()
    assert closed.abstention is not None
    assert closed.abstention.reason is AbstentionReason.PLAN_UNUSUAL


def test_a_best_plan_of_too_uncertain_a_course_is_not_ranked(
    inference: Inference, patient: Timeline
) -> None:
    wide = replace(
        inference.calibration,
        quantities={
            key: replace(q, population_width=1e-9)
            for key, q in inference.calibration.quantities.items()
        },
    )
    planner = _planner(replace(inference, calibration=wide))
    comparison = planner.compare(asked(patient), patient)
    assert comparison.options == ()
    assert comparison.abstention is not None
    assert comparison.abstention.reason is AbstentionReason.INTERVAL_TOO_WIDE


def test_whoever_gets_no_forecast_gets_no_plan(inference: Inference, patient: Timeline) -> None:
    planner = _planner(inference, min_events=10_000)
    comparison = planner.compare(asked(patient), patient)
    assert comparison.abstention is not None
    assert comparison.abstention.reason is AbstentionReason.TOO_FEW_EVENTS


def test_what_the_model_never_learned_is_refused_by_name(
    planner: Planner, patient: Timeline
) -> None:
    unknown = _start(Code(CodeSystem.RXNORM, "0", "Unheard-of"), "unheard-of")
    decision = replace(GLYCAEMIA, choices=(*GLYCAEMIA.choices, unknown))
    with pytest.raises(UnknownPlanActionError, match="Start unheard-of"):
        planner.compare(asked(patient, decisions=(decision,)), patient)
    assert planner.plannable([METFORMIN.key, unknown.actions[0].code.key]) == (True, False)


def test_to_stop_something_is_refused_by_name(planner: Planner, patient: Timeline) -> None:
    """No probe says how usual it is to stop a drug, so no plan with a stop can be ranked."""
    start = GLYCAEMIA.choices[0]
    stop = PlanChoice(
        name="stop", label="Stop metformin", actions=(replace(start.actions[0], phase=Phase.END),)
    )
    decision = replace(GLYCAEMIA, choices=(start, stop))
    with pytest.raises(UnknownPlanActionError, match="Stop metformin"):
        planner.compare(asked(patient, decisions=(decision,)), patient)


@pytest.mark.parametrize("changes", [{"unit": "furlong"}, {"code": METFORMIN}])
def test_a_goal_that_the_model_does_not_foretell_is_refused_by_name(
    planner: Planner, patient: Timeline, changes: dict[str, Any]
) -> None:
    with pytest.raises(UnusableGoalError, match="Glucose"):
        planner.compare(asked(patient, goals=(replace(LOW_GLUCOSE, **changes),)), patient)


def test_risks_that_the_model_says_nothing_of_are_refused_by_name(
    planner: Planner, patient: Timeline
) -> None:
    """What can be asked for is what is foretold under a plan; a model may say nothing of it."""
    assert PLANNABLE_RISKS == FORETOLD
    vocabulary = planner.inference.tensorizer.vocabulary
    silent = replace(SMALL, says_family_risks=False)
    with pytest.raises(UnusableGoalError, match=Risk.INPATIENT):
        goals_of(asked(patient), vocabulary, silent)


def test_a_decision_beyond_what_is_known_to_be_usual_is_refused(
    planner: Planner, patient: Timeline
) -> None:
    late = replace(GLYCAEMIA, moments=(90 * DAY,))
    with pytest.raises(MalformedPlanQuestionError, match="within 90 days"):
        planner.compare(asked(patient, decisions=(late,)), patient)


def test_a_harder_goal_costs_no_less(planner: Planner, patient: Timeline) -> None:
    """The goals' part of the energy of no change grows as the goal moves away."""
    parts = []
    for high in (500.0, 90.0, 60.0):
        goals = (replace(LOW_GLUCOSE, high=high),)
        options = planner.compare(asked(patient, goals=goals, risks=()), patient).options
        none = next(option for option in options if not option.taken)
        parts.append(none.parts[0].amount)
    assert parts[0] == 0
    assert parts[0] < parts[1] < parts[2]


def test_limits_of_older_checkpoints_have_the_gate_too() -> None:
    old = AbstentionLimits().to_json()
    del old["min_support"]
    assert AbstentionLimits.from_json(old).min_support == 0.02
