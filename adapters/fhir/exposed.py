"""What we expose as FHIR: the resources of a decided prediction by themselves, and what we are capable of.

The resources are those of the write-back (`outbound.py`); here they have ids of ours and refer to
each other at this service instead of within one transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.fhir.assessment import URI_SYSTEM, device
from adapters.fhir.audit_events import Service, audit_event
from adapters.fhir.outbound import device_url, entries_of
from adapters.sites.write_back import WriteBackChoices
from clinical.prediction.prediction import ModelFingerprint
from clinical.review.writeback import WriteBack
from clinical.services.ports.disclosures import AuditedAct
from clinical.timeline.patient import PatientRef

Json = dict[str, Any]

SITE_SYSTEM = "urn:clinical-jepa:site:"
"""Before the name of a site: the identifier system of its EHR's ids of patients."""
_URN = "urn:uuid:"
_CHOICES = WriteBackChoices()  # of a site that chose nothing: an assessment, as ranges in percent
_TYPES: Mapping[str, tuple[str, ...]] = {
    "AuditEvent": ("read", "search-type"),
    "Device": ("read", "search-type"),
    "Patient": ("read",),
    "Provenance": ("read", "search-type"),
    "RiskAssessment": ("read", "search-type"),
}
_PARAMETER_TYPES = {
    "_id": "token",
    "_lastUpdated": "date",
    "agent": "reference",
    "date": "date",
    "entity": "reference",
    "identifier": "token",
    "patient": "reference",
    "subtype": "token",
    "target": "reference",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposedShapes:
    """Renders what the web face exposes. `parameters_of` says what a type can be searched by."""

    service: Service
    version: str
    since: datetime
    parameters_of: Callable[[str], Sequence[str]]

    def audit_event(self, act: AuditedAct, *, shows_patients: bool) -> Json:
        """An audit entry as an AuditEvent."""
        return audit_event(act, self.service, shows_patients=shows_patients)

    def told(self, write_back: WriteBack) -> Mapping[str, Json]:
        """A decided prediction as its RiskAssessment and Provenance, by type."""
        return told(write_back)

    def device(self, model: ModelFingerprint) -> Json:
        """The model as a Device."""
        made = device(model, device_url(model))
        return {"id": _identity(made), **made}

    def patient(self, patient: PatientRef) -> Json:
        """Whom a pseudonym stands for: our identifier, and the EHR's id of its own patient record."""
        return {
            "resourceType": "Patient",
            "id": str(patient.patient_id),
            "identifier": [
                {"system": URI_SYSTEM, "value": f"{_URN}{patient.patient_id}"},
                {"system": f"{SITE_SYSTEM}{patient.site}", "value": patient.record_id},
            ],
        }

    def capability(self, base_url: str) -> Json:
        """The CapabilityStatement: exactly what is supported."""
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": self.since.date().isoformat(),
            "kind": "instance",
            "software": {"name": "clinical-jepa", "version": self.version},
            "implementation": {
                "description": "Decided predictions of clinical-jepa, and its audit log, to be read",
                "url": base_url,
            },
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json", "json"],
            "rest": [
                {
                    "mode": "server",
                    "security": {
                        "description": "A bearer token, from `clinical token issue`. Accounts with the role"
                        " auditor read AuditEvent and Device, others the rest and Device.",
                    },
                    "resource": [self._resource(each) for each in _TYPES],
                }
            ],
        }

    def _resource(self, resource_type: str) -> Json:
        described: Json = {
            "type": resource_type,
            "interaction": [{"code": code} for code in _TYPES[resource_type]],
            "versioning": "no-version",
        }
        parameters = [
            {"name": name, "type": _PARAMETER_TYPES[name]}
            for name in self.parameters_of(resource_type)
        ]
        if parameters:
            described["searchParam"] = parameters
        return described


def told(write_back: WriteBack) -> Mapping[str, Json]:
    """The resources of the write-back, by type, each with the id that it has here.

    Raises:
        NothingToWriteBackError
    """
    prediction_id = write_back.prediction.request.prediction_id
    found: dict[str, Json] = {}
    places: dict[str, str] = {}
    for entry in entries_of(write_back, _CHOICES):
        resource = entry.resource
        type_ = resource["resourceType"]
        id_ = _identity(resource) if type_ == "Device" else str(prediction_id)
        places[entry.full_url] = f"{type_}/{id_}"
        found[type_] = {"id": id_, **resource}
    decided = write_back.decision.decided_at.isoformat(timespec="milliseconds")
    for resource in found.values():
        resource["meta"] = {**resource["meta"], "versionId": "1", "lastUpdated": decided}
    return {type_: _placed(resource, places) for type_, resource in found.items()}


def _placed(value: Any, places: Mapping[str, str]) -> Any:
    """The same, referring to where things are here."""
    if isinstance(value, dict):
        return {
            name: places.get(each, each) if name == "reference" else _placed(each, places)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_placed(each, places) for each in value]
    return value


def _identity(resource: Json) -> str:
    (identifier,) = resource["identifier"]
    return str(UUID(identifier["value"].removeprefix(_URN)))
