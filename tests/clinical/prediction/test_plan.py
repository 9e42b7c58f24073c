"""A question about plans is whole, or refused; what was asked and said has one digest."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.constraint import Allergen, PlanRules
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import (
    PLANNABLE_RISKS,
    EnergyPart,
    Goal,
    MalformedPlanQuestionError,
    PlanChoice,
    PlanComparison,
    PlanDecision,
    PlanOption,
    PlanQuestion,
)
from clinical.prediction.prediction import Capsule, ModelFingerprint
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind
from tests.clinical.builders import GLUCOSE, PATIENT

NOW = datetime(2024, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
METFORMIN = Code(CodeSystem.RXNORM, "860975", "Metformin")
START = PlanChoice(
    name="metformin",
    label="Start metformin",
    actions=(Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=DAY),),
)
DECISION = PlanDecision(
    name="glucose", label="Glucose", choices=(START,), moments=(0 * DAY, 30 * DAY)
)
GOAL = Goal(name="glucose", label="Glucose below 100", code=GLUCOSE, unit="mg/dL", high=100.0)


def asked(**changes: Any) -> PlanQuestion:
    fields: dict[str, Any] = {
        "comparison_id": UUID(int=1),
        "patient_id": PATIENT,
        "as_of": NOW,
        "received_by": NOW,
        "decisions": (DECISION,),
        "goals": (GOAL,),
    }
    return PlanQuestion(**(fields | changes))


def test_a_decision_can_be_taken_as_each_choice_at_each_moment() -> None:
    ways = DECISION.ways()
    assert [(way.choice, way.after) for way in ways] == [
        ("metformin", 0 * DAY),
        ("metformin", 30 * DAY),
    ]
    assert [way.actions[0].after for way in ways] == [DAY, 31 * DAY]


@pytest.mark.parametrize(
    "changes",
    [
        {"decisions": ()},
        {"decisions": (DECISION, DECISION)},
        {"decisions": tuple(replace(DECISION, name=str(n)) for n in range(7))},
        {"goals": ()},
        {"goals": (GOAL, GOAL)},
        {"risks": (Risk.DEATH, Risk.DEATH)},
        {"risks": tuple(set(Risk) - set(PLANNABLE_RISKS))},
        {"num_options": 0},
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedPlanQuestionError):
        asked(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"choices": ()},
        {"choices": (START, START)},
        {"moments": ()},
        {"moments": (-DAY,)},
        {"choices": (replace(START, actions=()),)},
    ],
)
def test_a_decision_that_cannot_be_taken_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedPlanQuestionError):
        replace(DECISION, **changes)


@pytest.mark.parametrize("bounds", [{}, {"low": 2.0, "high": 1.0}])
def test_a_goal_has_bounds_in_order(bounds: dict[str, float]) -> None:
    with pytest.raises(MalformedPlanQuestionError):
        Goal(name="g", label="g", code=GLUCOSE, unit="mg/dL", **bounds)


def test_the_digest_is_of_what_was_asked_and_not_of_whom_or_when() -> None:
    digest = asked().config_digest
    assert asked(comparison_id=UUID(int=2), as_of=NOW - DAY).config_digest == digest
    others = [
        asked(seed=1),
        asked(risks=(Risk.DEATH,)),
        asked(goals=(replace(GOAL, high=99.0),)),
        asked(decisions=(replace(DECISION, moments=(DAY,)),)),
        asked(rules=PlanRules(allergens=(Allergen(name="x", actions=("a",), allergies=("b",)),))),
    ]
    assert len({digest, *(other.config_digest for other in others)}) == 6


def test_the_output_digest_covers_options_and_abstention() -> None:
    capsule = Capsule(
        input_digest="i",
        config_digest="c",
        model=ModelFingerprint(name="m", version="1", manifest_digest="d", vocabulary_digest="v"),
        code_version="1",
        torch_version="2",
        device="cpu",
        seed=0,
        num_events=3,
    )
    option = PlanOption(
        taken=(DECISION.ways()[0],),
        energy=0.5,
        parts=(EnergyPart("goals", 0.5),),
        support=0.2,
        least_usual="Glucose",
        readouts=(),
    )
    said = PlanComparison(
        options=(option,), excluded=(), abstention=None, num_considered=3, capsule=capsule
    )
    changed = [
        replace(said, options=(replace(option, energy=0.5000001),)),
        replace(said, options=(replace(option, support=0.1),)),
        replace(said, options=(replace(option, taken=()),)),
        replace(said, options=(), abstention=Abstention(AbstentionReason.PLAN_UNUSUAL, "rare")),
    ]
    assert len({said.output_digest, *(other.output_digest for other in changed)}) == 5
    assert replace(said, num_considered=9).output_digest == said.output_digest
