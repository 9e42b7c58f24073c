"""An audit entry as an AuditEvent: a rendering, made when somebody asks, so that there is one truth.

Knows BALP's rules for agents and entities. Who is client and who server: what we did at an EHR makes
us its client; all else was asked of us. What an entry does not say is not guessed: an act whose
network address nobody noted has the name of the process in its place, as a URI.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.audit_kinds import (
    ACTION,
    BALP,
    CUSTODIAN,
    DICOM,
    ENTITY_ROLE,
    ENTITY_TYPE,
    EVENT_TYPE,
    INTERACTION,
    PARTICIPATION,
    PROFILE,
    PURPOSE,
    SHAPES,
    SOURCE_TYPE,
    Does,
    Server,
    Shape,
)
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.services.ports.disclosures import AuditedAct

Json = dict[str, Any]

ACCOUNT_SYSTEM = "urn:clinical-jepa:account"
"""The identifier system of the names of accounts."""
_PROCESSES = frozenset({"worker", "relay", "reaper", "audit", "import", "demo", "bench"})
_METHODS = {
    "GET": Does.READ,
    "POST": Does.CREATE,
    "PUT": Does.UPDATE,
    "PATCH": Does.UPDATE,
    "DELETE": Does.DELETE,
}
_MAX_STATUS_OF_CALLER = 500
_DENIED = frozenset({"401", "403", "429"})
_DELIVERING = "site:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """This service as others know it: a name that no other has, and where it is reached."""

    name: str
    url: str


def audit_event(act: AuditedAct, service: Service, *, shows_patients: bool) -> Json:
    """The AuditEvent of an entry, with the id of the entry.

    BALP wants one event for each patient; an entry about several has one event that names them all,
    and claims the profile without a patient. Without `shows_patients` it names none.
    """
    entry, shape = act.entry, _shape(act.entry)
    patients = act.patients if shows_patients else ()
    event: Json = {
        "resourceType": "AuditEvent",
        "id": str(entry.entry_id),
        "meta": _meta(entry, shape, len(patients)),
        "type": _type(shape),
        "subtype": _subtypes(entry, shape),
        "action": ACTION[shape.does],
        "recorded": entry.at.isoformat(timespec="milliseconds"),
        "outcome": shape.outcome,
        "agent": _agents(entry, shape, service),
        "source": {
            "site": service.name,
            "observer": _who(service.name),
            "type": [_coding(SOURCE_TYPE, "4", "Application Server")],
        },
        "entity": [
            *(_patient(each) for each in patients),
            _subject(entry, shape),
            *_transaction(act.request_id),
        ],
    }
    if shape.outcome != "0":
        event["outcomeDesc"] = _failure(entry)
    return event


def _shape(entry: AuditEntry) -> Shape:
    """As the table has it, but for the kinds of which the entry says what was done, or how it ended."""
    shape, refs = SHAPES[entry.kind], entry.refs
    does, outcome = shape.does, shape.outcome
    if entry.kind is AuditKind.REQUEST_REFUSED:
        does, outcome = _METHODS.get(refs["method"], Does.OPERATION), _outcome(refs["status"])
    elif entry.kind in (AuditKind.EHR_READ, AuditKind.EHR_WRITTEN):
        said = refs["interaction"]
        does = Does(said) if said in set(Does) else Does.OPERATION
        outcome = "8" if refs.get("why") else "0"
    elif entry.kind is AuditKind.DELIVERY_RECEIVED and refs.get("door") == "fhir_fetched":
        # What came in that way is what the EHR answered to a question of ours.
        return Shape(Does.READ, shape.subject, "EHR record", shape.why, Server.EHR)
    elif entry.kind in (AuditKind.EHR_PULLED, AuditKind.TIMELINES_EXPORTED) and _has_failed(refs):
        outcome = "8"
    return Shape(does, shape.subject, shape.noun, shape.why, shape.server, outcome)


def _has_failed(refs: Mapping[str, str]) -> bool:
    return bool(refs.get("why"))


def _outcome(status: str) -> str:
    """4: the caller's mistake; 8: somebody was kept out; 12: we could not."""
    if int(status) >= _MAX_STATUS_OF_CALLER:
        return "12"
    return "8" if status in _DENIED else "4"


def _failure(entry: AuditEntry) -> str:
    """In codes and numbers of ours alone."""
    said = [entry.refs.get("why", entry.kind.value)]
    if "status" in entry.refs:
        said.append(f"HTTP {entry.refs['status']}, {entry.refs['count']} times since")
        said.append(entry.refs["since"])
    return " ".join(said)


def _meta(entry: AuditEntry, shape: Shape, num_patients: int) -> Json:
    named = PROFILE.get(shape.does)
    meta: Json = {"versionId": "1", "lastUpdated": entry.at.isoformat(timespec="milliseconds")}
    if named is not None and shape.outcome == "0":
        of_patient = "Patient" if num_patients == 1 else ""
        meta["profile"] = [f"{BALP}/StructureDefinition/IHE.BasicAudit.{of_patient}{named}"]
    return meta


def _type(shape: Shape) -> Json:
    if shape.does is Does.SIGN_IN:
        return _coding(DICOM, "110114", "User Authentication")
    if shape.does is Does.EXPORT:
        return _coding(DICOM, "110106", "Export")
    return _coding(EVENT_TYPE, "rest", "RESTful Operation")


def _subtypes(entry: AuditEntry, shape: Shape) -> list[Json]:
    """The interaction, then our own kind; a delete has the interaction alone (BALP: exactly one)."""
    ours = {"system": "urn:clinical-jepa:audit-kind", "code": entry.kind.value}
    if shape.does is Does.SIGN_IN:
        return [_coding(DICOM, "110122", "Login"), ours]
    if shape.does is Does.EXPORT:
        return [ours]
    interaction = _coding(INTERACTION, shape.does.value, shape.does.value)
    return [interaction] if shape.does is Does.DELETE else [interaction, ours]


def _agents(entry: AuditEntry, shape: Shape, service: Service) -> list[Json]:
    ours = {"who": _who(service.name), "network": {"address": service.url, "type": "5"}}
    user = _user(entry, shape)
    if shape.server is Server.EHR:
        site = entry.refs.get("site", "")
        ehr = {
            "who": _who(f"EHR of {site}" if site else "EHR"),
            "network": _process(f"ehr:{site}" if site else "ehr"),
        }
        client, server = ours, ehr
    else:
        client, server = _client(entry), ours
    client_type, server_type = _roles(shape)
    return [
        {"type": client_type, "requestor": not user, **client},
        {"type": server_type, "requestor": False, **server},
        *user,
    ]


def _roles(shape: Shape) -> tuple[Json, Json]:
    """Of client and server. What is read flows to the client; a query, as DICOM has it, from it."""
    source = {"coding": [_coding(DICOM, "110153", "Source Role ID")]}
    destination = {"coding": [_coding(DICOM, "110152", "Destination Role ID")]}
    application = {"coding": [_coding(DICOM, "110150", "Application")]}
    if shape.does is Does.DELETE:
        return application, {"coding": [_coding(CUSTODIAN, "custodian", "Custodian")]}
    if shape.does in (Does.READ, Does.EXPORT):
        return destination, source
    return source, destination


def _client(entry: AuditEntry) -> Json:
    """What asked: a process of ours, a site's system, or somebody's browser or program."""
    address = entry.refs.get("from")
    network = {"address": address, "type": "2"} if address else _process(_client_name(entry.actor))
    return {"who": _who(_client_name(entry.actor)), "network": network}


def _client_name(actor: str) -> str:
    return actor if _is_system(actor) else "client"


def _process(name: str) -> Json:
    return {"address": f"urn:clinical-jepa:process:{name}", "type": "5"}


def _is_system(actor: str) -> bool:
    return actor in _PROCESSES or actor.startswith(_DELIVERING) or actor == "anonymous"


def _user(entry: AuditEntry, shape: Shape) -> list[Json]:
    if _is_system(entry.actor):
        return []
    is_recipient = shape.does in (Does.READ, Does.QUERY, Does.EXPORT, Does.SIGN_IN)
    code, display = ("IRCP", "information recipient") if is_recipient else ("AUT", "author")
    return [
        {
            "type": {"coding": [_coding(PARTICIPATION, code, display)]},
            "who": {
                "identifier": {"system": ACCOUNT_SYSTEM, "value": entry.actor},
                "display": entry.actor,
            },
            "name": entry.actor,
            "requestor": True,
            "purposeOfUse": [{"coding": [{"system": PURPOSE, "code": shape.why.value}]}],
        }
    ]


def _who(name: str) -> Json:
    return {"identifier": {"system": "urn:clinical-jepa:system", "value": name}, "display": name}


def _patient(patient_id: UUID) -> Json:
    return {
        "what": {"reference": f"Patient/{patient_id}", "type": "Patient"},
        "type": _coding(ENTITY_TYPE, "1", "Person"),
        "role": _coding(ENTITY_ROLE, "1", "Patient"),
    }


def _subject(entry: AuditEntry, shape: Shape) -> Json:
    of_system = _coding(ENTITY_TYPE, "2", "System Object")
    if shape.does is Does.QUERY:
        asked = _asked(entry)
        return {
            "type": of_system,
            "role": _coding(ENTITY_ROLE, "24", "Query"),
            "description": asked,
            "query": base64.b64encode(asked.encode()).decode(),
        }
    return {
        "what": _what(entry, shape),
        "type": of_system,
        "role": _coding(ENTITY_ROLE, "4", "Domain Resource"),
    }


def _asked(entry: AuditEntry) -> str:
    """The query as far as the entry holds it: never what a caller typed, which may be patient data."""
    path = entry.refs.get("route") or entry.refs.get("resource") or "reviews"
    query = entry.refs.get("query")
    return f"{path}?{query}" if query else path


def _what(entry: AuditEntry, shape: Shape) -> Json:
    """By our identifier, for most of it is no FHIR resource; with a reference where we expose one."""
    refs = entry.refs
    resource = refs.get("resource", "")
    named = refs.get(shape.subject) or _first(refs, ("prediction", "entry", "review", "delivery"))
    noun = resource or shape.noun
    if not named:
        return {"display": _asked(entry) if "route" in refs else noun}
    value = f"urn:uuid:{named}" if _is_uuid(named) else f"urn:clinical-jepa:model:{named}"
    what: Json = {"identifier": {"system": URI_SYSTEM, "value": value}, "display": noun}
    if resource in ("RiskAssessment", "Provenance", "AuditEvent"):
        what |= {"reference": f"{resource}/{named}", "type": resource}
    return what


def _first(refs: dict[str, str], names: tuple[str, ...]) -> str:
    return next((refs[name] for name in names if name in refs), "")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _transaction(request_id: str) -> list[Json]:
    if not request_id:
        return []
    return [
        {
            "what": {"identifier": {"value": request_id}},
            "type": _coding(f"{BALP}/CodeSystem/BasicAuditEntityType", "XrequestId"),
        }
    ]


def _coding(system: str, code: str, display: str = "") -> Json:
    return {"system": system, "code": code} | ({"display": display} if display else {})
