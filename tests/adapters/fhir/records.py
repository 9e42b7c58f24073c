"""Small FHIR records and deliveries for tests; every argument that matters is named by the caller."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adapters.fhir.reader import BulkReader, StrictReader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.timeline.event import Event

RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"


def delivery(body: bytes, **changes: Any) -> Delivery:
    """A delivery of these bytes."""
    fields: dict[str, Any] = {
        "delivery_id": UUID(int=7),
        "site": "north",
        "door": Door.FHIR_BULK,
        "sender_id": hashlib.sha256(body).hexdigest(),
        "body": body,
        "content_type": "application/fhir+json",
        "received_at": RECEIVED,
    }
    return Delivery(**fields | changes)


def in_both_lanes(body: bytes, **changes: Any) -> Reading:
    """What both lanes read; it is an error of the test where they differ."""
    fast = BulkReader().read(delivery(body, **changes))
    strict = StrictReader().read(delivery(body, **changes))
    assert fast == strict
    return fast


def read(resource: dict[str, Any], **changes: Any) -> Reading:
    """What both lanes read of one resource."""
    return in_both_lanes(encoded(resource), **changes)


def event_of(resource: dict[str, Any]) -> Event:
    """The one event of a resource."""
    (event,) = events_of(resource)
    return event


def events_of(resource: dict[str, Any]) -> list[Event]:
    """The events of a resource that nobody disputes."""
    reading = read(resource)
    assert reading.quarantined == []
    return reading.events


def refusal(resource: dict[str, Any], **changes: Any) -> tuple[str, str]:
    """Reason and detail for which a resource is quarantined, with no event made of it."""
    reading = read(resource, **changes)
    (quarantined,) = reading.quarantined
    assert reading.events == []
    return quarantined.reason_code, quarantined.detail


def bundle(*resources: dict[str, Any], kind: str = "collection") -> bytes:
    """A Bundle whose fullUrls are the URNs of the ids."""
    entries = [{"fullUrl": f"urn:uuid:{each.get('id')}", "resource": each} for each in resources]
    return encoded({"resourceType": "Bundle", "type": kind, "entry": entries})


def concept(system: str, code: str, display: str = "") -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return {"coding": [coding]}


def observation(**changes: Any) -> dict[str, Any]:
    """A glucose; None leaves an element out."""
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": concept(LOINC, "2339-0", "Glucose"),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-01T08:00:00Z",
    }
    return _without_none(resource | changes)


def condition(**changes: Any) -> dict[str, Any]:
    """Diabetes; None leaves an element out."""
    resource: dict[str, Any] = {
        "resourceType": "Condition",
        "id": "c1",
        "code": concept(SNOMED, "44054006", "Diabetes mellitus type 2"),
        "subject": {"reference": "Patient/p1"},
    }
    return _without_none(resource | changes)


def amount(value: str, **rest: str) -> dict[str, Any]:
    """A Quantity whose value is written with exactly these characters."""
    return {"value": f"<<{value}>>"} | rest


def encoded(resource: dict[str, Any]) -> bytes:
    """The resource in JSON, its amounts with the characters that they were given."""
    return re.sub(r'"<<(.*?)>>"', r"\1", json.dumps(resource)).encode()


def _without_none(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if value is not None}
