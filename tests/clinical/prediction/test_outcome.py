"""An outcome is what the record surely shows; where it cannot tell, it is unknown."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.prediction.outcome import Risk, happened, next_value
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.quantity import Comparator, Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import GLUCOSE, PATIENT, event, hours

WEEK = Horizon(timedelta(0), timedelta(days=7))
SECOND_WEEK = Horizon(timedelta(days=7), timedelta(days=14))
ASKED_AT = hours(100)
DAY = 24
EMERGENCY = Code(CodeSystem.ACT, "EMER")
INPATIENT = Code(CodeSystem.ACT, "IMP")
ASTHMA = Code(CodeSystem.SNOMED_CT, "195967001")


def encounter(name: str, at: float, code: Code = EMERGENCY, **changes: Any) -> Event:
    return event(name, at=at, kind=EventKind.ENCOUNTER, code=code, phase=Phase.START, **changes)


def condition(name: str, at: float, **changes: Any) -> Event:
    return event(name, at=at, **({"kind": EventKind.CONDITION, "code": ASTHMA} | changes))


def death(at: float) -> Event:
    return event("death", at=at, kind=EventKind.DEATH)


FOLLOWED = event("much later", at=100 + 400 * DAY)


def ask(risk: Risk, *events: Event, horizon: Horizon = WEEK) -> bool | None:
    return happened(risk, Timeline.of(PATIENT, events), ASKED_AT, horizon)


def test_an_emergency_encounter_that_begins_in_the_window_happened():
    assert ask(Risk.EMERGENCY, encounter("e", 100 + 3 * DAY)) is True
    assert ask(Risk.EMERGENCY, encounter("e", 100 + 3 * DAY, INPATIENT), FOLLOWED) is False
    assert ask(Risk.INPATIENT, encounter("e", 100 + 3 * DAY, INPATIENT)) is True


def test_the_class_of_an_encounter_may_stand_among_its_other_codes():
    admission = Code(CodeSystem.SNOMED_CT, "183452005")
    assert ask(Risk.INPATIENT, encounter("e", 120, admission, other_codes=(INPATIENT,))) is True


def test_the_end_of_an_earlier_encounter_is_no_new_one():
    ends = event("e", at=120, kind=EventKind.ENCOUNTER, code=EMERGENCY, phase=Phase.END, part="end")
    assert ask(Risk.EMERGENCY, encounter("e", 90), ends, FOLLOWED) is False


@pytest.mark.parametrize(
    ("after_hours", "first", "second"), [(7 * DAY, True, False), (7 * DAY + 1, False, True)]
)
def test_a_window_is_open_at_its_start_and_closed_at_its_end(after_hours, first, second):
    came = encounter("e", 100 + after_hours)
    assert ask(Risk.EMERGENCY, came, FOLLOWED) is first
    assert ask(Risk.EMERGENCY, came, FOLLOWED, horizon=SECOND_WEEK) is second


def test_nothing_happened_only_if_the_record_reaches_the_end_of_the_window():
    before_end = event("o", at=100 + 6 * DAY)
    assert ask(Risk.EMERGENCY, before_end) is None
    assert ask(Risk.EMERGENCY, before_end, FOLLOWED) is False


def test_after_a_death_the_record_is_complete():
    died = death(100 + 2 * DAY)
    assert ask(Risk.DEATH, died) is True
    assert ask(Risk.EMERGENCY, died) is False
    assert ask(Risk.DEATH, died, horizon=SECOND_WEEK) is False


def test_a_date_too_coarse_for_the_window_leaves_the_outcome_unknown():
    month = encounter("e", 0, occurred_at=ClinicalTime.month(2024, 3))
    year_later = encounter("e", 0, occurred_at=ClinicalTime.month(2025, 3))
    assert ask(Risk.EMERGENCY, month, FOLLOWED) is None
    assert ask(Risk.EMERGENCY, year_later, FOLLOWED) is False
    assert ask(Risk.EMERGENCY, month, encounter("sure", 120), FOLLOWED) is True


def test_an_undated_event_leaves_the_outcome_unknown():
    undated = encounter("e", 0, occurred_at=None, recorded_at=hours(120))
    assert ask(Risk.EMERGENCY, undated, FOLLOWED) is None


def test_a_condition_is_new_unless_it_was_known_at_the_question():
    assert ask(Risk.NEW_CONDITION, condition("c2", 120), FOLLOWED) is True
    assert ask(Risk.NEW_CONDITION, condition("c1", 50), condition("c2", 120), FOLLOWED) is False


def test_what_was_known_before_the_question_or_refuted_is_no_outcome():
    planned = encounter("e", 120, recorded_at=hours(90))
    refuted = condition("c", 120, standing=Standing.REFUTED)
    assert ask(Risk.EMERGENCY, planned, FOLLOWED) is False
    assert ask(Risk.NEW_CONDITION, refuted, FOLLOWED) is False


def test_a_retracted_event_never_happened():
    withdrawn = encounter("e", 120, content="2", updated=200, standing=Standing.RETRACTED)
    assert ask(Risk.EMERGENCY, encounter("e", 120, updated=121), withdrawn, FOLLOWED) is False


def _to(quantity: Quantity, unit: str) -> float | None:
    factors = {("mg/dL", "mg/dL"): 1.0, ("g/L", "mg/dL"): 100.0}
    factor = factors.get((quantity.unit or "", unit))
    return None if factor is None else float(quantity.value) * factor


def measured(at: float, quantity: Quantity) -> Event:
    return replace(event("a", at=at), value=quantity)


def first_value(*events: Event, horizon: Horizon = WEEK) -> float | None:
    timeline = Timeline.of(PATIENT, events)
    return next_value(GLUCOSE, "mg/dL", timeline, ASKED_AT, horizon, convert=_to)


def test_the_next_value_is_the_first_measured_in_the_window_in_the_unit_asked_for():
    assert first_value(event("b", at=130, value="110"), event("a", at=120, value="95")) == 95.0
    in_grams = measured(120, quantity=Quantity(Decimal("0.9"), "g/L"))
    assert first_value(in_grams) == pytest.approx(90)


def test_there_is_no_next_value_where_nothing_computable_was_measured():
    bound = Quantity(Decimal(400), "mg/dL", comparator=Comparator.GREATER)
    other_code = event("o", at=120, value="1", code=Code(CodeSystem.LOINC, "718-7"))
    assert first_value(measured(120, quantity=bound), other_code) is None
    assert first_value(measured(120, quantity=Quantity(Decimal(9), "mmol/L"))) is None
    assert first_value(event("a", at=50, value="95")) is None
    assert first_value(event("a", at=120, value="95"), horizon=SECOND_WEEK) is None


def discharge(at: float, code: Code = INPATIENT) -> Event:
    return event("d", at=at, kind=EventKind.ENCOUNTER, code=code, phase=Phase.END, part="end")


def stay(*events: Event) -> bool | None:
    return ask(Risk.DEATH_IN_HOSPITAL, *events, horizon=UNTIL_DISCHARGE)


def test_a_death_in_hospital_is_one_before_the_stay_ends():
    assert stay(discharge(150), death(150)) is True
    assert stay(discharge(150), death(140)) is True
    assert stay(discharge(150), death(151)) is False
    assert stay(discharge(150)) is False


def test_a_stay_that_has_not_ended_has_no_outcome():
    assert stay(FOLLOWED) is None
    assert stay(discharge(90), FOLLOWED) is None
    assert stay(discharge(150, EMERGENCY), FOLLOWED) is None
    nobody_says_when = replace(death(150), occurred_at=None, recorded_at=hours(150))
    assert stay(discharge(150), nobody_says_when) is None


def test_only_death_in_hospital_can_be_asked_until_discharge():
    assert ask(Risk.EMERGENCY, encounter("e", 120), FOLLOWED, horizon=UNTIL_DISCHARGE) is None
    assert ask(Risk.DEATH_IN_HOSPITAL, discharge(150), death(150)) is None
    code, unit = Code(CodeSystem.LOINC, "2339-0"), "mg/dL"
    timeline = Timeline.of(PATIENT, [event("g", at=120)])
    assert (
        next_value(code, unit, timeline, ASKED_AT, UNTIL_DISCHARGE, convert=lambda *_: 1.0) is None
    )
