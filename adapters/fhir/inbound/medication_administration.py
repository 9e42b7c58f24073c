"""MedicationAdministration: one event, or start and end of an infusion."""

from typing import Literal

from msgspec import Raw, Struct

from adapters.fhir.datatypes import (
    UNREAD,
    CodeableConcept,
    Period,
    Quantity,
    Reference,
    Text,
    closed,
)
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.inbound.lasting import lasting_events
from adapters.fhir.inbound.medication import Medicated, medication_codes
from adapters.fhir.record import Record, first_code, only_one
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {
    "not-done": Standing.REFUTED,
    "entered-in-error": Standing.RETRACTED,
}


@closed("id extension text site route method rateRatio rateQuantity _text")
class Given(Struct, kw_only=True, gc=False):
    """How much was given."""

    modifierExtension: Raw = UNREAD  # noqa: N815 - FHIR's spelling
    dose: Quantity | None = None


@closed(
    "identifier instantiates partOf statusReason supportingInformation performer reasonCode "
    "reasonReference request device note eventHistory _status _instantiates _effectiveDateTime",
    tag="MedicationAdministration",
)
class MedicationAdministration(Medicated, kw_only=True, gc=False):
    """A medication given, or not given."""

    status: Literal[
        "in-progress",
        "not-done",
        "on-hold",
        "completed",
        "entered-in-error",
        "stopped",
        "unknown",
    ]
    category: CodeableConcept | None = None
    subject: Reference
    context: Reference | None = None
    effectiveDateTime: Text | None = None  # noqa: N815
    effectivePeriod: Period | None = None  # noqa: N815
    dosage: Given | None = None


def to_events(administration: MedicationAdministration, record: Record) -> list[Event]:
    """The dose of an infusion is known at its end."""
    record.about(administration.subject)
    record.during(administration.context, "context")
    record.standing = _STANDING.get(administration.status, Standing.ASSERTED)
    names = medication_codes(administration, record)
    given = administration.dosage
    if given is not None and given.modifierExtension:
        raise RecordError(Reason.UNKNOWN_MODIFIER, "dosage.modifierExtension: not understood")
    amount = record.quantity(given.dose, "dosage.dose") if given else None
    category = first_code([administration.category]) if administration.category else ""
    only_one("effective[x]", administration.effectiveDateTime, administration.effectivePeriod)
    recorded_at = record.revised(None) if record.standing is not Standing.ASSERTED else None
    start, end = record.ends(administration.effectivePeriod, "effectivePeriod")
    if end is not None:
        return lasting_events(
            record,
            EventKind.MEDICATION_ADMINISTRATION,
            names,
            ends=(start, end),
            recorded_at=recorded_at,
            end_value=amount,
            status=administration.status,
            category=category,
        )
    return [
        record.event(
            EventKind.MEDICATION_ADMINISTRATION,
            names,
            occurred_at=start or record.time(administration.effectiveDateTime, "effectiveDateTime"),
            recorded_at=recorded_at,
            value=amount,
            status=administration.status,
            category=category,
        )
    ]
