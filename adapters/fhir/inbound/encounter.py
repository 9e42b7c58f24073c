"""Encounter: its start, its end with what was known by then, and its reason where it is still open."""

from typing import Literal

from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD, CodeableConcept, Coding, Period, Reference, closed
from adapters.fhir.record import Record
from adapters.fhir.resource import Resource
from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, Phase, Standing

_STANDING = {
    "planned": Standing.TENTATIVE,
    "cancelled": Standing.REFUTED,
    "entered-in-error": Standing.RETRACTED,
}


@closed(
    "id extension preAdmissionIdentifier origin admitSource reAdmission dietPreference "
    "specialCourtesy specialArrangement destination"
)
class Hospitalization(Struct, kw_only=True, gc=False):
    """The stay."""

    modifierExtension: Raw = UNREAD  # noqa: N815 - FHIR's spelling
    dischargeDisposition: CodeableConcept | None = None  # noqa: N815


@closed(
    "identifier statusHistory classHistory serviceType priority episodeOfCare basedOn participant "
    "appointment length reasonReference diagnosis account location serviceProvider partOf _status",
    tag="Encounter",
)
class Encounter(Resource, kw_only=True, gc=False, rename={"class_": "class"}):
    """A contact of the patient with those who care."""

    status: Literal[
        "planned",
        "arrived",
        "triaged",
        "in-progress",
        "onleave",
        "finished",
        "cancelled",
        "entered-in-error",
        "unknown",
    ]
    class_: Coding
    type: list[CodeableConcept] | None = None
    subject: Reference | None = None
    period: Period | None = None
    reasonCode: list[CodeableConcept] | None = None  # noqa: N815
    hospitalization: Hospitalization | None = None


def to_events(encounter: Encounter, record: Record) -> list[Event]:
    """The class is the code, the types stand beside it; reason and discharge are facts of the end."""
    record.about(encounter.subject)
    record.standing = _STANDING.get(encounter.status, Standing.ASSERTED)
    record.encounter = f"Encounter/{record.source.record_id}"
    names = record.codes(CodeableConcept(coding=[encounter.class_]), "class")
    names += _all_codes(record, encounter.type)
    start, end = record.ends(encounter.period, "period")
    reasons = _all_codes(record, encounter.reasonCode)
    is_over = end is not None or encounter.status == "finished"
    events = [
        record.event(
            EventKind.ENCOUNTER,
            names,
            occurred_at=start,
            recorded_at=record.revised(None) if record.standing is Standing.RETRACTED else None,
            part="start",
            phase=Phase.START,
            status="" if is_over else encounter.status,
        )
    ]
    if is_over:
        stay = encounter.hospitalization
        disposition = record.optional_codes(stay.dischargeDisposition if stay else None)
        events.append(
            record.end_event(
                EventKind.ENCOUNTER,
                names + reasons,
                ended_at=end,
                value=disposition[0] if disposition else None,
                status=encounter.status,
            )
        )
    elif reasons:
        # Not known to be known at the start: known since the record was last changed.
        events.append(
            record.event(EventKind.ENCOUNTER, names + reasons, occurred_at=None, part="reason")
        )
    return events


def _all_codes(record: Record, concepts: list[CodeableConcept] | None) -> tuple[Code, ...]:
    found: tuple[Code, ...] = ()
    for concept in concepts or ():
        found += record.optional_codes(concept)
    return found
