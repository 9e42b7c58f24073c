"""The doors: signed deliveries are stored raw and answered; what they mean is worked out later.

Knows the order of checks (load, site, media type, size, signature, and only then a look inside). Does not
know what a resource or a note is.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, status

from adapters.http.bodies import essence_of, read_limited, require_json, require_xml
from adapters.http.dependencies import Given, VerifySignature, WebDependencies
from adapters.http.errors import (
    BadSignatureError,
    UnknownCallbackError,
    UnknownSiteError,
    address_of,
    request_id_of,
)
from adapters.http.gate import Gate
from adapters.http.schemas import CallbackAnswer, DeliveryReceipt, problems
from clinical.audit.entry import Act
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import ConflictingDeliveryError, Receipt

_REFUSALS = problems(400, 401, 404, 409, 413, 415, 503)
_RAW_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/fhir+json": {"schema": {"type": "object"}},
        },
    }
}
_RAW_XML: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            each: {"schema": {"type": "string"}} for each in ("application/xml", "text/xml")
        },
    }
}
# The lexical rule of a FHIR id, which a resource type also keeps.
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]

routes = APIRouter(prefix="/v1", tags=["webhooks"])


async def _from_ehr(site: str, request: Request, given: Given) -> AsyncIterator[bytes]:
    async with _gate(request).admitted():
        yield await _signed_body(site, request, given, given.fhir_verifiers)


async def _from_nabla(site: str, request: Request, given: Given) -> AsyncIterator[bytes]:
    async with _gate(request).admitted():
        yield await _signed_body(site, request, given, given.nabla_verifiers)


async def _document(site: str, request: Request, given: Given) -> AsyncIterator[bytes]:
    async with _gate(request).admitted():
        yield await _signed_body(site, request, given, given.fhir_verifiers, require_xml)


async def _from_nabla_core(site: str, request: Request, given: Given) -> AsyncIterator[bytes]:
    async with _gate(request).admitted():
        yield await _signed_body(site, request, given, given.nabla_core_verifiers)


def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


async def _signed_body(
    site: str,
    request: Request,
    given: WebDependencies,
    verifiers: Mapping[str, VerifySignature],
    require_type: Callable[[Request], str] = require_json,
) -> bytes:
    """The body as received, once its signature is known to be genuine."""
    verify = verifiers.get(site)
    if verify is None:
        raise UnknownSiteError("no site of this name may deliver here")
    # Said, not proven yet: of a bad signature the log tells at whose door it was tried.
    request.scope["clinical_actor"] = f"site:{site}"
    require_type(request)
    body = await read_limited(request, given.limits.max_webhook_bytes)
    try:
        verify(request.headers, body)
    except RejectedError as error:
        raise BadSignatureError("the delivery is not signed by this site, or not now") from error
    return body


EhrBody = Annotated[bytes, Depends(_from_ehr)]
NablaBody = Annotated[bytes, Depends(_from_nabla)]
DocumentBody = Annotated[bytes, Depends(_document)]
NablaCoreBody = Annotated[bytes, Depends(_from_nabla_core)]


@routes.post(
    "/fhir/{site}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_REFUSALS,
    openapi_extra=_RAW_BODY,
)
async def deliver(site: str, body: EhrBody, request: Request, given: Given) -> DeliveryReceipt:
    """Take in one FHIR resource or Bundle, signed as Standard Webhooks says.

    `webhook-id` makes redelivery harmless: the same id with the same bytes gets the same answer.
    Signed bytes that are no JSON are stored and quarantined, not refused: nothing is lost.
    """
    sender_id = request.headers["webhook-id"]
    return await _accept(request, given, site, Door.FHIR, body, sender_id, {})


@routes.put(
    "/fhir/{site}/{resource_type}/{resource_id}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_REFUSALS,
    openapi_extra=_RAW_BODY,
)
async def deliver_resource(
    site: str,
    resource_type: Name,
    resource_id: Name,
    body: EhrBody,
    request: Request,
    given: Given,
) -> DeliveryReceipt:
    """Take in one resource as a FHIR rest-hook subscription sends it, signed likewise."""
    context = {"type": resource_type, "id": resource_id}
    sender_id = request.headers["webhook-id"]
    return await _accept(request, given, site, Door.FHIR, body, sender_id, context)


@routes.post(
    "/ccda/{site}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_REFUSALS,
    openapi_extra=_RAW_XML,
)
async def deliver_document(
    site: str, body: DocumentBody, request: Request, given: Given
) -> DeliveryReceipt:
    """Take in one C-CDA document, signed as a FHIR delivery is.

    Signed bytes that are no document are stored and quarantined, not refused: nothing is lost.
    """
    sender_id = request.headers["webhook-id"]
    return await _accept(request, given, site, Door.CCDA, body, sender_id, {})


@routes.post("/nabla/{site}/connect", responses=_REFUSALS, openapi_extra=_RAW_BODY)
async def nabla_connect(
    site: str, body: NablaBody, request: Request, given: Given
) -> CallbackAnswer:
    """Take in a Nabla Connect callback and answer as its protocol says.

    A signed callback that cannot be understood is kept for the quarantine before it gets its 400.
    The protocol knows no conflict, and a clinician waits: other bytes under a `request_uuid` that was
    used are kept as a further version, and answered alike.
    """
    try:
        callback = given.parse_callback(body)
    except RejectedError:
        callback = None
    is_storable = callback is not None and callback.request_uuid.isprintable()
    sender_id = callback.request_uuid if callback and is_storable else _digest_id(body)
    await _keep(request, given, site, Door.NABLA_CONNECT, body, sender_id)
    if callback is None or callback.type not in given.callback_types:
        raise UnknownCallbackError("no callback of this type is known")
    return CallbackAnswer(request_uuid=callback.request_uuid)


@routes.post("/nabla/{site}/core", responses=_REFUSALS, openapi_extra=_RAW_BODY)
async def nabla_core(
    site: str, body: NablaCoreBody, request: Request, given: Given
) -> DeliveryReceipt:
    """Take in a webhook of Nabla Core: 200 for all that is signed, for it is stored.

    The envelope's `id` makes redelivery harmless. Types that are not known are kept; what is no
    envelope is kept for the quarantine.
    """
    try:
        sender_id = given.parse_core_event(body).id
    except RejectedError:
        sender_id = _digest_id(body)
    receipt = await _keep(request, given, site, Door.NABLA_CORE, body, sender_id)
    return DeliveryReceipt(
        delivery_id=receipt.delivery_id, digest=receipt.digest, status="accepted"
    )


@routes.post(
    "/nabla/{site}/normalized-data",
    status_code=status.HTTP_202_ACCEPTED,
    responses=_REFUSALS,
    openapi_extra=_RAW_BODY,
)
async def nabla_normalized_data(
    site: str, body: NablaBody, request: Request, given: Given
) -> DeliveryReceipt:
    """Take in the response of Nabla's `generate-normalized-data` in our envelope, signed alike.

    The digest of the bytes is its identity: the same envelope again gets the same answer.
    """
    sender_id = _digest_id(body)
    return await _accept(request, given, site, Door.NABLA_NORMALIZED, body, sender_id, {})


async def _keep(
    request: Request, given: WebDependencies, site: str, door: Door, body: bytes, sender_id: str
) -> Receipt:
    """Store; other bytes under a known id are stored under an id that follows from both."""
    run = _gate(request).run
    try:
        return await run(_take_in, request, given, site, door, body, sender_id, {})
    except ConflictingDeliveryError:
        further = f"{sender_id}#{_digest_id(body)}"
        return await run(_take_in, request, given, site, door, body, further, {})


def _digest_id(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


async def _accept(
    request: Request,
    given: WebDependencies,
    site: str,
    door: Door,
    body: bytes,
    sender_id: str,
    context: dict[str, str],
) -> DeliveryReceipt:
    receipt = await _gate(request).run(
        _take_in, request, given, site, door, body, sender_id, context
    )
    return DeliveryReceipt(
        delivery_id=receipt.delivery_id, digest=receipt.digest, status="accepted"
    )


def _take_in(
    request: Request,
    given: WebDependencies,
    site: str,
    door: Door,
    body: bytes,
    sender_id: str,
    context: dict[str, str],
) -> Receipt:
    now = given.clock.now()
    delivery = Delivery(
        delivery_id=given.identities.new(),
        site=site,
        door=door,
        sender_id=sender_id,
        body=body,
        content_type=essence_of(request),
        received_at=now,
        context=context,
    )
    act = Act(
        actor=f"site:{site}",
        at=now,
        request_id=request_id_of(request),
        address=address_of(request),
    )
    receipt = given.intake.receive(delivery, act)
    request.app.state.metrics.delivered(door.value, is_new=receipt.is_new)
    return receipt
