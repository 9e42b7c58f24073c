"""What notifications say, in every form that servers send; each vendor's ways by name."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.fhir.notified import FetchedReader, NotificationReader
from adapters.fhir.subscription import Reader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.subscription.notification import Notification, NotificationKind, RecordRef, Standing
from tests.journeys.bundles import observation, patient
from tests.notifications import BASE, Json, bundle, encoded, named, parameters, sent, status

NOON = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
O1 = RecordRef("Observation", "o1")


def delivered(body: bytes, door: Door = Door.FHIR_NOTIFICATION, **context: str) -> Delivery:
    return Delivery(
        delivery_id=UUID(int=1),
        site="north",
        door=door,
        sender_id="d1",
        body=body,
        content_type="application/fhir+json",
        received_at=NOON,
        context={"subscription": "labs", **context},
    )


def read(content: Json | bytes, **context: str) -> Reading:
    body = content if isinstance(content, bytes) else encoded(content)
    reader = NotificationReader(lambda _site, _name: Reader([BASE]))
    return reader.read(delivered(body, **context))


def said(content: Json | bytes, **context: str) -> Notification:
    notification = read(content, **context).notification
    assert notification is not None
    return notification


def reasons(reading: Reading) -> list[tuple[str, str]]:
    return [(each.position, each.reason_code) for each in reading.quarantined]


@pytest.mark.parametrize("kind", ["handshake", "heartbeat"])
def test_a_handshake_and_a_heartbeat_carry_a_total_and_no_event(kind: str) -> None:
    reading = read(bundle(parameters(kind, total="7", status="requested")))
    assert reading.notification == Notification(
        name="labs",
        kind=NotificationKind(kind),
        ehr_id="s1",
        standing=Standing.REQUESTED,
        total=7,
        stated_at=datetime(2026, 3, 29, 0, 20, tzinfo=UTC),
    )
    assert reading.events == []
    assert reading.quarantined == []


def test_full_resources_become_events_and_nothing_is_left_to_read() -> None:
    focus = f"{BASE}/Observation/o1"
    content = bundle(
        parameters(numbers=["2"], focuses=[focus], total="2"),
        sent(observation("o1", "p1")),
        sent(patient("p1")),
    )
    reading = read(content)
    assert {event.source.record_id for event in reading.events} == {"o1", "p1"}
    assert reading.notification is not None
    assert reading.notification.numbers == (2,)
    assert [each.unread for each in reading.notification.happened] == [()]
    assert reading.quarantined == []


def test_ids_only_are_to_be_read_and_not_set_aside() -> None:
    content = bundle(
        parameters(numbers=["1"], focuses=["Observation/o1"]),
        named("Observation/o1"),
        named("Encounter/e1"),
        named("Organization/of-no-interest"),
    )
    reading = read(content)
    assert reading.notification is not None
    unread = [ref for each in reading.notification.happened for ref in each.unread]
    assert unread == [O1, RecordRef("Encounter", "e1")]
    assert reading.quarantined == []


def test_an_empty_notification_tells_only_that_something_changed() -> None:
    notification = said(bundle(parameters(numbers=["3"], total="3")))
    assert notification.needs_query
    assert notification.numbers == (3,)


def test_an_event_whose_record_was_left_out_of_a_full_notification_is_to_be_read() -> None:
    content = bundle(
        parameters(numbers=["1", "2"], focuses=["Observation/o1", "Observation/o2"]),
        sent(observation("o2", "p1")),
        named("Observation/o1"),
    )
    assert [each.unread for each in said(content).happened] == [(O1,), ()]


def test_an_entry_that_is_none_is_set_aside_and_one_that_only_says_how_it_went_is_counted() -> None:
    answered = {"response": {"status": "200"}}
    content = bundle(parameters(numbers=["1"], focuses=["Observation/o1"]), answered)
    content["entry"].append(5)
    reading = read(content)
    assert reasons(reading) == [("entry[2]", "fhir.entry_without_resource")]
    assert reading.counts["skipped:(no record)"] == 1


def test_a_created_record_is_named_by_its_full_url_and_an_updated_one_by_its_request() -> None:
    created = {
        **named("Observation/o1", "POST"),
        "request": {"method": "POST", "url": "Observation"},
    }
    updated = {
        **named("Observation/o2"),
        "fullUrl": "urn:uuid:6c0d6a52-6d3c-4c0e-9e0e-0b6f2f0e9f57",
    }
    reading = read(bundle(parameters(numbers=["1"]), created, updated))
    assert reading.notification is not None
    assert [ref for each in reading.notification.happened for ref in each.unread] == [
        O1,
        RecordRef("Observation", "o2"),
    ]
    assert reading.quarantined == []


def test_a_deleted_record_is_not_read_again() -> None:
    content = bundle(
        parameters(numbers=["1"], focuses=["Observation/o1"]), named("Observation/o1", "DELETE")
    )
    notification = said(content)
    assert [each.unread for each in notification.happened] == [()]
    assert not notification.needs_query


@pytest.mark.parametrize(
    ("counter", "value"),
    [
        ("valueString", "12"),
        ("valueInteger", 12),
        ("valueUnsignedInt", 12),
        ("valueDecimal", 12.0),
        ("valueInteger64", "12"),
    ],
)
def test_counters_are_understood_in_every_form_seen(counter: str, value: Any) -> None:
    notification = said(
        bundle(
            parameters(numbers=[value], focuses=["Observation/o1"], total=value, counter=counter)
        )
    )
    assert (notification.numbers, notification.total) == ((12,), 12)


@pytest.mark.parametrize("value", ["twelve", "-1", "1.5", "9" * 40, "", True, [1], {"a": 1}])
def test_a_counter_that_is_none_is_set_aside_and_its_event_is_not_lost(value: Any) -> None:
    reading = read(bundle(parameters(numbers=[value], focuses=["Observation/o1"])))
    assert reading.notification is not None
    assert reading.notification.numbers == ()
    assert reading.notification.happened[0].unread == (O1,)
    assert ("entry[0]", "fhir.wrong_type") in reasons(reading)


def test_athenahealth_sends_the_status_of_r4b_over_r4_by_ids_with_numbers_of_its_own() -> None:
    event = {
        "id": "a-1959.E-77",
        "eventNumber": "1",
        "timestamp": "2026-03-29T00:20:00Z",
        "focus": {"reference": "Observation/o1"},
    }
    content = bundle(
        status(eventsSinceSubscriptionStart="1", eventsInNotification=1, notificationEvent=[event]),
        named("Observation/o1"),
    )
    reading = read(content)
    assert reading.notification is not None
    (happened,) = reading.notification.happened
    assert (happened.event_id, happened.number, happened.unread) == ("a-1959.E-77", 1, (O1,))
    assert reading.quarantined == []


def test_r5_sends_a_subscription_notification_with_64_bit_numbers_as_text() -> None:
    event = {"eventNumber": "4294967297", "focus": {"reference": "Observation/o1"}}
    content = bundle(
        status(eventsSinceSubscriptionStart="4294967297", notificationEvent=[event]),
        sent(observation("o1", "p1")),
        kind="subscription-notification",
    )
    reading = read(content)
    assert reading.notification is not None
    assert reading.notification.numbers == (4294967297,)
    assert len(reading.events) == 1


def test_hapi_classic_puts_one_resource_and_no_counters() -> None:
    reading = read(observation("o1", "p1"), type="Observation", id="o1")
    assert [event.source.record_id for event in reading.events] == ["o1"]
    assert reading.notification == Notification(name="labs", kind=NotificationKind.RECORD)


def test_hapi_tells_a_deletion_by_the_method_alone() -> None:
    reading = read(b"", type="Observation", id="o1", method="DELETE")
    (withdrawn,) = reading.withdrawn
    assert (withdrawn.source.record_type, withdrawn.source.record_id) == ("Observation", "o1")
    assert withdrawn.source.updated_at == NOON


def test_medplum_posts_one_resource_to_the_address_itself() -> None:
    reading = read(observation("o1", "p1"))
    assert [event.source.record_id for event in reading.events] == ["o1"]


def test_an_empty_post_of_the_classic_rest_hook_asks_for_a_query() -> None:
    assert said(b"") == Notification(name="labs", kind=NotificationKind.PING, needs_query=True)


def test_a_resource_put_to_the_address_of_another_is_set_aside() -> None:
    reading = read(observation("o2", "p1"), type="Observation", id="o1")
    assert reading.events == []
    assert reasons(reading) == [("resource", "fhir.id_mismatch")]


@pytest.mark.parametrize(
    "reference",
    [
        "https://elsewhere.example/fhir/Observation/o1",
        "https://ehr.north.example.evil.example/fhir/Observation/o1",
        "https://ehr.north.example/other/Observation/o1",
        "http://169.254.169.254/Observation/o1",
        "//elsewhere.example/Observation/o1",
        "Observation/../Patient/p1",
        "Observation/o1?x=y",
        "urn:uuid:6c0d6a52-6d3c-4c0e-9e0e-0b6f2f0e9f57",
    ],
)
def test_a_reference_to_another_server_is_set_aside_and_never_followed(reference: str) -> None:
    reading = read(bundle(parameters(numbers=["1"], focuses=[reference])))
    assert reading.notification is not None
    assert [each.unread for each in reading.notification.happened] == [()]
    assert reasons(reading) == [("entry[0]", "fhir.foreign_reference")]


def test_errors_that_the_status_tells_are_kept_as_codes_without_their_words() -> None:
    error = {
        "coding": [{"code": "no-response", "display": "for Mary Miller"}],
        "text": "for Mary Miller",
    }
    notification = said(
        bundle(parameters("heartbeat", status="error", errors=[error, {"text": "x"}]))
    )
    assert notification.standing is Standing.ERROR
    assert notification.error_codes == ("no-response",)


def test_a_status_that_lies_in_the_second_entry_is_no_status() -> None:
    content = bundle(patient("p1"), sent(observation("o1", "p1")))
    notification = said(content)
    assert notification.kind is NotificationKind.RECORD


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"nonsense", b"\xff\xfe", b'{"resourceType":"Bundle","entry":[1,null,"x"]}'],
)
def test_bytes_that_are_no_notification_are_set_aside_and_counted_as_heard(body: bytes) -> None:
    reading = read(body)
    assert reading.notification is not None
    assert reading.quarantined != []


def test_a_notification_of_ten_thousand_entries_is_read_whole() -> None:
    references = [f"Observation/o{n}" for n in range(10_000)]
    content = bundle(
        parameters(numbers=[str(n + 1) for n in range(10_000)], focuses=references),
        *(named(each) for each in references),
    )
    notification = said(content)
    assert len(notification.numbers) == 10_000
    assert len({ref for each in notification.happened for ref in each.unread}) == 10_000


def test_oracle_leaves_records_out_of_a_page_and_says_so_and_that_is_not_ignored() -> None:
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [
            {"severity": "error", "code": "not-supported", "diagnostics": "Mary Miller"},
            {"severity": "information", "code": "informational"},
        ],
    }
    page = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": observation("o1", "p1")}, {"resource": outcome}],
    }
    reading = FetchedReader().read(delivered(encoded(page), Door.FHIR_FETCHED))
    assert len(reading.events) == 1
    (left_out,) = reading.quarantined
    assert (left_out.position, left_out.reason_code) == ("entry[1]", "fhir.sender_outcome")
    assert "error: not-supported" in left_out.detail
    assert "Mary" not in left_out.detail


def test_an_answer_that_there_is_no_such_record_takes_it_back() -> None:
    body = json.dumps({"resourceType": "OperationOutcome"}).encode()
    answer = delivered(body, Door.FHIR_FETCHED, type="Observation", id="o1", gone="true")
    (withdrawn,) = FetchedReader().read(answer).withdrawn
    assert withdrawn.source.record_id == "o1"
