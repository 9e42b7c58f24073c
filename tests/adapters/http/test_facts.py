"""Facts in words: all digits as sent, ages as precise as the birth date."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters.http.facts import fact_of, patient_of, value_text
from adapters.http.schemas import Patient
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, EventValue
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import PATIENT, event

AS_OF = datetime(2024, 6, 15, 12, tzinfo=UTC)


def born(time: ClinicalTime | None, sex: str = "male") -> Patient:
    return patient_of(
        [event("p", kind=EventKind.PATIENT, code=Code(CodeSystem.GENDER, sex), occurred_at=time)],
        AS_OF,
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        ("two words", "two words"),
        (Code("x", "y", "Never smoker"), "Never smoker"),
        (Quantity(Decimal("105.00"), "mg/dL"), "105.00 mg/dL"),
        (Quantity(Decimal("0.1"), "ug/L", comparator=Comparator.LESS), "<0.1 ug/L"),
        (Quantity(Decimal(3), None, "puffs"), "3 puffs"),
        (Quantity(Decimal(3), "1"), "3"),
        (QuantityRange(Quantity(Decimal(1), "1"), None), "1 – ?"),
    ],
)
def test_a_value_keeps_the_digits_that_were_sent(value: EventValue, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("time", "years", "text"),
    [
        (ClinicalTime.day(1946, 6, 1), 78, "78"),
        (ClinicalTime.day(1946, 6, 30), 77, "77"),
        (ClinicalTime.year(1946), 77, "77–78"),
        (ClinicalTime.day(2023, 10, 1), None, "8 months"),
        (ClinicalTime.day(2022, 6, 1), 2, "2"),
        (ClinicalTime.day(2025, 1, 1), None, "0 months"),
        (None, None, None),
    ],
)
def test_an_age_is_as_precise_as_the_birth_date(
    time: ClinicalTime | None, years: int | None, text: str | None
) -> None:
    patient = born(time)
    assert (patient.sex, patient.age_years, patient.age) == ("male", years, text)


def test_an_empty_timeline_says_nothing_of_sex_or_age() -> None:
    assert patient_of([], AS_OF) == Patient(sex=None, age_years=None, age=None)


def test_a_fact_names_its_source_and_never_the_patient() -> None:
    timeline = Timeline.of(PATIENT, [event("o1", value="5.10", recorded=2)])
    fact = fact_of(timeline.standing[0])
    assert fact.source.reference == "Observation/o1"
    assert (fact.label, fact.value) == ("Glucose", "5.10 mg/dL")
    assert str(PATIENT) not in fact.model_dump_json()


def test_a_code_without_words_borrows_those_of_another_code() -> None:
    codes = {"code": Code(CodeSystem.ACT, "AMB"), "other_codes": (Code("x", "1", "Check-up"),)}
    timeline = Timeline.of(PATIENT, [event("e1", **codes)])
    assert fact_of(timeline.standing[0]).label == "Check-up"
