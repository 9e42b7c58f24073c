"""The doors of subscriptions: each notification proven by its subscription's own means, stored, answered.

Knows the order of checks, and that an EHR which is told "conflict" or kept waiting stops telling us
things: other bytes are another delivery, and what they mean is worked out later. Does not know what a
status is.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from adapters.http.bodies import read_limited, require_json
from adapters.http.dependencies import Given, WebDependencies
from adapters.http.errors import UnknownSiteError
from adapters.http.gate import Gate
from adapters.http.proofs import Shown
from adapters.http.schemas import DeliveryReceipt, problems
from clinical.audit.entry import Act
from clinical.services.delivery import Delivery, Door

_REFUSALS = problems(400, 401, 404, 413, 415, 503)
_FHIR_JSON = "application/fhir+json"
_RAW_BODY = {
    "requestBody": {
        "required": False,
        "content": {_FHIR_JSON: {"schema": {"type": "object"}}},
    }
}
# The lexical rule of a FHIR id, which a resource type also keeps.
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]

routes = APIRouter(prefix="/v1/fhir/{site}/subscriptions", tags=["webhooks"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A body whose sender is known; `is_handshake`: it came with a secret, which is all it may say."""

    body: bytes
    is_handshake: bool


async def _from_subscription(
    site: str, name: Name, request: Request, given: Given
) -> AsyncIterator[Proven]:
    gate: Gate = request.app.state.gate
    async with gate.admitted():
        verify = given.notification_verifiers.get((site, name))
        if verify is None:
            raise UnknownSiteError("no subscription of this name may notify here")
        body = await read_limited(request, given.limits.max_webhook_bytes)
        if body:
            require_json(request)
        shown = Shown(
            headers=request.headers, token=request.query_params.get("token", ""), body=body
        )
        is_handshake = await gate.run(verify, shown)
        yield Proven(body=body, is_handshake=is_handshake)


Notified = Annotated[Proven, Depends(_from_subscription)]


@routes.post("/{name}", responses=_REFUSALS, openapi_extra=_RAW_BODY)
async def notify(
    site: str, name: Name, proven: Notified, request: Request, given: Given
) -> DeliveryReceipt:
    """Take in a notification: a Bundle with its status, a resource, or nothing but word of a change.

    Handshakes and heartbeats are answered alike. The same bytes again get the same answer; other
    bytes are another notification, whatever number they bear.
    """
    context = {"handshake": "true"} if proven.is_handshake else {}
    return await _accept(request, given, site, name, proven, context)


@routes.put("/{name}/{resource_type}/{resource_id}", responses=_REFUSALS, openapi_extra=_RAW_BODY)
async def notify_resource(
    site: str,
    name: Name,
    resource_type: Name,
    resource_id: Name,
    proven: Notified,
    request: Request,
    given: Given,
) -> DeliveryReceipt:
    """Take in one resource as R4's rest-hook with a payload sends it."""
    context = {"type": resource_type, "id": resource_id}
    return await _accept(request, given, site, name, proven, context)


@routes.delete("/{name}/{resource_type}/{resource_id}", responses=_REFUSALS)
async def notify_deletion(
    site: str,
    name: Name,
    resource_type: Name,
    resource_id: Name,
    proven: Notified,
    request: Request,
    given: Given,
) -> DeliveryReceipt:
    """Take in word that a resource was deleted, as HAPI FHIR sends it where it is told to."""
    context = {"type": resource_type, "id": resource_id, "method": "DELETE"}
    return await _accept(request, given, site, name, proven, context)


async def _accept(
    request: Request,
    given: WebDependencies,
    site: str,
    name: str,
    proven: Proven,
    context: dict[str, str],
) -> DeliveryReceipt:
    gate: Gate = request.app.state.gate
    return await gate.run(
        _take_in, request, given, site, proven.body, {**context, "subscription": name}
    )


def _take_in(
    request: Request, given: WebDependencies, site: str, body: bytes, context: dict[str, str]
) -> DeliveryReceipt:
    now = given.clock.now()
    delivery = Delivery(
        delivery_id=given.identities.new(),
        site=site,
        door=Door.FHIR_NOTIFICATION,
        sender_id="",
        body=body,
        content_type=_FHIR_JSON,
        received_at=now,
        context=context,
    )
    act = Act(
        actor=f"site:{site}",
        at=now,
        request_id=str(request.scope.get("clinical_request_id", "")),
    )
    receipt = given.intake.receive(delivery.named(_sender_id(delivery)), act)
    request.app.state.metrics.delivered(Door.FHIR_NOTIFICATION.value, is_new=receipt.is_new)
    return DeliveryReceipt(
        delivery_id=receipt.delivery_id, digest=receipt.digest, status="accepted"
    )


def _sender_id(delivery: Delivery) -> str:
    """By the bytes and where they were sent to; without bytes each is one of its own."""
    told = delivery.context
    where = f"{told['subscription']}/{told.get('type', '')}/{told.get('id', '')}"
    what = f"sha256:{delivery.digest}" if delivery.body else str(delivery.delivery_id)
    return f"{where}@{what}"
