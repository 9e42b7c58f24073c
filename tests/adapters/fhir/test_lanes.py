"""The fast lane and the strict lane read the same events."""

import hashlib
import json
from typing import Any

import pytest

from adapters.fhir.reader import BulkReader, StrictReader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.services.ports import Reader
from pipelines.samples import demo_bundles, synthea_bundles
from tests.adapters.fhir import records


def test_both_lanes_read_the_same_of_every_shipped_patient() -> None:
    """Synthea: nothing is quarantined, and the two readings are equal to the last field."""
    for _, body in demo_bundles():
        fast = BulkReader().read(records.delivery(body))
        assert fast == StrictReader().read(records.delivery(body))
        assert fast.events
        assert fast.quarantined == []


def test_reading_twice_gives_the_same_events_with_the_same_identities() -> None:
    _, body = next(synthea_bundles())
    first, second = (BulkReader().read(records.delivery(body)) for _ in range(2))
    assert first == second
    assert len({event.event_id for event in first.events}) == len(first.events)


def test_the_digest_is_of_the_very_bytes_of_the_resource() -> None:
    """Spacing and digits as they came, in a Bundle and alone."""
    resource = (
        b'{ "resourceType":"Observation", "id":"o1","status" :"final",\n "code":{"text":"x"},'
    )
    resource += b'"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":0.40,"unit":"mg"}}'
    bundle = b'{"resourceType":"Bundle","entry":[ {"resource": ' + resource + b" }]}"
    for body in (resource, b"\n" + resource + b"  ", bundle):
        (event,) = records.in_both_lanes(body).events
        assert event.source.digest == hashlib.sha256(resource).hexdigest()


def test_the_strict_lane_alone_looks_into_elements_that_are_never_read() -> None:
    """The documented difference: an unknown element inside one that is skipped unparsed."""
    resource = records.observation(performer=[{"reference": "Practitioner/x", "zzz": 1}])
    body = json.dumps(resource).encode()
    assert len(BulkReader().read(records.delivery(body)).events) == 1
    (refused,) = StrictReader().read(records.delivery(body)).quarantined
    assert (refused.reason_code, refused.detail) == (
        "fhir.unknown_element",
        "performer[0].zzz: R4 has no such element here",
    )


@pytest.mark.parametrize("reader", [StrictReader(), BulkReader()])
def test_a_reader_is_a_reader_of_the_ports(reader: Reader) -> None:
    delivery: Delivery = records.delivery(b"{}", door=Door.FHIR)
    reading: Reading = reader.read(delivery)
    assert reading.quarantined[0].reason_code == "fhir.no_resource_type"


def test_status_codes_of_every_kind_are_held_to_their_required_value_set() -> None:
    """`fhir.resources` lets any word through; both lanes refuse it with the element's name."""
    base: dict[str, Any] = {
        "subject": {"reference": "Patient/p1"},
        "code": {"text": "x"},
        "id": "a",
    }
    for kind in ("Observation", "Procedure", "DiagnosticReport"):
        resource = base | {"resourceType": kind, "status": "nonsense"}
        assert records.refusal(resource)[0] == "fhir.code_not_allowed"
