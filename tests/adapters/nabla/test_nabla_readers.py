"""Nabla's notes and normalised data become events derived by AI, in every shape that was seen."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.nabla import connect
from adapters.nabla.core_reader import CoreReader
from adapters.nabla.errors import MalformedCallbackError, UnknownCallbackError
from adapters.nabla.reader import ConnectReader, NormalizedReader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Flag, Origin, Phase
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity, QuantityRange
from clinical.timeline.timeline import Timeline

RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)
ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def delivery(door: Door, content: Any, received_at: datetime = RECEIVED) -> Delivery:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Delivery(
        delivery_id=UUID(int=1),
        site="north",
        door=door,
        sender_id="x",
        body=body,
        content_type="application/json",
        received_at=received_at,
    )


def callback(**changes: Any) -> dict[str, Any]:
    data = {
        "external_patient_id": "p1",
        "external_encounter_id": "e1",
        "external_provider_id": "dr",
        "note": {
            "sections": [
                {"title": "Complaint", "content": "SECRET words", "category": "CHIEF_COMPLAINT"},
                {"title": "More", "content": "SECRET words", "category": "CHIEF_COMPLAINT"},
                {"title": "Odd", "content": "SECRET words", "category": None, "future": 1},
            ]
        },
        "visit_diagnoses": [
            {
                "system": ICD,
                "code": "R51.9",
                "display": "Headache",
                "is_hcc": False,
                "is_mcc": False,
            }
        ],
    }
    return {"request_uuid": "u1", "type": "NOTE_EXPORT", "data": data | changes}


def exported(content: Any) -> Reading:
    return ConnectReader().read(delivery(Door.NABLA_CONNECT, content))


def normalized(response: Any, /, **changes: Any) -> Reading:
    envelope = {
        "external_patient_id": "p1",
        "external_encounter_id": "e1",
        "encounter_time": "2024-03-01T08:00:00Z",
        "note_exported_at": "2024-03-01T09:00:00Z",
        "response": response,
    }
    return NormalizedReader().read(delivery(Door.NABLA_NORMALIZED, envelope | changes))


def observed(**elements: Any) -> Reading:
    coding = {"system": "http://loinc.org", "code": "8480-6", "display": "Systolic"}
    return normalized({"observations": [{"coding": coding, **elements}]})


def test_a_note_is_a_document_and_its_diagnoses_known_from_when_it_came() -> None:
    note, diagnosis = exported(callback()).events
    assert (note.kind, note.category) == (EventKind.DOCUMENT, "CHIEF_COMPLAINT,null")
    assert diagnosis.code == Code(CodeSystem.ICD_10_CM, "R51.9", "Headache")
    for event in (note, diagnosis):
        assert event.origin is Origin.AI_FROM_NOTE
        assert event.patient_id == PatientRef("north", "p1").patient_id
        assert event.encounter == "Encounter/e1"
        assert event.source.reference == "NablaNote/e1/u1"
        assert (event.occurred_at, event.available_at) == (None, RECEIVED)


@pytest.mark.parametrize(
    "transcript",
    [[{"text": "SECRET words", "speaker_type": "DOCTOR"}], {"items": [{"text": "SECRET words"}]}],
)
def test_no_free_text_of_a_note_becomes_part_of_an_event(transcript: Any) -> None:
    reading = exported(callback(transcript=transcript))
    assert len(reading.events) == 2
    assert "SECRET" not in repr(reading)


def test_a_note_exported_again_takes_the_place_of_the_first() -> None:
    first = exported(callback()).events
    changed = callback(visit_diagnoses=[]) | {"request_uuid": "u2"}
    later = datetime(2026, 1, 2, tzinfo=UTC)
    second = ConnectReader().read(delivery(Door.NABLA_CONNECT, changed, later)).events
    timeline = Timeline.of(first[0].patient_id, [*first, *second])
    assert [event.source.version for event in timeline] == ["u2"]


def test_the_answer_is_exactly_the_request_uuid() -> None:
    parsed = connect.parse_callback(json.dumps(callback()).encode())
    assert connect.answer(parsed) == b'{"request_uuid":"u1"}'


@pytest.mark.parametrize("type_", ["NOTE_DRAFT", "note_export", ""])
def test_a_callback_of_another_type_is_a_named_error_and_quarantined(type_: str) -> None:
    content = callback() | {"type": type_}
    parsed = connect.parse_callback(json.dumps(content).encode())
    with pytest.raises(UnknownCallbackError):
        connect.note_export(parsed)
    assert exported(content).quarantined[0].reason_code == "nabla.unknown_callback"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"request_uuid":7,"type":"NOTE_EXPORT"}',
        b'{"request_uuid":"","type":"x"}',
        b'{"request_uuid":"a\\nb","type":"x"}',
        b'{"request_uuid":"u","type":"NOTE_EXPORT","data":',
    ],
)
def test_what_is_no_envelope_is_a_named_error(body: bytes) -> None:
    with pytest.raises(MalformedCallbackError):
        connect.parse_callback(body)


@pytest.mark.parametrize("changes", [{"external_patient_id": ""}, {"note": 7}, {"note": None}])
def test_data_that_lack_what_is_needed_are_quarantined(changes: dict[str, Any]) -> None:
    reading = exported(callback(**changes))
    assert reading.quarantined[0].reason_code == "nabla.malformed_callback"


def test_a_condition_happened_at_the_encounter_and_is_known_from_the_export() -> None:
    coding = {"system": ICD, "code": "E11.9", "display": "T2DM", "is_hcc": True, "is_mcc": False}
    active, resolved = normalized(
        {
            "conditions": [
                {
                    "coding": coding,
                    "alternative_coding": [{"system": ICD, "code": "E11.8"}],
                    "clinical_status": "ACTIVE",
                    "categories": ["PROBLEM_LIST_ITEM", "ENCOUNTER_DIAGNOSIS"],
                    "corresponding_note_problem": "SECRET words",
                },
                {"coding": coding, "clinical_status": "RESOLVED", "categories": []},
            ],
            "family_history": [],
            "observations": [],
        }
    ).events
    assert active.code == Code(CodeSystem.ICD_10_CM, "E11.9", "T2DM")
    assert [code.value for code in active.other_codes] == ["E11.8"]
    assert (active.status, active.category) == ("active", "problem-list-item,encounter-diagnosis")
    assert active.occurred_at is not None
    assert active.occurred_at.text == "2024-03-01T08:00:00Z"
    assert active.available_at == datetime(2024, 3, 1, 9, tzinfo=UTC)
    assert active.origin is Origin.AI_FROM_NOTE
    assert "SECRET" not in repr(active)
    assert (resolved.phase, resolved.occurred_at) == (Phase.END, None)


@pytest.mark.parametrize(
    ("coding", "key"),
    [
        ({"system": ICD, "code": "R51"}, "ICD-10-CM|R51"),
        ([{"system": ICD, "code": "R51", "is_hcc": False}], "ICD-10-CM|R51"),
        ("ICD-10:R51", "ICD-10|R51"),
        ("ICD-10-CM: R51", "ICD-10-CM|R51"),
        ({"system": "http://hl7.org/fhir/sid/icd-10", "code": "R51"}, "ICD-10|R51"),
        ("headache", "text|headache"),
    ],
)
def test_a_coding_is_understood_in_every_shape_that_was_seen(coding: Any, key: str) -> None:
    item = {"coding": coding, "clinical_status": "ACTIVE", "category": "X", "is_hcc": True}
    (event,) = normalized({"conditions": [item]}).events
    assert event.code.key == key


def test_what_a_relative_had_is_an_observation_of_the_relation() -> None:
    item = {
        "relationship": "MOTHER",
        "conditions": [{"coding": {"system": ICD, "code": "C50"}, "clinical_status": "ACTIVE"}],
    }
    (event,) = normalized({"family_history": [item]}).events
    assert (event.kind, event.category) == (EventKind.OBSERVATION, "family-history")
    assert (event.code.value, event.value) == ("MTH", Code(CodeSystem.ICD_10_CM, "C50"))


@pytest.mark.parametrize(
    ("amount", "unit"),
    [
        ({"unit": "CENTIMETERS_OF_MERCURY"}, "cm[Hg]"),
        ({"unit": "FOOT"}, "[ft_i]"),
        ({"unit": "INCH"}, "[in_i]"),
        ({"unit": "POUND"}, "[lb_av]"),
        ({"unit": "FAHRENHEIT"}, "[degF]"),
        ({"unit": "BEATS_PER_MINUTE", "code": "/min"}, "/min"),
        ({"code": "mm[Hg]"}, "mm[Hg]"),
        ({"unit": "mmHg"}, "mm[Hg]"),
        ({}, None),
        ({"unit": "FOOT", "code": "cm"}, None),
        ({"unit": "PARSEC"}, None),
    ],
)
def test_a_unit_is_ucum_with_the_original_kept_or_unknown_and_flagged(
    amount: dict[str, str], unit: str | None
) -> None:
    quantity = {"value": 13.50, "system": "https://ucum.org", **amount}
    reading = observed(value_quantity=quantity)
    (event,) = reading.events
    text = amount.get("unit") or amount.get("code") or ""
    assert event.value == Quantity(Decimal("13.5"), unit, text)
    assert (Flag.UNKNOWN_UNIT in event.flags) == (unit is None)
    assert reading.counts[f"unmapped_unit:{text or '(none)'}"] == (unit is None)


def test_a_range_and_the_digits_of_a_value_are_kept() -> None:
    body = json.dumps({"conditions": [], "observations": []})
    (event,) = observed(
        value_range={"low": {"value": 120, "unit": "mmHg"}, "high": {"value": 140, "unit": "mmHg"}}
    ).events
    assert event.value == QuantityRange(
        Quantity(Decimal(120), "mm[Hg]", "mmHg"), Quantity(Decimal(140), "mm[Hg]", "mmHg")
    )
    envelope = {
        "external_patient_id": "p",
        "external_encounter_id": "e",
        "response": "RESPONSE",
        "note_exported_at": "2024-03-01T09:00:00Z",
        "encounter_time": None,
    }
    response = (
        '{"observations":[{"coding":"a:b","value_quantity":{"value":36.60,"unit":"CELSIUS"}}]}'
    )
    text = json.dumps(envelope).replace('"RESPONSE"', response).encode()
    (event,) = NormalizedReader().read(delivery(Door.NABLA_NORMALIZED, text)).events
    assert isinstance(event.value, Quantity)
    assert str(event.value.value) == "36.60"
    assert event.occurred_at is None
    assert body


def test_a_bad_item_is_quarantined_with_its_place_and_the_others_go_on() -> None:
    good = {"coding": {"system": ICD, "code": "R51"}, "clinical_status": "ACTIVE"}
    reading = normalized(
        {
            "conditions": [good, 7, {"clinical_status": "ACTIVE"}, good],
            "observations": [{"coding": "a:b", "value_quantity": {"value": "much"}}],
        }
    )
    assert len(reading.events) == 2
    assert [(each.position, each.reason_code) for each in reading.quarantined] == [
        ("conditions[1]", "nabla.malformed_item"),
        ("conditions[2]", "nabla.malformed_item"),
        ("observations[0]", "nabla.malformed_item"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"external_patient_id": ""},
        {"external_encounter_id": "a\0b"},
        {"note_exported_at": "2024-03-01T09:00:00"},
        {"note_exported_at": None},
        {"encounter_time": "2024-02-30"},
        {"encounter_time": "2024-03-01T08:00:00"},
        {"response": {}},
        {"response": []},
    ],
)
def test_an_envelope_that_lacks_what_is_needed_is_quarantined_whole(changes: Any) -> None:
    reading = normalized({"conditions": []}, **changes)
    assert reading.quarantined[0].reason_code == "nabla.malformed_response"
    assert reading.events == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_quarantined(body: bytes) -> None:
    for reader, door in (
        (ConnectReader(), Door.NABLA_CONNECT),
        (NormalizedReader(), Door.NABLA_NORMALIZED),
        (CoreReader(), Door.NABLA_CORE),
    ):
        assert len(reader.read(delivery(door, body)).quarantined) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "coding",
                    "system",
                    "code",
                    "value",
                    "unit",
                    "value_quantity",
                    "low",
                    "value_range",
                    "relationship",
                    "conditions",
                    "clinical_status",
                    "categories",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(_JSON)
def test_any_items_are_read_or_quarantined(item: Any) -> None:
    lists = {"conditions": [item], "family_history": [item], "observations": [item]}
    reading = normalized(lists)
    assert all(quarantined.reason_code.startswith("nabla.") for quarantined in reading.quarantined)
    again = exported(callback(visit_diagnoses=[item]))
    assert len(again.events) + len(again.quarantined) == 2
