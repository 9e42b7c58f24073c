"""MedicationRequest: one event when it was written."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Reference, Text, closed
from adapters.fhir.inbound.medication import Dosage, Medicated, dose, medication_codes
from adapters.fhir.record import Record, first_code
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {
    "draft": Standing.TENTATIVE,
    "cancelled": Standing.RETRACTED,
    "entered-in-error": Standing.RETRACTED,
}
_PLANS = frozenset({"proposal", "plan", "option"})


@closed(
    "identifier statusReason priority reportedBoolean reportedReference supportingInformation "
    "requester performer performerType recorder reasonCode reasonReference instantiatesCanonical "
    "instantiatesUri basedOn groupIdentifier courseOfTherapyType insurance note dispenseRequest "
    "substitution priorPrescription detectedIssue eventHistory _status _intent _priority "
    "_doNotPerform _reportedBoolean _authoredOn _instantiatesCanonical _instantiatesUri",
    tag="MedicationRequest",
)
class MedicationRequest(Medicated, kw_only=True, gc=False):
    """An order for a medication."""

    status: Literal[
        "active",
        "on-hold",
        "cancelled",
        "completed",
        "entered-in-error",
        "stopped",
        "draft",
        "unknown",
    ]
    intent: Literal[
        "proposal",
        "plan",
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "option",
    ]
    category: list[CodeableConcept] | None = None
    doNotPerform: bool | None = None  # noqa: N815 - FHIR's spelling
    subject: Reference
    encounter: Reference | None = None
    authoredOn: Text | None = None  # noqa: N815
    dosageInstruction: list[Dosage] | None = None  # noqa: N815


def to_events(request: MedicationRequest, record: Record) -> list[Event]:
    """An order cancelled before anything was given is withdrawn; one stopped later still was an order."""
    record.about(request.subject)
    record.during(request.encounter)
    record.standing = order_standing(
        _STANDING.get(request.status), request.intent in _PLANS, request.doNotPerform
    )
    authored_at = record.time(request.authoredOn, "authoredOn")
    is_withdrawn = record.standing is Standing.RETRACTED
    return [
        record.event(
            EventKind.MEDICATION_REQUEST,
            medication_codes(request, record),
            occurred_at=authored_at,
            recorded_at=record.revised(None) if is_withdrawn else None,
            value=dose(request.dosageInstruction, record, "dosageInstruction"),
            status=request.status,
            category=first_code(request.category),
        )
    ]


def order_standing(
    by_status: Standing | None, is_plan: bool, is_prohibition: bool | None
) -> Standing:
    """An order that was withdrawn, that forbids, that is only planned, or that stands."""
    if by_status is Standing.RETRACTED:
        return by_status
    if is_prohibition:
        return Standing.REFUTED
    return by_status or (Standing.TENTATIVE if is_plan else Standing.ASSERTED)
