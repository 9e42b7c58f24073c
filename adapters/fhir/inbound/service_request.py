"""ServiceRequest: one event when it was written."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Reference, Text, closed
from adapters.fhir.inbound.medication_request import order_standing
from adapters.fhir.record import Record, first_code
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {"draft": Standing.TENTATIVE, "entered-in-error": Standing.RETRACTED}
_PLANS = frozenset({"proposal", "plan", "option"})


@closed(
    "identifier instantiatesCanonical instantiatesUri basedOn replaces requisition priority "
    "orderDetail quantityQuantity quantityRatio quantityRange occurrenceDateTime occurrencePeriod "
    "occurrenceTiming asNeededBoolean asNeededCodeableConcept requester performerType performer "
    "locationCode locationReference reasonCode reasonReference insurance supportingInfo specimen "
    "bodySite note patientInstruction relevantHistory _status _intent _priority _doNotPerform "
    "_occurrenceDateTime _asNeededBoolean _authoredOn _patientInstruction _instantiatesCanonical "
    "_instantiatesUri",
    tag="ServiceRequest",
)
class ServiceRequest(Resource, kw_only=True, gc=False):
    """An order for a service; when it is to be done is a wish, and not read."""

    status: Literal[
        "draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"
    ]
    intent: Literal[
        "proposal",
        "plan",
        "directive",
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "option",
    ]
    category: list[CodeableConcept] | None = None
    doNotPerform: bool | None = None  # noqa: N815 - FHIR's spelling
    code: CodeableConcept | None = None
    subject: Reference
    encounter: Reference | None = None
    authoredOn: Text | None = None  # noqa: N815


def to_events(request: ServiceRequest, record: Record) -> list[Event]:
    """An order revoked later still was an order."""
    record.about(request.subject)
    record.during(request.encounter)
    record.standing = order_standing(
        _STANDING.get(request.status), request.intent in _PLANS, request.doNotPerform
    )
    is_withdrawn = record.standing is Standing.RETRACTED
    return [
        record.event(
            EventKind.SERVICE_REQUEST,
            record.codes(request.code, "code"),
            occurred_at=record.time(request.authoredOn, "authoredOn"),
            recorded_at=record.revised(None) if is_withdrawn else None,
            status=request.status,
            category=first_code(request.category),
        )
    ]
