"""Deletions and merges, however they are told: which record, when, and whether anything may be concluded."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.fhir.bundle import NDJSON
from adapters.fhir.reader import BulkReader, StrictReader
from clinical.services.delivery import Merged, Reading
from tests.adapters.fhir import records
from tests.adapters.fhir.records import RECEIVED, observation

JUNE = "2025-06-01T10:00:00Z"
AT_JUNE = datetime(2025, 6, 1, 10, tzinfo=UTC)


def entry(url: str = "Observation/o1", **more: Any) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url}, **more}


def bundle(*entries: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"resourceType": "Bundle", "entry": list(entries), **more}).encode()


def withdrawn(reading: Reading) -> list[tuple[str, str, datetime | None]]:
    sources = [each.source for each in reading.withdrawn]
    return [(s.record_type, s.record_id, s.updated_at) for s in sources]


@pytest.mark.parametrize(
    "url",
    ["Observation/o1", "https://ehr.example/fhir/Observation/o1", "/Observation/o1"],
)
def test_a_deletion_of_a_history_says_which_record_and_when(url: str) -> None:
    response = {"status": "204", "lastModified": JUNE}
    body = bundle(entry(url, response=response), type="history")
    reading = records.in_both_lanes(body)
    assert withdrawn(reading) == [("Observation", "o1", AT_JUNE)]
    assert (reading.events, reading.quarantined) == ([], [])
    assert reading.counts == {"deleted:Observation": 1}
    assert reading.withdrawn[0].source.site == "north"


@pytest.mark.parametrize(
    ("more", "updated_at"),
    [
        ({"meta": {"lastUpdated": JUNE}}, AT_JUNE),
        ({"timestamp": JUNE, "meta": {"lastUpdated": "2025-07-01T10:00:00Z"}}, AT_JUNE),
        ({"meta": 7, "timestamp": 8}, None),
        ({}, None),
    ],
)
def test_without_a_time_of_its_own_a_deletion_is_as_old_as_its_bundle_if_that_says(
    more: dict[str, Any], updated_at: datetime | None
) -> None:
    reading = records.in_both_lanes(bundle(entry(), type="transaction", **more))
    assert withdrawn(reading) == [("Observation", "o1", updated_at)]


def test_the_files_of_deletions_of_an_export_are_lines_of_transactions() -> None:
    """Bulk Data 2.0: one Bundle of type transaction a line; beside them plain records still are read."""
    first = bundle(entry("Observation/a"), entry("Condition/b"), type="transaction")
    body = b"\n".join([first, json.dumps(observation()).encode(), bundle(entry("Patient/c"))])
    reading = records.in_both_lanes(body, content_type=NDJSON)
    assert [named[:2] for named in withdrawn(reading)] == [
        ("Observation", "a"),
        ("Condition", "b"),
        ("Patient", "c"),
    ]
    assert [event.source.record_id for event in reading.events] == ["o1"]


def test_a_broken_bundle_in_a_line_is_set_aside_and_the_other_lines_are_read() -> None:
    body = b"\n".join([b'{"resourceType":"Bundle","entry":7}', bundle(entry(), entry("x"))])
    reading = records.in_both_lanes(body, content_type=NDJSON)
    assert [(q.position, q.reason_code) for q in reading.quarantined] == [
        ("line 1", "fhir.wrong_type"),
        ("line 2.entry[1]", "fhir.deletion_not_read"),
    ]
    assert len(reading.withdrawn) == 1


@pytest.mark.parametrize(
    "url",
    [
        "Observation?code=1",
        "Observation/o1/_history/3",
        "Observation",
        "Nonsense/1",
        "Observation/a b",
        "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
        "",
    ],
)
def test_a_deletion_that_names_no_one_record_withdraws_nothing_and_is_set_aside(url: str) -> None:
    reading = records.in_both_lanes(bundle(entry(url)))
    assert reading.withdrawn == []
    [quarantined] = reading.quarantined
    assert quarantined.reason_code == "fhir.deletion_not_read"
    assert url not in quarantined.detail or not url


def test_a_deletion_at_an_impossible_time_is_set_aside() -> None:
    reading = records.in_both_lanes(bundle(entry(response={"lastModified": "2025-02-30"})))
    assert [q.reason_code for q in reading.quarantined] == ["fhir.impossible_time"]
    assert reading.withdrawn == []


def test_hapi_tells_of_a_deletion_by_a_request_to_the_address_of_the_record() -> None:
    """HAPI sends DELETE type/id to subscriptions with its extension for that (hapi-fhir #3243, #3684)."""
    context = {"method": "DELETE", "type": "Observation", "id": "o1"}
    reading = records.in_both_lanes(b"", context=context)
    assert withdrawn(reading) == [("Observation", "o1", None)]


def test_deleted_again_in_the_same_words_it_is_another_deletion_and_told_again_the_same() -> None:
    def digest(**more: Any) -> str:
        delivery = records.delivery(bundle(entry(**more)), received_at=RECEIVED)
        [found] = BulkReader().read(delivery).withdrawn
        later = records.delivery(
            bundle(entry(**more)), received_at=RECEIVED.replace(month=RECEIVED.month + 1)
        )
        [again] = StrictReader().read(later).withdrawn
        return "same" if found.source.digest == again.source.digest else "other"

    assert digest() == "other"
    assert digest(response={"lastModified": JUNE}) == "same"


def patient(record_id: str = "old", **changes: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": record_id, "gender": "female", **changes}


def link(sort: str, to: str = "Patient/new", **more: Any) -> dict[str, Any]:
    return {"other": {"reference": to}, "type": sort, **more}


def merges(reading: Reading) -> list[tuple[str, str]]:
    return [(each.gone, each.kept) for each in reading.merged]


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (patient(active=False, link=[link("replaced-by")]), [("old", "new")]),
        (patient(link=[link("replaced-by")]), [("old", "new")]),
        (patient("new", active=True, link=[link("replaces", "Patient/old")]), [("old", "new")]),
        (
            patient("new", link=[link("replaces", "Patient/a"), link("replaces", "Patient/b")]),
            [("a", "new"), ("b", "new")],
        ),
        (patient(active=False, link=[link("seealso"), link("refer")]), []),
    ],
)
def test_a_merge_is_what_replaces_or_is_replaced(
    record: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    reading = records.read(record)
    assert merges(reading) == found
    assert len(reading.events) == 1
    assert all(each.lapses and each.source == reading.events[0].source for each in reading.merged)


def test_a_replaced_record_that_says_it_is_in_use_contradicts_itself_and_merges_nothing() -> None:
    reading = records.read(patient(active=True, link=[link("replaced-by")]))
    assert reading.merged == []
    assert reading.counts["contradiction:Patient.link"] == 1


@pytest.mark.parametrize(
    "other", [{"reference": "RelatedPerson/r"}, {"reference": "#p"}, {"display": "somebody"}]
)
def test_a_merge_with_what_is_no_patient_record_of_the_site_is_counted(
    other: dict[str, str],
) -> None:
    reading = records.read(patient(link=[{"other": other, "type": "replaced-by"}]))
    assert reading.merged == []
    assert reading.counts["unresolved_reference:link.other"] == 1


def test_a_record_that_is_set_aside_merges_nothing() -> None:
    record = patient(link=[link("replaced-by")], birthDate="2025-02-30")
    assert records.refusal(record)[0] == "fhir.impossible_time"
    assert records.read(record).merged == []
    body = bundle({"resource": record}, {"resource": patient("fine")})
    assert records.in_both_lanes(body).merged == []


def test_a_link_under_a_modifier_is_not_understood() -> None:
    modifier = [{"url": "urn:x", "valueBoolean": True}]
    record = patient(link=[link("replaced-by", modifierExtension=modifier)])
    assert records.refusal(record)[0] == "fhir.unknown_modifier"


def test_a_merge_within_a_bundle_is_found_through_its_urns() -> None:
    urn = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    body = bundle(
        {"resource": patient(link=[link("replaced-by", urn)])},
        {"fullUrl": urn, "resource": patient("new")},
    )
    found: list[Merged] = records.in_both_lanes(body).merged
    assert [(each.gone, each.kept) for each in found] == [("old", "new")]
