"""MedicationStatement: what is or was taken, as somebody says."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Period, Reference, Text, closed
from adapters.fhir.inbound.lasting import lasting_events
from adapters.fhir.inbound.medication import Dosage, Medicated, dose, medication_codes
from adapters.fhir.record import Record, first_code, only_one
from clinical.timeline.event import Event, EventKind, Origin, Standing

_STANDING = {
    "intended": Standing.TENTATIVE,
    "not-taken": Standing.REFUTED,
    "entered-in-error": Standing.RETRACTED,
}


@closed(
    "identifier basedOn partOf statusReason derivedFrom reasonCode reasonReference note _status "
    "_effectiveDateTime _dateAsserted",
    tag="MedicationStatement",
)
class MedicationStatement(Medicated, kw_only=True, gc=False):
    """A medication that the patient takes, took or will take."""

    status: Literal[
        "active",
        "completed",
        "entered-in-error",
        "intended",
        "stopped",
        "on-hold",
        "unknown",
        "not-taken",
    ]
    category: CodeableConcept | None = None
    subject: Reference
    context: Reference | None = None
    effectiveDateTime: Text | None = None  # noqa: N815 - FHIR's spelling
    effectivePeriod: Period | None = None  # noqa: N815
    dateAsserted: Text | None = None  # noqa: N815
    informationSource: Reference | None = None  # noqa: N815
    dosage: list[Dosage] | None = None


def to_events(statement: MedicationStatement, record: Record) -> list[Event]:
    """Past use that is stated afterwards is known, start and end, from when it was stated."""
    record.about(statement.subject)
    record.during(statement.context, "context")
    record.standing = _STANDING.get(statement.status, Standing.ASSERTED)
    if _is_by_patient(statement.informationSource):
        record.origin = Origin.PATIENT_REPORTED
    recorded_at = record.known(statement.dateAsserted, "dateAsserted")
    if record.standing in {Standing.REFUTED, Standing.RETRACTED}:
        recorded_at = record.revised(recorded_at)
    only_one("effective[x]", statement.effectiveDateTime, statement.effectivePeriod)
    start, end = record.ends(statement.effectivePeriod, "effectivePeriod")
    return lasting_events(
        record,
        EventKind.MEDICATION_STATEMENT,
        medication_codes(statement, record),
        ends=(start or record.time(statement.effectiveDateTime, "effectiveDateTime"), end),
        recorded_at=recorded_at,
        is_over=end is not None or statement.status in {"completed", "stopped"},
        start_value=dose(statement.dosage, record, "dosage"),
        status=statement.status,
        category=first_code([statement.category]) if statement.category else "",
    )


def _is_by_patient(source: Reference | None) -> bool:
    if source is None:
        return False
    return source.type == "Patient" or "Patient/" in (source.reference or "")
