"""Patient: one static event with sex and birth date, a death where there was one, and merges."""

from typing import Literal

from msgspec import Raw, Struct

from adapters.fhir.codes import code
from adapters.fhir.datatypes import UNREAD, Reference, Text, closed
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.record import NO_FLAGS, Record, only_one
from adapters.fhir.resource import Resource
from clinical.services.delivery import Merged
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag
from clinical.timeline.time import ClinicalTime

_GENDER_URI = "http://hl7.org/fhir/administrative-gender"
_DEATH = (Code(CodeSystem.SNOMED_CT, "419099009", "Dead"),)


@closed("id extension _type")
class Link(Struct, kw_only=True, gc=False):
    """Another record of the same patient."""

    other: Reference
    type: Literal["replaced-by", "replaces", "refer", "seealso"]
    modifierExtension: Raw = UNREAD  # noqa: N815 - FHIR's spelling


@closed(
    "identifier name telecom address maritalStatus multipleBirthBoolean multipleBirthInteger photo "
    "contact communication generalPractitioner managingOrganization _active _gender _birthDate "
    "_deceasedBoolean _deceasedDateTime _multipleBirthBoolean _multipleBirthInteger",
    tag="Patient",
)
class Patient(Resource, kw_only=True, gc=False):
    """Who. Names, addresses and identifiers are never read."""

    active: bool | None = None
    gender: Literal["male", "female", "other", "unknown"] | None = None
    birthDate: Text | None = None  # noqa: N815 - FHIR's spelling
    deceasedBoolean: bool | None = None  # noqa: N815
    deceasedDateTime: Text | None = None  # noqa: N815
    link: list[Link] | None = None


def to_events(patient: Patient, record: Record) -> list[Event]:
    """Birth date as the time of the static event; a death without a date is known from when it was told."""
    record.patient_id = record.scene.patient(record.source.record_id)
    gender = code(_GENDER_URI, patient.gender or "unknown", "")
    events = [
        record.event(
            EventKind.PATIENT,
            (gender,),
            occurred_at=record.time(patient.birthDate, "birthDate"),
            absent_reason="" if patient.gender else "not stated",
            flags=NO_FLAGS if patient.gender else frozenset({Flag.VALUE_ABSENT}),
        )
    ]
    only_one("deceased[x]", patient.deceasedBoolean, patient.deceasedDateTime)
    died_at: ClinicalTime | None = record.time(patient.deceasedDateTime, "deceasedDateTime")
    if patient.deceasedBoolean or died_at is not None:
        events.append(record.event(EventKind.DEATH, _DEATH, occurred_at=died_at, part="death"))
    for link in patient.link or ():
        _merge(link, patient, record)
    return events


def _merge(link: Link, patient: Patient, record: Record) -> None:
    """Records that were merged; `refer` and `seealso` leave both in use, and say nothing of events.

    A record that is replaced and says that it is in use contradicts itself: nothing is concluded.
    """
    if link.type not in ("replaced-by", "replaces"):
        return
    if link.modifierExtension:
        raise RecordError(Reason.UNKNOWN_MODIFIER, "link.modifierExtension: not understood")
    is_gone = link.type == "replaced-by"
    if is_gone and patient.active:
        record.scene.count("contradiction:Patient.link")
        return
    try:
        record_type, other = record.scene.target_of(link.other.reference or "", "link.other")
    except RecordError:
        record_type, other = "", ""
    if record_type != "Patient":
        record.scene.count("unresolved_reference:link.other")
        return
    own = record.source.record_id
    gone, kept = (own, other) if is_gone else (other, own)
    record.scene.merged.append(Merged(gone=gone, kept=kept, source=record.source, lapses=True))
