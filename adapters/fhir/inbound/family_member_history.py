"""FamilyMemberHistory: for each condition of a relative one observation about the patient's family."""

from typing import Literal

from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD, CodeableConcept, Reference, Text, closed
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.record import Record
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Flag, Standing

CATEGORY = "family-history"


@closed(
    "id extension outcome contributedToDeath onsetAge onsetRange onsetPeriod onsetString note "
    "_contributedToDeath _onsetString"
)
class RelativesCondition(Struct, kw_only=True, gc=False):
    """What a relative has or had."""

    modifierExtension: Raw = UNREAD  # noqa: N815 - FHIR's spelling
    code: CodeableConcept


@closed(
    "identifier instantiatesCanonical instantiatesUri name sex bornPeriod bornDate bornString ageAge "
    "ageRange ageString estimatedAge deceasedBoolean deceasedAge deceasedRange deceasedDate "
    "deceasedString reasonCode reasonReference note _instantiatesCanonical _instantiatesUri _status "
    "_date _name _bornDate _bornString _ageString _estimatedAge _deceasedBoolean _deceasedDate "
    "_deceasedString",
    tag="FamilyMemberHistory",
)
class FamilyMemberHistory(Resource, kw_only=True, gc=False):
    """What is known of the health of one relative. The relative is nobody's patient here."""

    status: Literal["partial", "completed", "entered-in-error", "health-unknown"]
    dataAbsentReason: CodeableConcept | None = None  # noqa: N815 - FHIR's spelling
    patient: Reference
    date: Text | None = None
    relationship: CodeableConcept
    condition: list[RelativesCondition] | None = None


def to_events(history: FamilyMemberHistory, record: Record) -> list[Event]:
    """The relation is the code and the condition the value: never a condition of the patient.

    A relative of whom no condition is told is told all the same, without a value; where the status
    is `health-unknown` nobody said that the relative is well.
    """
    record.about(history.patient, "patient")
    if history.status == "entered-in-error":
        record.standing = Standing.RETRACTED
    relation = record.codes(history.relationship, "relationship")
    stated_at = record.time(history.date, "date")
    is_denied = record.standing is Standing.RETRACTED
    recorded_at = record.revised(None) if is_denied else None

    def event(part: str, condition: CodeableConcept | None) -> Event:
        names = record.optional_codes(condition)
        return record.event(
            EventKind.OBSERVATION,
            relation,
            occurred_at=stated_at,
            recorded_at=recorded_at,
            part=part,
            value=names[0] if names else None,
            status=history.status,
            category=CATEGORY,
            absent_reason="" if names else "no condition is told",
            flags=frozenset() if names else frozenset({Flag.VALUE_ABSENT}),
        )

    events = []
    for index, each in enumerate(history.condition or ()):
        if each.modifierExtension:
            path = f"condition[{index}].modifierExtension"
            raise RecordError(Reason.UNKNOWN_MODIFIER, f"{path}: not understood")
        events.append(event(f"condition/{index}", each.code))
    return events or [event("", None)]
