"""FHIR search parameters as questions of ours; what is not understood is refused, never ignored.

FHIR lets a server ignore what it does not know. Here that would tell more than was asked for.
Knows which parameters each type has; the CapabilityStatement says the same, and a test compares them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from clinical.audit.entry import AuditKind
from clinical.errors import RejectedError
from clinical.services.ports.disclosures import AuditQuery, ToldQuery
from clinical.timeline.patient import PatientRef

ACCOUNT_SYSTEM = "urn:clinical-jepa:account"
KIND_SYSTEM = "urn:clinical-jepa:audit-kind"
SITE_SYSTEM = "urn:clinical-jepa:site:"
URI_SYSTEM = "urn:ietf:rfc:3986"
_URN = "urn:uuid:"
_MAX_COUNT = 200
_MAX_PARAMETERS = 20
_PREFIXED = re.compile(r"(eq|ge|gt|le|lt|sa|eb)?(\d{4}-\d\d-\d\d(?:T.+)?)")
# Of these the values are patient data: who reads the audit log is told only that they were given.
_UNSAID = frozenset({"patient", "patient:identifier"})

Params = Sequence[tuple[str, str]]
Changes = dict[str, Any]
Known = Mapping[str, Callable[[str, Changes], Changes]]


class BadSearchError(RejectedError):
    """A search parameter is not known here, or its value is not one."""

    code = "fhir.bad_search"


def audit_search(params: Params) -> tuple[AuditQuery, str]:
    """The question to the audit log, and how the log may tell of it; raises BadSearchError."""
    changes = _changes(params, _OF_AUDIT)
    return replace(AuditQuery(), **changes), _said(params)


def told_search(params: Params, resource_type: str) -> tuple[ToldQuery, str]:
    """The question for decided predictions; raises BadSearchError."""
    changes = _changes(params, _OF_TOLD[resource_type])
    return replace(ToldQuery(), **changes), _said(params)


def no_search(params: Params) -> None:
    """Of a type that is only listed; raises BadSearchError."""
    _changes(params, {})


def parameters_of(resource_type: str) -> list[str]:
    """What the type can be searched by, without modifiers."""
    known = {"AuditEvent": _OF_AUDIT, **_OF_TOLD}.get(resource_type, {})
    return sorted({name.partition(":")[0] for name in known})


def following(params: Params, after: UUID) -> str:
    """The query of the next page."""
    kept = [(name, value) for name, value in params if name != "_after"]
    return urlencode([*kept, ("_after", str(after))])


def _changes(params: Params, known: Known) -> Changes:
    if len(params) > _MAX_PARAMETERS:
        raise BadSearchError("too many search parameters")
    changes: Changes = {}
    names: set[str] = set()
    for name, value in params:
        reader = {**known, **_OF_ALL}.get(name)
        if reader is None:
            raise BadSearchError("a search parameter is not known for this type")
        if name in names and reader is not _date:
            raise BadSearchError("a search parameter is given twice")
        names.add(name)
        changes |= reader(value, changes)
    return changes


def _said(params: Params) -> str:
    return urlencode(
        [(n, "(not told)" if n in _UNSAID else v) for n, v in params if n != "_format"]
    )


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise BadSearchError("an id that is searched for is not one of ours") from error


def _reference(value: str, *types: str) -> UUID:
    """`Type/id`, or the id alone."""
    type_, slash, identity = value.rpartition("/")
    if slash and type_ not in types:
        raise BadSearchError("a reference is to a type that it cannot be to")
    return _uuid(identity)


def _token(value: str, system: str) -> str:
    """The value behind `system|`, or alone."""
    given, bar, rest = value.rpartition("|")
    if bar and given != system:
        raise BadSearchError("the system of an identifier or code is not the one used here")
    return rest


def _patient(value: str, _: Changes) -> Changes:
    return {"patient_id": _reference(value, "Patient")}


def _patient_by_identifier(value: str, _: Changes) -> Changes:
    system, _bar, identity = value.rpartition("|")
    if system == URI_SYSTEM and identity.startswith(_URN):
        return {"patient_id": _uuid(identity.removeprefix(_URN))}
    if system.startswith(SITE_SYSTEM):
        return {"patient_id": PatientRef(system.removeprefix(SITE_SYSTEM), identity).patient_id}
    raise BadSearchError("a patient is named by our identifier, or by the site's system and its id")


def _identifier(value: str, _: Changes) -> Changes:
    named = _token(value, URI_SYSTEM)
    if not named.startswith(_URN):
        raise BadSearchError("our identifiers begin with urn:uuid:")
    return {"prediction_id": _uuid(named.removeprefix(_URN))}


def _agent(value: str, _: Changes) -> Changes:
    return {"actor": _token(value, ACCOUNT_SYSTEM)}


def _subtype(value: str, _: Changes) -> Changes:
    try:
        return {"kind": AuditKind(_token(value, KIND_SYSTEM))}
    except ValueError as error:
        raise BadSearchError("there is no such kind of audit entry") from error


def _entity(value: str, _: Changes) -> Changes:
    return {"about": _reference(value, "RiskAssessment", "Provenance", "AuditEvent")}


def _target(value: str, _: Changes) -> Changes:
    return {"prediction_id": _reference(value, "RiskAssessment")}


def _date(value: str, before: Changes) -> Changes:
    """Days are those of UTC. Several dates narrow each other."""
    found = _PREFIXED.fullmatch(value)
    if found is None:
        raise BadSearchError(
            "a date is a day or a moment with its zone, after one of eq ge gt le lt"
        )
    prefix, (start, end) = found[1] or "eq", _bounds(found[2])
    since = {"eq": start, "ge": start, "gt": end, "sa": end}.get(prefix)
    until = {"eq": end, "le": end, "lt": start, "eb": start}.get(prefix)
    changes: Changes = {}
    if since is not None:
        changes["since"] = max(since, before.get("since", since))
    if until is not None:
        changes["until"] = min(until, before.get("until", until))
    return changes


def _bounds(text: str) -> tuple[datetime, datetime]:
    try:
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadSearchError("a date is no date") from error
    if "T" not in text:
        return start.replace(tzinfo=UTC), start.replace(tzinfo=UTC) + timedelta(days=1)
    if start.tzinfo is None:
        raise BadSearchError("a moment is told with its zone")
    step = timedelta(milliseconds=1) if start.microsecond else timedelta(seconds=1)
    return start, start + step


def _count(value: str, _: Changes) -> Changes:
    if not re.fullmatch(r"\d{1,6}", value) or int(value) == 0:
        raise BadSearchError("_count is a number from 1 on")
    return {"limit": min(int(value), _MAX_COUNT)}


def _after(value: str, _: Changes) -> Changes:
    return {"after": _uuid(value)}


def _format(value: str, _: Changes) -> Changes:
    if value not in ("json", "application/json", "application/fhir+json"):
        raise BadSearchError("only JSON is spoken here")
    return {}


_OF_ALL: Known = {
    "_count": _count,
    "_after": _after,
    "_format": _format,
}
_OF_AUDIT: Known = {
    "_id": lambda value, _: {"entry_id": _uuid(value)},
    "agent:identifier": _agent,
    "date": _date,
    "entity": _entity,
    "patient": _patient,
    "patient:identifier": _patient_by_identifier,
    "subtype": _subtype,
}
_OF_TOLD: Mapping[str, Known] = {
    "RiskAssessment": {
        "_id": lambda value, _: {"prediction_id": _uuid(value)},
        "_lastUpdated": _date,
        "identifier": _identifier,
        "patient": _patient,
        "patient:identifier": _patient_by_identifier,
    },
    "Provenance": {
        "_id": lambda value, _: {"prediction_id": _uuid(value)},
        "patient": _patient,
        "patient:identifier": _patient_by_identifier,
        "target": _target,
    },
}
