"""Patient: one static event with sex and birth date, and a death where there was one."""

from typing import Literal

from adapters.fhir.codes import code
from adapters.fhir.datatypes import Text, closed
from adapters.fhir.record import NO_FLAGS, Record, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag
from clinical.timeline.time import ClinicalTime

_GENDER_URI = "http://hl7.org/fhir/administrative-gender"
_DEATH = (Code(CodeSystem.SNOMED_CT, "419099009", "Dead"),)


@closed(
    "identifier name telecom address maritalStatus multipleBirthBoolean multipleBirthInteger photo "
    "contact communication generalPractitioner managingOrganization link _active _gender _birthDate "
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
    return events
