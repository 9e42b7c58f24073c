"""The kinds of resource, each with its struct and its way to events, as one tagged union."""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from msgspec import Raw, Struct, defstruct

from adapters.fhir.inbound import (
    allergy_intolerance,
    care_plan,
    condition,
    diagnostic_report,
    document_reference,
    encounter,
    family_member_history,
    immunization,
    medication,
    medication_administration,
    medication_dispense,
    medication_request,
    medication_statement,
    observation,
    patient,
    procedure,
    service_request,
)
from adapters.fhir.record import Record
from adapters.fhir.release import RESOURCE_TYPES
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event

ToEvents = Callable[[Any, Record], list[Event]]

READ: dict[type[Resource], ToEvents] = {
    patient.Patient: patient.to_events,
    encounter.Encounter: encounter.to_events,
    condition.Condition: condition.to_events,
    observation.Observation: observation.to_events,
    medication_request.MedicationRequest: medication_request.to_events,
    medication_administration.MedicationAdministration: medication_administration.to_events,
    medication_statement.MedicationStatement: medication_statement.to_events,
    medication_dispense.MedicationDispense: medication_dispense.to_events,
    procedure.Procedure: procedure.to_events,
    diagnostic_report.DiagnosticReport: diagnostic_report.to_events,
    immunization.Immunization: immunization.to_events,
    allergy_intolerance.AllergyIntolerance: allergy_intolerance.to_events,
    care_plan.CarePlan: care_plan.to_events,
    service_request.ServiceRequest: service_request.to_events,
    document_reference.DocumentReference: document_reference.to_events,
    family_member_history.FamilyMemberHistory: family_member_history.to_events,
}
"""The kinds that become events."""


class Unread(Struct):
    """A resource that carries no event by design, or that is not read: only its type and id are looked at."""

    id: Any = None


def _unread(resource_type: str) -> type[Struct]:
    return defstruct(
        resource_type, [], bases=(Unread,), tag=resource_type, tag_field="resourceType", gc=False
    )


_UNREAD = {
    name: _unread(name)
    for name in sorted(RESOURCE_TYPES - {kind.__name__ for kind in READ} - {"Medication"})
}

TYPE_OF: dict[type[Struct], str] = {
    **{kind: kind.__name__ for kind in READ},
    medication.Medication: "Medication",
    **{kind: name for name, kind in _UNREAD.items()},
}
"""The resource type of each struct: every type of R4 has one."""

decode: Callable[[bytes | Raw], Resource | Unread] = msgspec.json.Decoder(
    reduce(or_, [*READ, medication.Medication, *_UNREAD.values()])
).decode
"""The struct of a resource, of whatever type of R4; raises msgspec's errors (`validation.described`)."""

_UNREAD_BYTES = {name.encode(): name for name in _UNREAD if name != "Bundle"}


def plainly_unread(raw: bytes | Raw) -> str | None:
    """The type of a resource that is not read, where it is the first thing that the bytes say.

    For bytes already known to be JSON: it spares decoding the many and large ones.
    """
    start = bytes(memoryview(raw)[:64]).split(b'"', 4)
    if len(start) > 3 and start[1] == b"resourceType":
        return _UNREAD_BYTES.get(start[3])
    return None
