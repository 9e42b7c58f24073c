"""MedicationDispense: one event when the medication was handed over, or was not."""

from typing import Literal

from adapters.fhir.datatypes import Quantity, Reference, Text, closed
from adapters.fhir.inbound.medication import Dosage, Medicated, medication_codes
from adapters.fhir.record import Record
from clinical.timeline.event import Event, EventKind, Standing

CATEGORY = "dispense"
_STANDING = {
    "preparation": Standing.TENTATIVE,
    "in-progress": Standing.TENTATIVE,
    "on-hold": Standing.TENTATIVE,
    "cancelled": Standing.RETRACTED,
    "entered-in-error": Standing.RETRACTED,
    "declined": Standing.REFUTED,
}


@closed(
    "identifier partOf statusReasonCodeableConcept statusReasonReference category "
    "supportingInformation performer location authorizingPrescription type daysSupply "
    "destination receiver note substitution detectedIssue eventHistory _status _whenPrepared "
    "_whenHandedOver",
    tag="MedicationDispense",
)
class MedicationDispense(Medicated, kw_only=True, gc=False):
    """A supply of a medication for the patient: that it was taken is not said."""

    status: Literal[
        "preparation",
        "in-progress",
        "cancelled",
        "on-hold",
        "completed",
        "entered-in-error",
        "stopped",
        "declined",
        "unknown",
    ]
    subject: Reference | None = None
    context: Reference | None = None
    quantity: Quantity | None = None
    whenPrepared: Text | None = None  # noqa: N815 - FHIR's spelling
    whenHandedOver: Text | None = None  # noqa: N815
    dosageInstruction: list[Dosage] | None = None  # noqa: N815


def to_events(dispense: MedicationDispense, record: Record) -> list[Event]:
    """A statement that the patient has it, of the category `dispense`; the amount is what was supplied."""
    record.about(dispense.subject)
    record.during(dispense.context, "context")
    record.standing = _STANDING.get(dispense.status, Standing.ASSERTED)
    is_denied = record.standing in {Standing.REFUTED, Standing.RETRACTED}
    handed_over_at = record.time(dispense.whenHandedOver, "whenHandedOver")
    return [
        record.event(
            EventKind.MEDICATION_STATEMENT,
            medication_codes(dispense, record),
            occurred_at=handed_over_at or record.time(dispense.whenPrepared, "whenPrepared"),
            recorded_at=record.revised(None) if is_denied else None,
            value=record.quantity(dispense.quantity, "quantity"),
            status=dispense.status,
            category=CATEGORY,
        )
    ]
