"""What may never be planned: each constraint by its name, from what is coded on record."""

from datetime import timedelta
from decimal import Decimal

import pytest

from clinical.prediction.action import Action
from clinical.prediction.constraint import (
    Allergen,
    AtMostOne,
    Broken,
    Constraint,
    DoseLimit,
    Interaction,
    OnRecord,
    PlanRules,
    broken,
)
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.quantity import Comparator, Quantity
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import PATIENT, event

AMOXICILLIN = Code(CodeSystem.RXNORM, "308182", "Amoxicillin 250 MG")
WARFARIN = Code(CodeSystem.RXNORM, "855332", "Warfarin 5 MG")
NAPROXEN = Code(CodeSystem.RXNORM, "849574", "Naproxen 220 MG")
IBUPROFEN = Code(CodeSystem.RXNORM, "310965", "Ibuprofen 200 MG")
PENICILLIN_ALLERGY = Code(CodeSystem.SNOMED_CT, "91936005", "Allergy to penicillin")
RULES = PlanRules(
    allergens=(Allergen(name="penicillin", actions=(AMOXICILLIN.key,), allergies=(PENICILLIN_ALLERGY.key,)),),
    interactions=(Interaction(name="bleeding", one=(WARFARIN.key,), other=(NAPROXEN.key, IBUPROFEN.key)),),
    dose_limits=(DoseLimit(action=NAPROXEN.key, most=Quantity(Decimal(500), "mg")),),
    alternatives=(AtMostOne(name="one NSAID", actions=(NAPROXEN.key, IBUPROFEN.key)),),
)  # fmt: skip
NOTHING = OnRecord(frozenset(), frozenset())


def _do(code: Code, dose: Quantity | None = None) -> Action:
    return Action(kind=EventKind.MEDICATION_REQUEST, code=code, after=timedelta(days=1), dose=dose)


def _record(*events: Event) -> OnRecord:
    return OnRecord.of(Timeline.of(PATIENT, events))


def _fact(kind: EventKind, code: Code, name: str = "r", at: float = 0, **changes: object) -> Event:
    return event(name, kind=kind, code=code, at=at, **changes)  # type: ignore[arg-type]


def _names(found: tuple[Broken, ...]) -> list[Constraint]:
    return [each.constraint for each in found]


def test_an_allergy_on_record_forbids_what_it_is_an_allergy_to() -> None:
    allergic = _record(_fact(EventKind.ALLERGY, PENICILLIN_ALLERGY))
    assert broken([_do(AMOXICILLIN)], allergic, RULES) == (
        Broken(Constraint.ALLERGY, "penicillin"),
    )
    assert broken([_do(NAPROXEN)], allergic, RULES) == ()
    assert broken([_do(AMOXICILLIN)], NOTHING, RULES) == ()


def test_an_allergy_to_the_very_drug_needs_no_rule() -> None:
    allergic = _record(_fact(EventKind.ALLERGY, IBUPROFEN))
    assert _names(broken([_do(IBUPROFEN)], allergic, PlanRules())) == [Constraint.ALLERGY]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"standing": Standing.TENTATIVE}, True),
        ({"standing": Standing.REFUTED}, False),
        ({"phase": Phase.END}, False),
    ],
)
def test_suspected_allergies_count_and_refuted_ones_do_not(
    changes: dict[str, object], counts: bool
) -> None:
    record = _record(_fact(EventKind.ALLERGY, PENICILLIN_ALLERGY, **changes))
    assert bool(broken([_do(AMOXICILLIN)], record, RULES)) is counts


def test_an_interaction_is_found_within_the_plan_and_with_what_is_on_record() -> None:
    within = broken([_do(WARFARIN), _do(NAPROXEN)], NOTHING, RULES)
    assert Broken(Constraint.INTERACTION, "bleeding") in within
    on_warfarin = _record(_fact(EventKind.MEDICATION_STATEMENT, WARFARIN))
    assert _names(broken([_do(IBUPROFEN)], on_warfarin, RULES)) == [Constraint.INTERACTION]


def test_what_only_the_record_brings_together_forbids_no_plan() -> None:
    both = _record(
        _fact(EventKind.MEDICATION_REQUEST, WARFARIN, "a"),
        _fact(EventKind.MEDICATION_REQUEST, NAPROXEN, "b"),
    )
    assert broken([_do(AMOXICILLIN)], both, RULES) == ()


@pytest.mark.parametrize("ended", [{"phase": Phase.END}, {"status": "stopped"}])
def test_a_medication_that_has_ended_interacts_no_more(ended: dict[str, object]) -> None:
    record = _record(
        _fact(EventKind.MEDICATION_REQUEST, WARFARIN, "a"),
        _fact(EventKind.MEDICATION_REQUEST, WARFARIN, "b", at=5, **ended),
    )
    assert broken([_do(NAPROXEN)], record, RULES) == ()


@pytest.mark.parametrize(
    ("dose", "forbidden"),
    [
        (Quantity(Decimal(500), "mg"), False),
        (Quantity(Decimal("500.01"), "mg"), True),
        (Quantity(Decimal(1), "g"), True),  # not compared, so not allowed
        (Quantity(Decimal(1), "mg", comparator=Comparator.GREATER), True),
        (None, False),
    ],
)
def test_a_dose_is_held_to_its_limit_in_the_limits_own_unit(
    dose: Quantity | None, forbidden: bool
) -> None:
    found = broken([_do(NAPROXEN, dose)], NOTHING, RULES)
    assert _names(found) == [Constraint.DOSE_LIMIT] * forbidden


def test_the_same_twice_and_two_alternatives_at_once_contradict() -> None:
    assert _names(broken([_do(WARFARIN), _do(WARFARIN)], NOTHING, RULES)) == [Constraint.REPEATED]
    both = broken([_do(NAPROXEN), _do(IBUPROFEN)], NOTHING, RULES)
    assert both == (Broken(Constraint.CONTRADICTORY, "one NSAID"),)


def test_leaving_an_action_out_never_breaks_a_constraint() -> None:
    """What the search relies on: a part of an allowed plan is allowed."""
    record = _record(_fact(EventKind.MEDICATION_STATEMENT, WARFARIN))
    plan = [_do(AMOXICILLIN), _do(NAPROXEN), _do(IBUPROFEN), _do(IBUPROFEN)]
    everything = {each.constraint for each in broken(plan, record, RULES)}
    for place in range(len(plan)):
        rest = plan[:place] + plan[place + 1 :]
        assert {each.constraint for each in broken(rest, record, RULES)} <= everything
