"""J1: from a signed webhook to events of a timeline."""

from uuid import UUID, uuid4

import pytest

from clinical.audit.entry import AuditKind
from clinical.timeline.event import EventKind
from clinical.timeline.patient import PatientRef
from tests.journeys.bundles import bundle, observation, patient
from tests.journeys.conftest import SECRET, SITE, Running
from tests.journeys.visitor import deliver
from tests.stack import wait_until

pytestmark = pytest.mark.integration


def test_a_signed_delivery_becomes_events_and_what_is_wrong_with_it_is_kept(site: Running) -> None:
    record_id = f"j1-{uuid4().hex[:8]}"
    patient_id = PatientRef(SITE, record_id).patient_id
    impossible = observation("late", record_id, effectiveDateTime="2025-02-30")
    body = bundle(patient(record_id), observation("good", record_id), impossible)

    answer = deliver(site.web_url, SITE, SECRET, body)

    assert answer.status_code == 202
    delivery_id = UUID(answer.json()["delivery_id"])
    wait_until(lambda: _kinds(site, patient_id) and not site.num_waiting())
    assert _kinds(site, patient_id) == {EventKind.PATIENT, EventKind.OBSERVATION}
    with site.open_unit_of_work() as uow:
        assert uow.inbox.get(delivery_id).body == body
        kinds = [entry.kind for entry in uow.audit_log.history(delivery=str(delivery_id))]
        recorded = uow.audit_log.history(delivery=str(delivery_id))[-1]
    assert kinds == [AuditKind.DELIVERY_RECEIVED, AuditKind.EVENTS_RECORDED]
    assert recorded.refs["quarantined"] == "1"


def test_the_same_delivery_again_gets_the_same_receipt_and_changes_nothing(site: Running) -> None:
    record_id = f"j1-{uuid4().hex[:8]}"
    body = bundle(patient(record_id), observation("o", record_id))
    first = deliver(site.web_url, SITE, SECRET, body, webhook_id=record_id)
    wait_until(lambda: not site.num_waiting())
    again = deliver(site.web_url, SITE, SECRET, body, webhook_id=record_id)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    other = deliver(site.web_url, SITE, SECRET, body + b" ", webhook_id=record_id)
    assert other.status_code == 409
    wait_until(lambda: not site.num_waiting())
    with site.open_unit_of_work() as uow:
        timeline = uow.timelines.of(PatientRef(SITE, record_id).patient_id)
        history = uow.audit_log.history(delivery=first.json()["delivery_id"])
    assert len(timeline.versions) == len({known.event.event_id for known in timeline.versions})
    assert [entry.kind for entry in history].count(AuditKind.EVENTS_RECORDED) == 1


def test_a_delivery_with_a_wrong_signature_is_refused(site: Running) -> None:
    body = bundle(patient("nobody"))
    other_secret = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
    assert deliver(site.web_url, SITE, other_secret, body).status_code == 401


def _kinds(site: Running, patient_id: UUID) -> set[EventKind]:
    with site.open_unit_of_work() as uow:
        return {event.kind for event in uow.timelines.of(patient_id)}
