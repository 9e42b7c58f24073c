"""CDS Hooks 2.0 for EHRs: discovery, calls and feedback, one base address for each site.

Knows addresses and who may call. What is answered is the desk's matter.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from adapters.http.bodies import read_limited, require_json
from adapters.http.cds_desk import Caller, Desk
from adapters.http.cds_requests import UnknownServiceError, validated
from adapters.http.cds_schemas import Cards, Discovery, Feedback, FeedbackItem, Service
from adapters.http.cds_services import SERVICES
from adapters.http.dependencies import Given
from adapters.http.errors import UnknownSiteError, request_id_of
from adapters.http.schemas import problems
from clinical.audit.entry import Act
from clinical.review.card import CardVerdict
from clinical.services.cards import Call, SaidOfCard

_REFUSALS = problems(400, 401, 404, 413, 415, 503)
_CALL: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["hook", "hookInstance", "context"],
                    "properties": {
                        "hook": {"type": "string"},
                        "hookInstance": {"type": "string", "format": "uuid"},
                        "context": {"type": "object"},
                        "fhirServer": {"type": "string"},
                        "fhirAuthorization": {"type": "object"},
                        "prefetch": {"type": "object"},
                        "extension": {"type": "object"},
                    },
                }
            }
        },
    },
}
_FEEDBACK: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["feedback"],
                    "properties": {"feedback": {"type": "array", "items": {"type": "object"}}},
                }
            }
        },
    },
}
ServiceId = Annotated[str, Path(max_length=64)]

routes = APIRouter(prefix="/cds/{site}", tags=["cds-hooks"])


def _desk(request: Request) -> Desk:
    desk: Desk | None = request.app.state.cds_desk
    if desk is None:
        raise UnknownSiteError("no site of this name asks here")
    return desk


async def _caller(site: str, request: Request, given: Given) -> Caller:
    """Who calls, by the token that comes with every call, also with that of discovery."""
    desk = _desk(request)
    asking = desk.site(site)
    service_id = request.path_params.get("service_id")
    path = f"/cds/{site}/cds-services" + (f"/{service_id}" if service_id else "")
    if request.url.path.endswith("/feedback"):
        path += "/feedback"
    stated = request.headers.get("authorization")
    issuer = await desk.run(asking.check, stated, asking.audience(path))
    act = Act(
        actor=f"cds:{issuer or 'nobody'}", at=given.clock.now(), request_id=request_id_of(request)
    )
    return Caller(name=site, site=asking, issuer=issuer, act=act)


TheCaller = Annotated[Caller, Depends(_caller)]


@routes.get("/cds-services", responses=problems(401, 404, 503), response_model_exclude_unset=True)
async def discovery(caller: TheCaller, request: Request) -> Discovery:
    """What can be asked: each service once for every hook that it answers."""
    desk = _desk(request)
    call = Call(site=caller.name, service="discovery", hook="")
    await desk.run(desk.door.cards.note, call, caller.act, "listed")
    return Discovery(
        services=[
            Service(
                hook=hook.value,
                id=kind.service_id,
                title=kind.title,
                description=kind.description,
                usage_requirements=kind.usage,
                prefetch=dict(caller.site.prefetch),
            )
            for kind in SERVICES.values()
            for hook in kind.hooks
        ]
    )


@routes.post(
    "/cds-services/{service_id}",
    responses=_REFUSALS | problems(412),
    openapi_extra=_CALL,
    response_model_exclude_unset=True,
)
async def call(service_id: ServiceId, caller: TheCaller, request: Request, given: Given) -> Cards:
    """Cards for one hook, from what is stored; only draft orders are put to the model, within a limit of time.

    412 where nothing is held about the patient and the call did not bring the Patient.
    """
    desk = _desk(request)
    async with desk.admitted():
        require_json(request)
        body = await read_limited(request, given.limits.max_webhook_bytes)
        return Cards(cards=await desk.answer(caller, service_id, body))


@routes.post(
    "/cds-services/{service_id}/feedback",
    responses=_REFUSALS,
    openapi_extra=_FEEDBACK,
    response_class=Response,  # an empty answer, as the specification has it
)
async def feedback(
    service_id: ServiceId, caller: TheCaller, request: Request, given: Given
) -> Response:
    """What became of cards; kept beside the review of what they showed. The same again adds nothing."""
    desk = _desk(request)
    async with desk.admitted():
        if service_id not in SERVICES:
            raise UnknownServiceError("no service of this id")
        require_json(request)
        body = await read_limited(request, given.limits.max_webhook_bytes)
        said = [_said(item) for item in validated(Feedback, body).feedback]
        of = Call(site=caller.name, service=service_id, hook="")
        await desk.run(desk.door.cards.take_feedback, of, caller.act, said)
    return Response(status_code=200)


def _said(item: FeedbackItem) -> SaidOfCard:
    reason = item.override_reason.reason
    return SaidOfCard(
        card_id=item.card,
        verdict=CardVerdict(item.outcome),
        given_at=item.outcome_timestamp,
        reason_system=reason.system if reason else "",
        reason_code=reason.code if reason else "",
        reason_display=reason.display if reason else "",
        comment=item.override_reason.user_comment,
    )
