"""Nabla's contract: one fixture per dated version of the API, and one per place where sources disagree."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from adapters.nabla import connect, core_events
from adapters.nabla.core_reader import CoreReader
from adapters.nabla.errors import MalformedEventError
from adapters.units import conversion
from clinical.services.delivery import Door
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Flag, Origin
from clinical.timeline.quantity import Quantity
from tests.adapters.nabla.test_nabla_readers import (
    callback,
    delivery,
    exported,
    normalized,
    observed,
)
from tests.adapters.nabla.versions import PRESSURE, RESPONSES


@pytest.mark.parametrize("version", RESPONSES)
def test_a_response_of_nabla_core_of_each_version_becomes_events_marked_as_derived_by_ai(
    version: str,
) -> None:
    reading = normalized(RESPONSES[version])
    condition, relative, pressure = reading.events
    assert reading.quarantined == []
    assert {event.origin for event in reading.events} == {Origin.AI_FROM_NOTE}
    assert condition.code == Code(CodeSystem.ICD_10_CM, "E11.9", "Type 2 diabetes")
    has_alternatives = version >= "2026-02-20"
    assert [code.value for code in condition.other_codes] == ["E11.8"] * has_alternatives
    assert (condition.status, condition.category) == ("active", "encounter-diagnosis")
    assert relative.value == Code(CodeSystem.ICD_10_CM, "C50.9", "Breast cancer")
    assert pressure.value == Quantity(Decimal(13), "cm[Hg]", "CENTIMETERS_OF_MERCURY")
    assert "SECRET" not in repr(reading)


def test_nabla_says_patient_instructions_as_a_text_or_the_demo_server_as_a_list() -> None:
    for instructions in ("SECRET words", ["SECRET", "words"]):
        content = callback(patient_instructions={"instructions": instructions})
        reading = exported(content | {"type": "PATIENT_INSTRUCTIONS_EXPORT"})
        (document,) = reading.events
        assert (document.kind, document.code.value) == (EventKind.DOCUMENT, "69730-0")
        assert document.source.reference == "NablaInstructions/e1/u1"
        assert document.origin is Origin.AI_FROM_NOTE
        assert "SECRET" not in repr(reading)


def test_nabla_says_a_transcript_as_a_list_or_the_prototype_as_an_object() -> None:
    item = {"text": "SECRET words", "speaker_type": "DOCTOR", "start_offset_ms": 0}
    for transcript in ([item], {"items": [item]}):
        reading = exported(callback(transcript=transcript))
        assert (len(reading.events), reading.quarantined) == (2, [])


def test_the_prose_of_nabla_has_a_singular_category_and_another_system_for_icd_10() -> None:
    coding = {"system": "http://hl7.org/fhir/sid/icd-10", "code": "R51", "text": "SECRET words"}
    item = {"coding": coding, "clinical_status": "active", "category": "PROBLEM_LIST_ITEM"}
    (event,) = normalized({"conditions": [item]}).events
    assert (event.code.key, event.category) == ("ICD-10|R51", "problem-list-item")
    assert "SECRET" not in repr(event)


@pytest.mark.parametrize(
    "coding",
    [{"system": PRESSURE["system"], "code": "8480-6"}, [PRESSURE], "http://loinc.org:8480-6"],
)
def test_canvas_saw_nabla_send_a_coding_as_an_object_a_list_or_a_text(coding: Any) -> None:
    item = {"coding": coding, "value_quantity": {"value": 1, "code": "%"}}
    (event,) = normalized({"observations": [item]}).events
    assert event.code.key == "LOINC|8480-6"


def core_event(**changes: Any) -> dict[str, Any]:
    data = {"id": "job-1", "client_request_id": "c", "status": "SUCCEEDED", "payload": {"a": 1}}
    return {
        "id": "5a1cf9f0-0b7e-4e67-9f54-97b4c9a3a5a5",
        "created_at": "2026-07-01T10:00:00Z",
        "type": "generate_normalized_data_async.succeeded",
        "data": data | changes,
    }


def job(content: Any) -> core_events.Job | None:
    return core_events.job_of(core_events.parse_event(json.dumps(content).encode()))


def test_the_example_of_nabla_core_nests_an_event_twice() -> None:
    plain = core_event()
    nested = plain | {"data": {"data": plain["data"]}}
    for content in (plain, nested):
        found = job(content)
        assert found is not None
        assert (found.id, found.has_succeeded, found.result) == ("job-1", True, b'{"a": 1}')


def test_the_example_of_nabla_core_has_the_status_in_lower_case() -> None:
    for status in ("SUCCEEDED", "succeeded", "Succeeded"):
        found = job(core_event(status=status))
        assert found is not None
        assert found.has_succeeded


@pytest.mark.parametrize("kind", ["generate_note_async", "transcribe_async", "dictate_async"])
def test_events_of_nabla_core_that_nobody_asked_for_are_counted_and_give_no_events(
    kind: str,
) -> None:
    content = core_event() | {"type": f"{kind}.succeeded"}
    reading = CoreReader().read(delivery(Door.NABLA_CORE, content))
    assert (reading.events, reading.quarantined) == ([], [])
    assert reading.counts == {f"skipped:{kind}": 1}


def test_an_event_of_nabla_core_of_no_known_type_is_no_fault() -> None:
    content = core_event() | {"type": "brand_new.happened", "data": 7}
    reading = CoreReader().read(delivery(Door.NABLA_CORE, content))
    assert (reading.quarantined, reading.counts) == ([], {"skipped:other": 1})


def test_a_failed_event_of_nabla_core_is_set_aside_with_its_number() -> None:
    payload = {"error_code": 83023, "error_message": "SECRET words"}
    content = core_event(status="failed", payload=payload)
    content["type"] = "generate_normalized_data_async.failed"
    reading = CoreReader().read(delivery(Door.NABLA_CORE, content))
    (aside,) = reading.quarantined
    assert (aside.reason_code, "83023" in aside.detail) == ("nabla.failed_job", True)
    assert "SECRET" not in repr(reading)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":"","type":"x"}', b'{"id":7}'])
def test_what_is_no_envelope_of_nabla_core_is_named_and_set_aside(body: bytes) -> None:
    with pytest.raises(MalformedEventError):
        core_events.parse_event(body)
    reading = CoreReader().read(delivery(Door.NABLA_CORE, body))
    assert reading.quarantined[0].reason_code == "nabla.malformed_event"


@pytest.mark.parametrize("size", [0, 1, 50, 20_000])
def test_data_that_are_nested_without_end_are_no_job(size: int) -> None:
    nested = b'{"data":' * size + b"1" + b"}" * size
    event = core_events.CoreEvent(id="1", type="x", data=core_events.Raw(nested))
    assert core_events.job_of(event) is None


INCH = Fraction(254, 10_000)  # of a metre, exactly
EXACT = [
    ("CENTIMETERS_OF_MERCURY", "mm[Hg]", Fraction(10), Fraction(0)),
    ("INCH", "cm", INCH * 100, Fraction(0)),
    ("FOOT", "m", INCH * 12, Fraction(0)),
    ("POUND", "kg", Fraction(45_359_237, 100_000_000), Fraction(0)),
    ("FAHRENHEIT", "Cel", Fraction(5, 9), Fraction(-160, 9)),
    ("METER", "cm", Fraction(100), Fraction(0)),
    ("MILLIMETER", "cm", Fraction(1, 10), Fraction(0)),
]


@pytest.mark.parametrize(("unit", "to", "factor", "offset"), EXACT)
def test_units_of_nabla_convert_by_their_exact_factors(
    unit: str, to: str, factor: Fraction, offset: Fraction
) -> None:
    (event,) = observed(value_quantity={"value": 98.6, "unit": unit}).events
    assert isinstance(event.value, Quantity)
    assert event.value.unit is not None
    found = conversion(event.value.unit, to)
    assert found is not None
    assert found == pytest.approx((float(factor), float(offset)), rel=1e-12, abs=1e-9)
    assert event.value.unit_text == unit


@pytest.mark.parametrize(
    ("system", "unit"),
    [
        ("https://ucum.org", "mm[Hg]"),
        ("https://ucum.org/", "mm[Hg]"),
        ("http://unitsofmeasure.org", "mm[Hg]"),
        (None, "mm[Hg]"),
        ("http://example.org/units", None),
        (7, None),
    ],
)
def test_the_address_that_nabla_has_for_ucum_is_ucum_and_another_is_not(
    system: Any, unit: str | None
) -> None:
    quantity = {"value": 120, "system": system, "code": "mm[Hg]"}
    (event,) = observed(value_quantity=quantity).events
    assert event.value == Quantity(Decimal(120), unit, "mm[Hg]")
    assert (Flag.UNKNOWN_UNIT in event.flags) == (unit is None)


def test_a_value_of_nabla_without_any_unit_is_kept_and_cannot_be_computed_with() -> None:
    (event,) = observed(value_quantity={"value": 120, "system": "https://ucum.org"}).events
    assert event.value == Quantity(Decimal(120), None, "")
    assert Flag.UNKNOWN_UNIT in event.flags


def test_a_callback_of_connect_with_fields_and_categories_of_the_future_is_taken() -> None:
    content = callback(brand_new={"a": 1})
    content["data"]["note"]["sections"][0] |= {"category": "BRAND_NEW", "more": [1]}
    reading = exported(content | {"beside": True})
    assert reading.events[0].category == "BRAND_NEW,CHIEF_COMPLAINT,null"
    assert connect.parse_callback(json.dumps(content).encode()).request_uuid == "u1"
