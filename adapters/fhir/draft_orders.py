"""Orders that were drafted and not signed, read as the actions that they would be.

Reads them as the fast lane reads any record; nothing of them is stored. What is no action, or cannot
be read, is named all the same: whoever compares courses must say what is not in them.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.reader import BulkReader
from clinical.prediction.action import Action
from clinical.services.delivery import Delivery, Door
from clinical.services.planning import DraftOrder
from clinical.timeline.event import Event, EventKind, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity

_NOBODY = UUID(int=0)
# What is done when an order for it is carried out, in the words of records: a model learned it there.
_DONE = {
    EventKind.MEDICATION_REQUEST: EventKind.MEDICATION_REQUEST,
    EventKind.SERVICE_REQUEST: EventKind.PROCEDURE,
    EventKind.PROCEDURE: EventKind.PROCEDURE,
    EventKind.IMMUNIZATION: EventKind.IMMUNIZATION,
    EventKind.CARE_PLAN: EventKind.CARE_PLAN,
}
# No draft of a real EHR has these: whoever sends them sends no FHIR.
_NOT_FHIR = frozenset(
    {
        Reason.NOT_JSON,
        Reason.NOT_AN_OBJECT,
        Reason.NO_RESOURCE_TYPE,
        Reason.UNKNOWN_RESOURCE_TYPE,
        Reason.INVALID,
        Reason.UNKNOWN_ELEMENT,
        Reason.MISSING_ELEMENT,
        Reason.WRONG_TYPE,
        Reason.CODE_NOT_ALLOWED,
        Reason.IMPOSSIBLE_TIME,
        Reason.ENTRY_WITHOUT_RESOURCE,
        Reason.NESTED_BUNDLE,
    }
)
_MAX_LABEL = 120


class _Resource(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's spelling
    id: str = ""


class _Entry(msgspec.Struct):
    resource: _Resource = msgspec.field(default_factory=_Resource)


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


def draft_orders(bundle: bytes, patient: PatientRef, now: datetime) -> list[DraftOrder]:
    """One for each entry of the Bundle, in its order.

    An order about somebody else, one that forbids, and one whose id another entry has too are not
    understood, like one that we cannot read.

    Raises:
        RecordError: an entry is no FHIR of R4; the message names the place and the rule.
    """
    events = _events(bundle, patient, now)
    stated = msgspec.json.decode(bundle, type=_Bundle).entry
    names = [f"{e.resource.resourceType}/{e.resource.id}" for e in stated]
    return [_draft(name, events.get(name, []), is_alone=names.count(name) == 1) for name in names]


def _events(bundle: bytes, patient: PatientRef, now: datetime) -> dict[str, list[Event]]:
    delivery = Delivery(
        delivery_id=_NOBODY,
        site=patient.site,
        door=Door.FHIR_BULK,
        sender_id="",
        body=bundle,
        content_type="application/fhir+json",
        received_at=now,
    )
    reading = BulkReader().read(delivery)
    for bad in reading.quarantined:
        if bad.reason_code in _NOT_FHIR:
            raise RecordError(Reason(bad.reason_code), f"{bad.position}: {bad.detail}")
    found: dict[str, list[Event]] = {}
    for event in reading.events:
        if event.patient_id == patient.patient_id:
            name = f"{event.source.record_type}/{event.source.record_id}"
            found.setdefault(name, []).append(event)
    return found


def _draft(name: str, events: list[Event], *, is_alone: bool) -> DraftOrder:
    record_type = name.partition("/")[0]
    usable = [e for e in events if e.kind in _DONE and e.standing not in _UNMEANT]
    if len(usable) != 1 or not is_alone:
        return DraftOrder(reference=name, label=record_type, action=None)
    [event] = usable
    label = event.code.display or event.code.key
    return DraftOrder(
        reference=name,
        label=label[:_MAX_LABEL],
        action=Action(
            kind=_DONE[event.kind],
            code=event.code,
            after=timedelta(0),
            dose=event.value if isinstance(event.value, Quantity) else None,
        ),
    )


_UNMEANT = frozenset({Standing.RETRACTED, Standing.REFUTED})
