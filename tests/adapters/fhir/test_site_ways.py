"""What is known of a site decides what its codes mean and which references are its own."""

import json
from typing import Any

import pytest

from adapters.fhir.reader import BulkReader, StrictReader
from adapters.fhir.ways import SiteWays
from clinical.services.delivery import Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.code_map import CodeMap
from clinical.timeline.event import Flag
from clinical.timeline.patient import PatientRef
from tests.adapters.fhir import records
from tests.adapters.fhir.records import LOINC, concept, observation

LOCAL = "http://hospital.example/codes"
GLUCOSE = Code(CodeSystem.LOINC, "2339-0", "Glucose")
OTHER_GLUCOSE = Code(CodeSystem.LOINC, "2345-7", "Glucose in serum")
MAP = CodeMap(meanings={(LOCAL, "GLU"): GLUCOSE, (LOCAL, "GLUS"): OTHER_GLUCOSE}, digest="d1")
EHR = "https://ehr.example/fhir/R4"


def read(resource: dict[str, Any] | bytes, ways: SiteWays, site: str = "north") -> Reading:
    """In both lanes, for a service that knows the ways of `north` alone."""
    body = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    known = {"north": ways}
    delivery = records.delivery(body, site=site)
    fast, strict = BulkReader(known).read(delivery), StrictReader(known).read(delivery)
    assert fast == strict
    return fast


def test_a_local_code_becomes_what_its_site_says_and_stays_beside_it() -> None:
    local = observation(code=concept(LOCAL, "GLU", "Sugar"))
    reading = read(local, SiteWays(code_map=MAP))
    (event,) = reading.events
    assert event.code == GLUCOSE
    assert event.other_codes == (Code(LOCAL, "GLU", "Sugar"),)
    assert event.flags == frozenset()
    assert reading.counts == {"record:Observation": 1, f"mapped_system:{LOCAL}": 1}
    assert reading.code_map == "d1"


def test_a_code_that_the_map_does_not_know_stays_as_it_is_and_is_counted() -> None:
    reading = read(observation(code=concept(LOCAL, "NEW")), SiteWays(code_map=MAP))
    (event,) = reading.events
    assert (event.code.key, event.flags) == (f"{LOCAL}|NEW", {Flag.UNMAPPED_CODE})
    assert reading.counts[f"unmapped_system:{LOCAL}"] == 1


def test_what_the_sender_says_in_a_standard_terminology_goes_before_the_map() -> None:
    """A map that disagrees is kept beside it, for somebody to see."""
    coding = [{"system": LOCAL, "code": "GLUS"}, {"system": LOINC, "code": "2339-0"}]
    (event,) = read(observation(code={"coding": coding}), SiteWays(code_map=MAP)).events
    assert event.code.value == "2339-0"
    assert [code.key for code in event.other_codes] == ["LOINC|2345-7", f"{LOCAL}|GLUS"]


def test_a_meaning_that_the_sender_states_too_is_there_once() -> None:
    coding = [{"system": LOCAL, "code": "GLU"}, {"system": LOINC, "code": "2339-0"}]
    (event,) = read(observation(code={"coding": coding}), SiteWays(code_map=MAP)).events
    assert [event.code.key, *(code.key for code in event.other_codes)] == [
        "LOINC|2339-0",
        f"{LOCAL}|GLU",
    ]


def test_a_map_is_asked_for_names_and_not_for_values() -> None:
    """A value has no room for a second code: it stays what was sent."""
    resource = observation(valueCodeableConcept=concept(LOCAL, "GLU"))
    (event,) = read(resource, SiteWays(code_map=MAP)).events
    assert event.value == Code(LOCAL, "GLU")


def test_the_map_of_one_site_says_nothing_of_another() -> None:
    local = observation(code=concept(LOCAL, "GLU"))
    reading = read(local, SiteWays(code_map=MAP), site="south")
    assert reading.events[0].code.key == f"{LOCAL}|GLU"
    assert reading.code_map == ""


@pytest.mark.parametrize("base", [EHR, f"{EHR}/"])
def test_a_reference_to_another_server_leads_to_no_patient_of_this_site(base: str) -> None:
    ways = SiteWays(bases=(base,))
    for reference in (
        "https://elsewhere.example/fhir/R4/Patient/p1",
        "https://ehr.example.evil.example/fhir/R4/Patient/p1",
        "https://ehr.example/fhir/R4-test/Patient/p1",
        "http://ehr.example/fhir/R4/Patient/p1",
        "ftp://ehr.example/Patient/p1",
    ):
        reading = read(observation(subject={"reference": reference}), ways)
        (refused,) = reading.quarantined
        assert (reading.events, refused.reason_code) == ([], "fhir.foreign_reference")
        assert "example" not in refused.detail
    own = read(observation(subject={"reference": f"{EHR}/Patient/p1"}), ways)
    assert own.events[0].patient_id == PatientRef("north", "p1").patient_id


def test_a_record_of_another_server_that_is_delivered_is_found_in_the_delivery() -> None:
    url = "https://elsewhere.example/fhir/Patient/p1"
    patient = {"resourceType": "Patient", "id": "p1"}
    entries = [
        {"fullUrl": url, "resource": patient},
        {"resource": observation(subject={"reference": url})},
    ]
    body = json.dumps({"resourceType": "Bundle", "entry": entries}).encode()
    reading = read(body, SiteWays(bases=(EHR,)))
    assert reading.quarantined == []
    assert len(reading.patients) == 1


def test_an_encounter_on_another_server_is_left_out_and_counted() -> None:
    url = "https://elsewhere.example/fhir/Encounter/e1"
    reading = read(observation(encounter={"reference": url}), SiteWays(bases=(EHR,)))
    assert reading.events[0].encounter == ""
    assert reading.counts["unresolved_reference:encounter"] == 1


def test_a_name_that_two_records_of_a_delivery_have_leads_to_neither() -> None:
    """Two documents, each numbering its own patient 1, put into one Bundle by somebody."""
    entries: list[dict[str, Any]] = [
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "anna"}},
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "bert"}},
        {"resource": observation(subject={"reference": "urn:uuid:1"})},
    ]
    body = json.dumps({"resourceType": "Bundle", "entry": entries}).encode()
    (refused,) = records.in_both_lanes(body).quarantined
    assert (refused.position, refused.reason_code) == ("entry[2]", "fhir.ambiguous_reference")


def test_a_link_to_a_patient_of_another_server_merges_nobody() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "active": False,
        "link": [
            {"other": {"reference": "https://other.example/Patient/p2"}, "type": "replaced-by"}
        ],
    }
    assert read(patient, SiteWays(bases=(EHR,))).merged == []
    patient["link"] = [{"other": {"reference": f"{EHR}/Patient/p2"}, "type": "replaced-by"}]
    (merged,) = read(patient, SiteWays(bases=(EHR,))).merged
    assert (merged.gone, merged.kept) == ("p1", "p2")


def test_a_deletion_on_another_server_withdraws_nothing_of_ours() -> None:
    def deleted(url: str) -> dict[str, Any]:
        entry = {"request": {"method": "DELETE", "url": url}}
        return {"resourceType": "Bundle", "type": "history", "entry": [entry]}

    ways = SiteWays(bases=(EHR,))
    foreign = read(deleted("https://other.example/Observation/o1"), ways)
    assert foreign.withdrawn == []
    assert [each.reason_code for each in foreign.quarantined] == ["fhir.deletion_not_read"]
    (withdrawn,) = read(deleted(f"{EHR}/Observation/o1"), ways).withdrawn
    assert withdrawn.source.record_id == "o1"
