"""Bytes that are almost FHIR: other encodings, numbers that JSON does not have, keys that come twice, 10,000 entries."""

import json
import tracemalloc
from typing import Any

import pytest

from adapters.fhir.reader import MAX_NESTED_BUNDLES, NO_RECORD, BulkReader
from tests.adapters.fhir import records
from tests.adapters.fhir.records import observation

GOOD = json.dumps(observation()).encode()


def in_bundle(*raw: bytes) -> bytes:
    entries = b",".join(b'{"resource":' + each + b"}" for each in raw)
    return b'{"resourceType":"Bundle","type":"collection","entry":[' + entries + b"]}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_than_utf_8_is_no_json_here(encoding: str) -> None:
    body = GOOD.decode().encode(encoding)
    (quarantined,) = records.in_both_lanes(body).quarantined
    assert quarantined.reason_code == "fhir.not_json"


def test_latin_1_is_not_read_as_something_else() -> None:
    body = json.dumps(observation(valueString="fièvre"), ensure_ascii=False).encode("latin-1")
    (quarantined,) = records.in_both_lanes(body).quarantined
    assert quarantined.reason_code == "fhir.not_json"


def test_a_byte_order_mark_is_left_out_and_the_record_read() -> None:
    assert len(records.in_both_lanes(b"\xef\xbb\xbf" + GOOD).events) == 1
    assert len(records.in_both_lanes(b"\xef\xbb\xbf" + in_bundle(GOOD)).events) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "0x10", "01", "+1", ".5", "1."])
def test_a_number_that_json_does_not_have_spoils_the_whole_body(number: str) -> None:
    """Where a body is no JSON nobody can say where its other records begin."""
    bad = records.encoded(observation(valueQuantity=records.amount(number)))
    for body in (bad, in_bundle(bad, GOOD)):
        reading = records.in_both_lanes(body)
        assert reading.events == []
        assert [each.reason_code for each in reading.quarantined] == ["fhir.not_json"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e31", "1" * 41, "1e-400"])
def test_a_number_beyond_all_sense_spoils_its_own_record_alone(number: str) -> None:
    bad = records.encoded(observation(id="bad", valueQuantity=records.amount(number)))
    reading = records.in_both_lanes(in_bundle(bad, GOOD))
    assert [event.source.record_id for event in reading.events] == ["o1"]
    assert [each.reason_code for each in reading.quarantined] == ["fhir.number_out_of_range"]


def test_a_body_cut_off_anywhere_gives_no_event() -> None:
    body = in_bundle(GOOD, GOOD)
    for length in range(1, len(body), 7):
        reading = records.in_both_lanes(body[:length])
        assert reading.events == []
        assert reading.quarantined[0].reason_code == "fhir.not_json"


def test_a_record_that_was_written_anew_is_the_same_fact_of_other_bytes() -> None:
    """Spaces and the order of keys: a later version of the record, not another record."""
    other = json.dumps(json.loads(GOOD), indent=2, sort_keys=True).encode()
    first, again = (records.in_both_lanes(body).events[0] for body in (GOOD, other))
    assert first.fact_key == again.fact_key
    assert first.source.digest != again.source.digest


def test_of_an_id_that_comes_twice_the_last_counts_in_both_lanes() -> None:
    for body in (twice := GOOD.replace(b'"o1"', b'"o1","id":"o2"'), in_bundle(twice)):
        (event,) = records.in_both_lanes(body).events
        assert event.source.record_id == "o2"


def test_a_record_of_two_types_is_never_read_as_the_second() -> None:
    two = GOOD.replace(
        b'"resourceType": "Observation"', b'"resourceType":"Claim","resourceType":"Observation"'
    )
    assert two != GOOD
    for body in (two, in_bundle(two)):
        reading = records.in_both_lanes(body)
        assert reading.events == []
        assert len(reading.quarantined) + reading.counts["skipped:Claim"] == 1


def test_a_patient_stated_twice_is_the_last_and_never_both() -> None:
    subject = b'"subject": {"reference": "Patient/p1"}'
    assert subject in GOOD
    reading = records.in_both_lanes(
        GOOD.replace(subject, subject + b',"subject":{"reference":"Patient/p2"}')
    )
    assert [ref.record_id for ref in reading.patients.values()] == ["p2"]


def test_bundles_in_bundles_are_opened_so_far_and_no_further() -> None:
    body = GOOD
    for _ in range(MAX_NESTED_BUNDLES + 1):
        body = in_bundle(body)
    assert len(records.in_both_lanes(body).events) == 1
    (quarantined,) = records.in_both_lanes(in_bundle(body)).quarantined
    assert quarantined.reason_code == "fhir.nested_bundle"


def test_a_broken_bundle_in_a_bundle_spoils_nothing_beside_it() -> None:
    reading = records.in_both_lanes(in_bundle(b'{"resourceType":"Bundle","entry":{}}', GOOD))
    assert len(reading.events) == 1
    (quarantined,) = reading.quarantined
    assert (quarantined.position, quarantined.reason_code) == ("entry[0]", "fhir.wrong_type")


def test_what_asks_or_answers_is_no_record_and_what_changes_something_is_missed() -> None:
    """A PUT without its resource told of a change that is not here: that must be seen."""
    entries: list[dict[str, Any]] = [
        {"request": {"method": "GET", "url": "Patient/1"}},
        {"response": {"status": "200 OK"}},
        {"fullUrl": "urn:uuid:1", "response": {"status": "200 OK"}},
        {"request": {"method": "PUT", "url": "Patient/1"}, "response": {"status": "200"}},
        {"request": 7},
    ]
    body = json.dumps({"resourceType": "Bundle", "type": "history", "entry": entries}).encode()
    reading = records.in_both_lanes(body)
    assert reading.counts == {f"skipped:{NO_RECORD}": 2}
    assert [each.position for each in reading.quarantined] == ["entry[2]", "entry[3]", "entry[4]"]
    assert {each.reason_code for each in reading.quarantined} == {"fhir.entry_without_resource"}


def test_ten_thousand_entries_take_memory_in_measure_and_each_has_its_end() -> None:
    """Every tenth is broken. 60 MiB are some twenty times the bytes: events, and no copies."""
    bad = json.dumps(observation(status="nonsense")).encode()
    body = in_bundle(
        *((bad if n % 10 == 0 else GOOD).replace(b'"o1"', b'"o%d"' % n) for n in range(10_000))
    )
    tracemalloc.start()
    reading = BulkReader().read(records.delivery(body))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(reading.events), len(reading.quarantined)) == (9_000, 1_000)
    assert {each.reason_code for each in reading.quarantined} == {"fhir.code_not_allowed"}
    assert peak < 60 * 1024 * 1024
