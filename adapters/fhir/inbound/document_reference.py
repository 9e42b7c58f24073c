"""DocumentReference: that a document exists, and of what type; never what it says."""

from typing import Literal

from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD, CodeableConcept, Period, Reference, Text, closed
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.record import Record, first_code
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {"preliminary": Standing.TENTATIVE, "entered-in-error": Standing.RETRACTED}


@closed("id extension event facilityType practiceSetting sourcePatientInfo related")
class Context(Struct, kw_only=True, gc=False):
    """The clinical circumstances of the document."""

    modifierExtension: Raw = UNREAD  # noqa: N815 - FHIR's spelling
    encounter: list[Reference] | None = None
    period: Period | None = None


@closed(
    "masterIdentifier identifier author authenticator custodian relatesTo description "
    "securityLabel _status _docStatus _date _description",
    tag="DocumentReference",
)
class DocumentReference(Resource, kw_only=True, gc=False):
    """A document; `content` must be there and is skipped unparsed."""

    status: Literal["current", "superseded", "entered-in-error"]
    docStatus: Literal["preliminary", "final", "amended", "entered-in-error"] | None = None  # noqa: N815
    type: CodeableConcept | None = None
    category: list[CodeableConcept] | None = None
    subject: Reference | None = None
    date: Text | None = None
    content: Raw
    context: Context | None = None


def to_events(document: DocumentReference, record: Record) -> list[Event]:
    """The type is the code, or else the category."""
    record.about(document.subject)
    word = "entered-in-error" if document.status == "entered-in-error" else document.docStatus or ""
    record.standing = _STANDING.get(word, Standing.ASSERTED)
    context = document.context
    if context is not None and context.modifierExtension:
        raise RecordError(Reason.UNKNOWN_MODIFIER, "context.modifierExtension: not understood")
    for encounter in (context.encounter if context else None) or ():
        record.during(encounter, "context.encounter")
    occurred_at = record.period(context.period, "context.period") if context else None
    recorded_at = record.known(document.date, "date")
    if word in {"amended", "entered-in-error"}:
        recorded_at = record.revised(recorded_at)
    return [
        record.event(
            EventKind.DOCUMENT,
            record.first_codes((document.type, *(document.category or ())), "type"),
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            status=document.status,
            category=first_code(document.category),
        )
    ]
