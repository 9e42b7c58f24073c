"""Questions about plans and their answers: returned exactly, refused by name, never believed unsound."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import httpx
import pytest

from adapters.care_plans.reader import read_library
from adapters.model_server import wire
from adapters.model_server.client import (
    HttpModelServer,
    MalformedAnswerError,
    MisdirectedAnswerError,
)
from adapters.model_server.soundness import is_sound_comparison
from clinical.errors import Loudness
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.constraint import Constraint
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import (
    EnergyPart,
    Excluded,
    PlanChoice,
    PlanComparison,
    PlanDecision,
    PlanOption,
    PlanQuestion,
    UnknownPlanActionError,
)
from clinical.timeline.code import Code
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from tests.adapters.model_server.builders import FINGERPRINT, forecast_for, question

LIBRARY = read_library()
DOSED = PlanDecision(
    name="dosed",
    label="Dosed",
    choices=(
        PlanChoice(
            name="half",
            label="Half",
            actions=(
                Action(
                    kind=EventKind.MEDICATION_REQUEST,
                    code=Code("RxNorm", "1", "é"),
                    after=timedelta(hours=1.5),
                    dose=Quantity(Decimal("0.50"), "mg"),
                ),
            ),
        ),
    ),
)


def asked() -> tuple[PlanQuestion, Timeline]:
    request, timeline = question()
    return (
        PlanQuestion(
            comparison_id=UUID(int=4),
            patient_id=request.patient_id,
            as_of=request.as_of,
            received_by=request.received_by,
            decisions=(*LIBRARY.decisions[:3], DOSED),
            goals=LIBRARY.goals[:2],
            risks=(Risk.INPATIENT,),
            rules=LIBRARY.rules,
        ),
        timeline,
    )


def compared(about: PlanQuestion, timeline: Timeline) -> PlanComparison:
    """A sound answer to the question."""
    forecast = forecast_for(question()[0], timeline)
    way = about.decisions[0].ways()[0]
    options = tuple(
        PlanOption(
            taken=(way,) * place,
            energy=0.1 + place / 3,
            parts=(EnergyPart("goals", 0.1 + place / 3),),
            support=0.25,
            least_usual="x",
            readouts=forecast.readouts,
        )
        for place in range(2)
    )
    excluded = Excluded(
        decision="a", choice="b", label="c", constraint=Constraint.ALLERGY, detail="d"
    )
    return PlanComparison(
        options=options,
        excluded=(excluded,),
        abstention=None,
        num_considered=5,
        capsule=dataclasses.replace(forecast.capsule, config_digest=about.config_digest),
    )


def server_saying(answer: wire.Answer) -> HttpModelServer:
    def reply(request: httpx.Request) -> httpx.Response:
        is_asked_who = request.url.path == "/fingerprint"
        told = wire.FingerprintAnswer(FINGERPRINT) if is_asked_who else answer
        return httpx.Response(200, content=wire.encode_answer(told))

    return HttpModelServer("http://model", 1.0, transport=httpx.MockTransport(reply))


def test_a_question_about_plans_arrives_as_it_was_sent() -> None:
    about, timeline = asked()
    arrived = wire.decode_question(wire.encode_plan_question(about, timeline))
    assert arrived == wire.PlansAsked(about, timeline)
    assert isinstance(arrived, wire.PlansAsked)
    assert arrived.question.config_digest == about.config_digest


def test_a_comparison_arrives_as_it_was_sent() -> None:
    said = compared(*asked())
    arrived = server_saying(wire.PlanAnswer(said)).compare_plans(*asked())
    assert arrived == said
    assert arrived.output_digest == said.output_digest


def test_what_can_be_planned_is_asked_and_told_in_order() -> None:
    actions = ("a|1", "b|2")
    arrived = wire.decode_question(wire.encode_plannable_question(actions))
    assert arrived == wire.PlannableQuestion(actions)
    server = server_saying(wire.PlannableAnswer((True, False)))
    assert server.plannable(actions) == (True, False)
    with pytest.raises(MalformedAnswerError):
        server.plannable(("a|1",))


def test_a_refusal_about_plans_keeps_its_name_and_words() -> None:
    refusal = wire.Refusal("plan.unknown_action", "never learned: X", Loudness.REJECTED)
    with pytest.raises(UnknownPlanActionError, match="never learned: X"):
        server_saying(refusal).compare_plans(*asked())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: dataclasses.replace(said, options=()),
        lambda said: dataclasses.replace(said, options=said.options[::-1]),
        lambda said: dataclasses.replace(
            said, options=(dataclasses.replace(said.options[0], support=float("nan")),)
        ),
        lambda said: dataclasses.replace(
            said, options=(dataclasses.replace(said.options[0], support=1.5),)
        ),
        lambda said: dataclasses.replace(
            said, abstention=Abstention(AbstentionReason.PLAN_UNUSUAL, "x")
        ),
        lambda said: dataclasses.replace(
            said,
            options=(dataclasses.replace(said.options[0], parts=(EnergyPart("g", float("inf")),)),),
        ),
    ],
)
def test_a_comparison_that_does_not_hold_together_is_not_believed(
    spoil: Callable[[PlanComparison], PlanComparison],
) -> None:
    said = compared(*asked())
    assert is_sound_comparison(said)
    with pytest.raises(MalformedAnswerError):
        server_saying(wire.PlanAnswer(spoil(said))).compare_plans(*asked())


def test_an_answer_to_another_question_is_not_taken() -> None:
    about, timeline = asked()
    other = dataclasses.replace(about, seed=1)
    with pytest.raises(MisdirectedAnswerError):
        server_saying(wire.PlanAnswer(compared(about, timeline))).compare_plans(other, timeline)


def test_an_answer_of_another_sort_is_not_taken() -> None:
    answer = wire.PlannableAnswer((True,))
    with pytest.raises(MalformedAnswerError):
        server_saying(answer).compare_plans(*asked())
