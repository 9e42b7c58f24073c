"""Immunization: one event when the vaccine was given, or was not."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Quantity, Reference, Text, closed
from adapters.fhir.record import Record, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {"not-done": Standing.REFUTED, "entered-in-error": Standing.RETRACTED}


@closed(
    "identifier statusReason primarySource reportOrigin location manufacturer lotNumber "
    "expirationDate site route performer note reasonCode reasonReference isSubpotent "
    "subpotentReason education programEligibility fundingSource reaction protocolApplied _status "
    "_occurrenceDateTime _occurrenceString _recorded _primarySource _lotNumber _expirationDate "
    "_isSubpotent",
    tag="Immunization",
)
class Immunization(Resource, kw_only=True, gc=False):
    """A vaccination."""

    status: Literal["completed", "entered-in-error", "not-done"]
    vaccineCode: CodeableConcept  # noqa: N815 - FHIR's spelling
    patient: Reference
    encounter: Reference | None = None
    occurrenceDateTime: Text | None = None  # noqa: N815
    occurrenceString: Text | None = None  # noqa: N815
    recorded: Text | None = None
    doseQuantity: Quantity | None = None  # noqa: N815


def to_events(immunization: Immunization, record: Record) -> list[Event]:
    """An occurrence in words dates nothing: the fact counts from when it was recorded."""
    record.about(immunization.patient, "patient")
    record.during(immunization.encounter)
    record.standing = _STANDING.get(immunization.status, Standing.ASSERTED)
    only_one("occurrence[x]", immunization.occurrenceDateTime, immunization.occurrenceString)
    if immunization.occurrenceString:
        record.scene.count("undated:Immunization.occurrence")
    recorded_at = record.known(immunization.recorded, "recorded")
    if record.standing is not Standing.ASSERTED:
        recorded_at = record.revised(recorded_at)
    return [
        record.event(
            EventKind.IMMUNIZATION,
            record.codes(immunization.vaccineCode, "vaccineCode"),
            occurred_at=record.time(immunization.occurrenceDateTime, "occurrenceDateTime"),
            recorded_at=recorded_at,
            value=record.quantity(immunization.doseQuantity, "doseQuantity"),
            status=immunization.status,
        )
    ]
