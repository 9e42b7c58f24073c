"""What we expose as FHIR R4, to be read only: the audit log, and what clinicians agreed with.

Who asks is known by a token for programs or by the session of the page. Auditors read AuditEvents
with our pseudonyms of patients; everybody else reads RiskAssessments, their Provenance and whose
they are. Each answer is audited in the transaction that read it. How a resource looks is not known
here: assembly gives what renders it.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from adapters.http.dependencies import Given, WebDependencies
from adapters.http.errors import (
    NoSuchPageError,
    NotAcceptableError,
    NotAllowedError,
    SignedOutError,
)
from adapters.http.outcomes import fhir_answer
from adapters.http.searches import audit_search, following, no_search, told_search
from adapters.http.sessions import AUDITOR, COOKIE, Session, act_of, session_of
from clinical.audit.entry import Act
from clinical.errors import NotFoundError

routes = APIRouter(prefix="/fhir", include_in_schema=False)

Json = dict[str, Any]
_OF_AUDITORS = frozenset({"AuditEvent", "Device"})
_OF_OTHERS = frozenset({"RiskAssessment", "Provenance", "Patient", "Device"})
_BEARER = "bearer "


def _asking(request: Request, given: Given) -> Session:
    """Whoever a bearer token speaks for, else whoever is signed in; raises SignedOutError."""
    scheme_and_token = request.headers.get("authorization", "")
    if not scheme_and_token:
        session = session_of(request.cookies.get(COOKIE, ""), given)
    elif scheme_and_token.lower().startswith(_BEARER):
        session = _of_token(scheme_and_token[len(_BEARER) :].strip(), given)
    else:
        raise SignedOutError("send a bearer token")
    request.scope["clinical_actor"] = session.name  # in case that the rest is refused
    return session


def _of_token(token: str, given: WebDependencies) -> Session:
    now = given.clock.now()
    known = given.bearer(token, now)
    if known is None:
        raise SignedOutError("the token is unknown, over, or was taken back")
    return Session(name=known.name, display_name=known.display_name, role=known.role, ends_at=now)


Asking = Annotated[Session, Depends(_asking)]


@routes.get("/metadata")
def metadata(request: Request, given: Given) -> Response:
    """What is supported, to everybody who asks."""
    return fhir_answer(given.shapes.capability(_base(request, given)))


@routes.get("/{resource_type}/{resource_id}")
def read(
    resource_type: str, resource_id: str, asking: Asking, request: Request, given: Given
) -> Response:
    """One resource."""
    _require_json(request)
    _require_allowed(resource_type, asking)
    try:
        identity = UUID(resource_id)
    except ValueError as error:
        raise NotFoundError("nothing has this identity") from error
    found = _read(resource_type, identity, act_of(asking, request, given), given)
    return fhir_answer(found, headers={"ETag": 'W/"1"'})


def _read(resource_type: str, identity: UUID, act: Act, given: WebDependencies) -> Json:
    if resource_type == "AuditEvent":
        audited = given.disclosures.audited(identity, act)
        return given.shapes.audit_event(audited, shows_patients=True)
    if resource_type == "Patient":
        return given.shapes.patient(given.disclosures.patient(identity, act))
    if resource_type == "Device":
        for each in _devices(act, given):
            if each["id"] == str(identity):
                return each
        raise NotFoundError("nothing has this identity")
    told = given.disclosures.told(identity, act, resource_type)
    return given.shapes.told(told)[resource_type]


@routes.get("/{resource_type}")
def search(resource_type: str, asking: Asking, request: Request, given: Given) -> Response:
    """A page of resources, the newest first, with a link to the next one."""
    _require_json(request)
    _require_allowed(resource_type, asking)
    params = request.query_params.multi_items()
    found, after = _search(resource_type, params, act_of(asking, request, given), given)
    here = f"{_base(request, given)}/{resource_type}"
    query = request.url.query
    links = [{"relation": "self", "url": f"{here}?{query}" if query else here}]
    if after is not None:
        links.append({"relation": "next", "url": f"{here}?{following(params, after)}"})
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if found:
        bundle["entry"] = [
            {
                "fullUrl": f"{here}/{each['id']}",
                "resource": each,
                "search": {"mode": "match"},
            }
            for each in found
        ]
    return fhir_answer(bundle)


def _search(
    resource_type: str, params: list[tuple[str, str]], act: Act, given: WebDependencies
) -> tuple[list[Json], UUID | None]:
    """The resources, and behind which the next page goes on, where there may be one."""
    if resource_type == "AuditEvent":
        query, said = audit_search(params)
        acts = given.disclosures.search_audited(query, act, said)
        shown = [given.shapes.audit_event(each, shows_patients=True) for each in acts]
        return shown, acts[-1].entry.entry_id if len(acts) == query.limit else None
    if resource_type == "Device":
        no_search(params)
        return _devices(act, given), None
    if resource_type == "Patient":
        raise NotAllowedError("patients are read by their id, not searched for")
    asked, said = told_search(params, resource_type)
    told = given.disclosures.search_told(asked, act, resource_type, said)
    shown = [given.shapes.told(each)[resource_type] for _, each in told]
    return shown, told[-1][0] if len(told) == asked.limit else None


def _devices(act: Act, given: WebDependencies) -> list[Json]:
    return [given.shapes.device(model) for model in given.disclosures.models(act)]


def _require_allowed(resource_type: str, asking: Session) -> None:
    if resource_type not in _OF_AUDITORS | _OF_OTHERS:
        raise NoSuchPageError("resources of this type are not exposed")
    allowed = _OF_AUDITORS if asking.role == AUDITOR else _OF_OTHERS
    if resource_type not in allowed:
        raise NotAllowedError("the role of this account does not allow this type")


def _require_json(request: Request) -> None:
    accepted = request.headers.get("accept", "*/*").lower()
    if "json" not in accepted and "*" not in accepted:
        raise NotAcceptableError("only JSON is spoken here")


def _base(request: Request, given: WebDependencies) -> str:
    """Where we are reached: as the site says, else as the caller reached us."""
    return f"{given.public_url or str(request.base_url).rstrip('/')}/fhir"
