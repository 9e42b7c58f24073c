"""Whatever is sent: a reason that names element and rule, nothing lost, nothing crashes."""

import gzip
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.body import MAX_BODY_BYTES
from adapters.fhir.reader import BulkReader, StrictReader
from tests.adapters.fhir import records
from tests.adapters.fhir.records import amount, concept, condition, observation, refusal


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "fhir.not_json"),
        (b"<Patient/>", "fhir.not_json"),
        (b"not json", "fhir.not_json"),
        (b'{"resourceType":"Bundle","entry":[', "fhir.not_json"),
        (b'\xff\xfe{"resourceType":"Patient"}', "fhir.not_json"),
        (b"[]", "fhir.not_an_object"),
        (b'"Patient"', "fhir.not_an_object"),
        (b"{}", "fhir.no_resource_type"),
        (b'{"resourceType":7}', "fhir.no_resource_type"),
        (b'{"resourceType":"Bundle","entry":{}}', "fhir.wrong_type"),
        (
            b'{"resourceType":"Bundle","entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "fhir.too_deep",
        ),
    ],
)
def test_a_body_that_is_nothing_is_quarantined_whole(body: bytes, reason: str) -> None:
    reading = records.in_both_lanes(body)
    (quarantined,) = reading.quarantined
    assert quarantined.reason_code == reason
    assert reading.events == []


@pytest.mark.parametrize("resource_type", ["Nonsense", "patient", ""])
def test_a_resource_of_no_known_type_is_quarantined(resource_type: str) -> None:
    reading = records.read({"resourceType": resource_type, "id": "x"})
    assert reading.quarantined[0].reason_code in {
        "fhir.unknown_resource_type",
        "fhir.no_resource_type",
    }


def test_types_that_carry_no_event_are_counted_and_not_quarantined() -> None:
    body = records.bundle(
        {"resourceType": "Claim", "id": "a"},
        {"id": "b", "resourceType": "Organization"},
        {"resourceType": "Medication", "id": "c"},
    )
    reading = records.in_both_lanes(body)
    assert reading.quarantined == []
    assert reading.counts == {
        "skipped:Claim": 1,
        "skipped:Organization": 1,
        "skipped:Medication": 1,
    }


def test_an_empty_bundle_is_a_reading_with_nothing_and_a_count() -> None:
    for body in (b'{"resourceType":"Bundle"}', b'{"resourceType":"Bundle","entry":[]}'):
        reading = records.in_both_lanes(body)
        assert (reading.events, reading.quarantined) == ([], [])
        assert reading.counts == {"empty:delivery": 1}


def test_a_bad_entry_is_quarantined_with_its_position_and_the_rest_goes_on() -> None:
    good = [observation(id=f"o{number}") for number in range(3)]
    entries: list[Any] = [{"resource": each} for each in good]
    entries.insert(1, {"resource": observation(id="bad", zzz=1)})
    entries.insert(2, 7)
    entries.insert(3, {"resource": None, "fullUrl": 9})
    entries.insert(4, {"request": {"method": "DELETE", "url": "Observation?code=1"}})
    body = json.dumps({"resourceType": "Bundle", "entry": entries}).encode()
    reading = records.in_both_lanes(body)
    assert [event.source.record_id for event in reading.events] == ["o0", "o1", "o2"]
    assert [(each.position, each.reason_code) for each in reading.quarantined] == [
        ("entry[1]", "fhir.unknown_element"),
        ("entry[2]", "fhir.entry_without_resource"),
        ("entry[3]", "fhir.wrong_type"),
        ("entry[4]", "fhir.deletion_not_read"),
    ]
    assert reading.quarantined[0].record_id == "bad"


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"zzz": 1}, "fhir.unknown_element", "zzz"),
        ({"code": {"codin": []}}, "fhir.unknown_element", "code.codin"),
        ({"status": None}, "fhir.missing_element", "status"),
        ({"code": None}, "fhir.missing_element", "code"),
        ({"status": 7}, "fhir.wrong_type", "status"),
        ({"status": "nonsense"}, "fhir.code_not_allowed", "status"),
        ({"status": ["final"]}, "fhir.wrong_type", "status"),
        ({"code": {"text": ""}}, "fhir.empty_string", "code.text"),
        ({"code": {}}, "fhir.missing_code", "code"),
        ({"id": "a b"}, "fhir.bad_id", "id"),
        ({"id": "x" * 65}, "fhir.bad_id", "id"),
        ({"effectiveDateTime": "2023-02-29"}, "fhir.impossible_time", "effectiveDateTime"),
        (
            {"effectiveDateTime": "2023-02-28T25:00:00Z"},
            "fhir.impossible_time",
            "effectiveDateTime",
        ),
        ({"effectiveDateTime": "2023-02-28T12:00:00"}, "fhir.impossible_time", "effectiveDateTime"),
        ({"issued": "2023-02-30T12:00:00Z"}, "fhir.impossible_time", "issued"),
        (
            {"meta": {"lastUpdated": "2023-02-30T12:00:00Z"}},
            "fhir.impossible_time",
            "meta.lastUpdated",
        ),
        ({"valueString": "a", "valueBoolean": True}, "fhir.two_values", "value[x]"),
        ({"valueInteger": 2**31}, "fhir.number_out_of_range", "valueInteger"),
        ({"valueQuantity": {"value": "5"}}, "fhir.wrong_type", "valueQuantity.value"),
        ({"valueQuantity": amount("1e400")}, "fhir.number_out_of_range", "valueQuantity.value"),
        (
            {"valueQuantity": {"value": 5, "comparator": "~"}},
            "fhir.code_not_allowed",
            "valueQuantity",
        ),
        ({"valueString": "a\0b"}, "fhir.forbidden_character", ""),
        ({"subject": None}, "fhir.missing_patient", "subject"),
        ({"subject": {}}, "fhir.missing_patient", "subject"),
        ({"subject": {"identifier": {"value": "1"}}}, "fhir.logical_reference", "subject"),
        ({"subject": {"reference": "Patient?identifier=1"}}, "fhir.logical_reference", "subject"),
        ({"subject": {"reference": "#p"}}, "fhir.logical_reference", "subject"),
        ({"subject": {"reference": "urn:uuid:nobody"}}, "fhir.unresolved_reference", "subject"),
        ({"subject": {"reference": "Device/d"}}, "fhir.subject_not_patient", "subject"),
        ({"subject": {"reference": "Patient/a b"}}, "fhir.bad_id", "subject"),
        (
            {"modifierExtension": [{"url": "http://x", "valueCode": "a"}]},
            "fhir.unknown_modifier",
            "",
        ),
        ({"implicitRules": "http://rules"}, "fhir.unknown_modifier", ""),
    ],
)
def test_a_broken_rule_is_named_with_its_element(
    changes: dict[str, Any], reason: str, path: str
) -> None:
    found, detail = refusal(observation(**changes))
    assert found == reason
    assert detail.startswith(path)


def test_the_reason_never_holds_a_value_from_the_record() -> None:
    secret = "Jane-Doe-1970"
    for changes in (
        {"status": secret},
        {"effectiveDateTime": secret},
        {"id": f"{secret} "},
        {"subject": {"reference": f"urn:uuid:{secret}"}},
        {"valueQuantity": {"value": secret}},
        {f"{secret} said": 1},
        {"code": {"coding": [{"system": 5, "code": secret}]}},
    ):
        _, detail = refusal(observation(**changes))
        assert secret not in detail


def test_two_values_of_one_choice_are_refused_in_every_kind() -> None:
    for resource in (
        condition(onsetDateTime="2020-01-01", onsetString="last year"),
        condition(abatementDateTime="2020-01-01", abatementString="last year"),
        observation(effectiveDateTime="2020-01-01", effectiveInstant="2020-01-01T00:00:00Z"),
        observation(component=[{"code": {"text": "x"}, "valueString": "a", "valueInteger": 1}]),
    ):
        assert refusal(resource)[0] == "fhir.two_values"


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    period = {"start": "2024-03-02T00:00:00Z", "end": "2024-03-01T00:00:00Z"}
    resource = observation(effectiveDateTime=None, effectivePeriod=period)
    assert refusal(resource)[0] == "fhir.period_reversed"


def test_a_record_nested_deeper_than_64_levels_is_refused_by_the_strict_lane() -> None:
    """The fast lane skips what it does not read, at any depth that the parser bears."""
    deep: dict[str, Any] = {"url": "http://x"}
    for _ in range(40):
        deep = {"url": "http://x", "extension": [deep]}
    body = json.dumps(observation(extension=[deep])).encode()
    (refused,) = StrictReader().read(records.delivery(body)).quarantined
    assert refused.reason_code == "fhir.too_deep"
    assert len(BulkReader().read(records.delivery(body)).events) == 1


def test_of_a_key_that_comes_twice_the_last_counts_in_both_lanes() -> None:
    body = json.dumps(observation()).encode().replace(b'"final"', b'"final","status":"amended"')
    (event,) = records.in_both_lanes(body).events
    assert event.status == "amended"


def test_a_put_to_one_address_of_a_record_that_says_another_is_refused() -> None:
    right = {"type": "Observation", "id": "o1"}
    assert len(records.read(observation(), context=right).events) == 1
    for wrong in ({"type": "Observation", "id": "o2"}, {"type": "Condition", "id": "o1"}):
        assert refusal(observation(), context=wrong)[0] == "fhir.id_mismatch"


def test_a_patient_or_encounter_without_an_id_is_refused_and_an_observation_named_by_its_bytes() -> (
    None
):
    assert refusal({"resourceType": "Patient"})[0] == "fhir.missing_id"
    (event,) = records.read(observation(id=None)).events
    assert event.source.record_id == f"sha256-{event.source.digest[:57]}"


def test_a_truncated_gzip_body_is_quarantined_whole() -> None:
    body = gzip.compress(records.bundle(observation()))
    context = {"encoding": "gzip"}
    assert len(records.in_both_lanes(body, context=context).events) == 1
    for cut in (body[:-4], body[: len(body) // 2], body[:3]):
        (quarantined,) = records.in_both_lanes(cut, context=context).quarantined
        assert quarantined.reason_code == "fhir.truncated_file"
    (quarantined,) = records.in_both_lanes(b"no gzip at all", context=context).quarantined
    assert quarantined.reason_code == "fhir.not_gzip"


def test_a_decompression_bomb_is_refused_before_it_fills_memory() -> None:
    """200 MiB of zeros in 200 kB: refused after a few MiB."""
    bomb = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=9)
    tracemalloc.start()
    reading = BulkReader().read(records.delivery(bomb, context={"encoding": "gzip"}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reading.quarantined[0].reason_code == "fhir.decompression_bomb"
    assert peak < 64 * 1024 * 1024


def test_a_body_larger_than_the_limit_is_refused_by_name() -> None:
    reading = BulkReader().read(records.delivery(b" " * (MAX_BODY_BYTES + 1)))
    assert reading.quarantined[0].reason_code == "fhir.too_large"


def test_a_patient_with_one_event_and_one_with_50_000_are_read() -> None:
    patient = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1970"}
    assert len(records.in_both_lanes(records.bundle(patient)).events) == 1
    one = json.dumps(observation()).encode()
    entries = (
        b'{"resource":' + one.replace(b'"o1"', f'"o{n}"'.encode()) + b"}" for n in range(50_000)
    )
    body = b'{"resourceType":"Bundle","entry":[' + b",".join(entries) + b"]}"
    reading = BulkReader().read(records.delivery(body))
    assert len({event.source.record_id for event in reading.events}) == 50_000
    assert reading.quarantined == []


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_read_or_quarantined(body: bytes) -> None:
    reading = records.in_both_lanes(body)
    assert len(reading.quarantined) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "coding", "system", "reference", "value", "start", "text", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_ELEMENTS = st.sampled_from(
    [
        "id",
        "meta",
        "status",
        "code",
        "subject",
        "component",
        "valueQuantity",
        "valuePeriod",
        "issued",
        "effectiveDateTime",
        "category",
        "interpretation",
        "encounter",
        "dataAbsentReason",
        "contained",
    ]
)


@given(st.dictionaries(_ELEMENTS, _JSON, max_size=3))
def test_a_record_with_anything_in_its_elements_is_read_or_quarantined(
    changes: dict[str, Any],
) -> None:
    """And neither lane lets an exception out."""
    body = json.dumps({**observation(), **changes}).encode()
    for reader in (BulkReader(), StrictReader()):
        reading = reader.read(records.delivery(body))
        assert len(reading.events) + len(reading.quarantined) >= 1


def test_an_unknown_system_and_an_unknown_unit_are_kept_flagged_and_counted() -> None:
    resource = observation(
        code=concept("http://hospital.example/codes", "GLU"),
        valueQuantity={"value": 5, "unit": "blobs", "system": "http://x", "code": "b"},
    )
    reading = records.read(resource)
    (event,) = reading.events
    assert event.code.key == "http://hospital.example/codes|GLU"
    assert {flag.value for flag in event.flags} == {"unmapped_code", "unknown_unit"}
    assert reading.counts["unmapped_system:http://hospital.example/codes"] == 1
    assert reading.counts["unmapped_unit:blobs"] == 1
