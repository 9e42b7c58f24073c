"""Procedure: one event, known when it was over."""

from typing import Literal

from msgspec import Raw

from adapters.fhir.datatypes import UNREAD, CodeableConcept, Period, Reference, Text, closed
from adapters.fhir.inbound.condition import undated
from adapters.fhir.record import Record, first_code, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {
    "preparation": Standing.TENTATIVE,
    "not-done": Standing.REFUTED,
    "entered-in-error": Standing.RETRACTED,
}


@closed(
    "identifier instantiatesCanonical instantiatesUri basedOn partOf statusReason recorder asserter "
    "performer location reasonCode reasonReference bodySite report complication complicationDetail "
    "followUp note focalDevice usedReference usedCode _status _performedDateTime _performedString "
    "_instantiatesCanonical _instantiatesUri",
    tag="Procedure",
)
class Procedure(Resource, kw_only=True, gc=False):
    """Something done to or for the patient."""

    status: Literal[
        "preparation",
        "in-progress",
        "not-done",
        "on-hold",
        "stopped",
        "completed",
        "entered-in-error",
        "unknown",
    ]
    category: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference
    encounter: Reference | None = None
    performedDateTime: Text | None = None  # noqa: N815 - FHIR's spelling
    performedPeriod: Period | None = None  # noqa: N815
    performedString: Text | None = None  # noqa: N815
    performedAge: Raw = UNREAD  # noqa: N815
    performedRange: Raw = UNREAD  # noqa: N815
    outcome: CodeableConcept | None = None


def to_events(procedure: Procedure, record: Record) -> list[Event]:
    """A procedure over a period is one action; that and how it was done is known at the period's end."""
    record.about(procedure.subject)
    record.during(procedure.encounter)
    record.standing = _STANDING.get(procedure.status, Standing.ASSERTED)
    vague = undated(procedure.performedAge, procedure.performedRange, procedure.performedString)
    only_one("performed[x]", procedure.performedDateTime, procedure.performedPeriod, *vague)
    if vague:
        record.scene.count("undated:Procedure.performed")
    occurred_at = record.period(procedure.performedPeriod, "performedPeriod") or record.time(
        procedure.performedDateTime, "performedDateTime"
    )
    is_denied = record.standing in {Standing.REFUTED, Standing.RETRACTED}
    outcome = record.optional_codes(procedure.outcome)
    return [
        record.event(
            EventKind.PROCEDURE,
            record.codes(procedure.code, "code"),
            occurred_at=occurred_at,
            recorded_at=record.revised(None) if is_denied else None,
            value=outcome[0] if outcome else None,
            status=procedure.status,
            category=first_code([procedure.category]) if procedure.category else "",
        )
    ]
