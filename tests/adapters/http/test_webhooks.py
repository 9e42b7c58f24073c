"""The doors: what is stored, what is refused, and that nothing in between can happen."""

import asyncio
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.services.delivery import Delivery, Door
from tests.adapters.http.conftest import MAX_BYTES, NABLA_SECRET, WEBHOOK_SECRET, Stage
from tests.adapters.http.test_signatures import headers_for

pytestmark = pytest.mark.integration

OBSERVATION = json.dumps({"resourceType": "Observation", "id": "o1", "status": "final"}).encode()
CALLBACK: dict[str, Any] = {
    "request_uuid": "6f1c6f3e-8a54-4b07-a4c5-0d6b1f0f3a11",
    "type": "NOTE_EXPORT",
    "data": {
        "external_patient_id": "p1",
        "external_encounter_id": "e1",
        "external_provider_id": "d1",
        "note": {"sections": [{"title": "Plan", "content": "Rest.", "category": None}]},
    },
}


def deliver(
    stage: Stage,
    body: bytes = OBSERVATION,
    *,
    path: str = "/v1/fhir/north",
    method: str = "POST",
    webhook_id: str = "w1",
    content_type: str = "application/fhir+json",
    **headers: str,
) -> Any:
    signed = headers_for(body, secret=WEBHOOK_SECRET, webhook_id=webhook_id)
    sent = {**signed, "content-type": content_type, **headers}
    return stage.client.request(method, path, content=body, headers=sent)


def held(stage: Stage, delivery_id: str) -> Delivery:
    with stage.deps.open_unit_of_work() as uow:
        return uow.inbox.get(UUID(delivery_id))


def owed(stage: Stage) -> int:
    with stage.deps.open_unit_of_work() as uow:
        return uow.outbox.pending()


def code_of(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).rpartition(":")[2]


def test_a_signed_resource_is_stored_as_received_and_owed(stage: Stage) -> None:
    answer = deliver(stage)
    assert answer.status_code == 202
    receipt = answer.json()
    delivery = held(stage, receipt["delivery_id"])
    assert delivery.body == OBSERVATION
    assert delivery.digest == receipt["digest"] == hashlib.sha256(OBSERVATION).hexdigest()
    assert (delivery.site, delivery.door, delivery.sender_id) == ("north", Door.FHIR, "w1")
    assert delivery.content_type == "application/fhir+json"
    assert owed(stage) == 1
    with stage.deps.open_unit_of_work() as uow:
        (entry,) = uow.audit_log.history(delivery=receipt["delivery_id"])
    assert (entry.kind, entry.actor) == (AuditKind.DELIVERY_RECEIVED, "site:north")
    assert entry.request_id == answer.headers["x-request-id"]


def test_a_signed_document_is_stored_as_received(stage: Stage) -> None:
    body = b'<ClinicalDocument xmlns="urn:hl7-org:v3"/>'
    answer = deliver(stage, body, path="/v1/ccda/north", content_type="text/xml; charset=utf-8")
    assert answer.status_code == 202
    delivery = held(stage, answer.json()["delivery_id"])
    assert (delivery.body, delivery.door, delivery.content_type) == (body, Door.CCDA, "text/xml")
    assert owed(stage) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content_type": "application/json"}, 415),
        ({"content_type": "application/xml", "content-encoding": "gzip"}, 415),
        ({"content_type": "application/xml", "webhook-signature": "v1,AAAA"}, 401),
        ({"content_type": "application/xml", "path": "/v1/ccda/south"}, 404),
    ],
)
def test_a_document_is_refused_as_any_delivery_is(
    stage: Stage, changes: dict[str, Any], status: int
) -> None:
    assert deliver(stage, b"<x/>", **{"path": "/v1/ccda/north"} | changes).status_code == status
    assert owed(stage) == 0


def test_a_rest_hook_keeps_the_address_that_it_was_put_to(stage: Stage) -> None:
    answer = deliver(stage, path="/v1/fhir/north/Observation/o1", method="PUT")
    assert answer.status_code == 202
    assert held(stage, answer.json()["delivery_id"]).context == {"type": "Observation", "id": "o1"}


def test_a_delivery_repeated_gets_the_same_answer_and_changes_nothing(stage: Stage) -> None:
    first, again = deliver(stage), deliver(stage)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert owed(stage) == 1


def test_an_id_used_again_for_other_bytes_is_a_conflict_and_the_first_stands(stage: Stage) -> None:
    first = deliver(stage)
    other = deliver(stage, OBSERVATION.replace(b"final", b"amended"))
    assert (other.status_code, code_of(other)) == (409, "intake.conflicting_delivery")
    assert held(stage, first.json()["delivery_id"]).body == OBSERVATION


@pytest.mark.parametrize(
    "body", [b"this is not JSON", b"", b'{"resourceType": "Obs', b"[]", b"1e999"]
)
def test_signed_bytes_that_are_no_resource_are_kept_for_the_quarantine(
    stage: Stage, body: bytes
) -> None:
    answer = deliver(stage, body)
    assert answer.status_code == 202
    assert held(stage, answer.json()["delivery_id"]).body == body


def test_an_unknown_site_is_not_found(stage: Stage) -> None:
    for path in ("/v1/fhir/south", "/v1/nabla/south/connect", "/v1/nabla/south/normalized-data"):
        answer = deliver(stage, path=path)
        assert (answer.status_code, code_of(answer)) == (404, "http.unknown_site")


def test_unsigned_stale_and_altered_deliveries_are_refused_and_nothing_is_stored(
    stage: Stage,
) -> None:
    good = headers_for(OBSERVATION, secret=WEBHOOK_SECRET)
    old = headers_for(OBSERVATION, secret=WEBHOOK_SECRET, age=timedelta(minutes=6))
    early = headers_for(OBSERVATION, secret=WEBHOOK_SECRET, age=timedelta(minutes=-6))
    respaced = json.dumps(json.loads(OBSERVATION), indent=2).encode()
    attempts = [
        ({}, OBSERVATION),
        (headers_for(OBSERVATION), OBSERVATION),
        (old, OBSERVATION),
        (early, OBSERVATION),
        ({**good, "webhook-id": "w2"}, OBSERVATION),
        (good, OBSERVATION[:-1]),
        (good, OBSERVATION + b" "),
        (good, respaced),
    ]
    for headers, body in attempts:
        sent = {"content-type": "application/fhir+json", **headers}
        answer = stage.client.post("/v1/fhir/north", content=body, headers=sent)
        assert (answer.status_code, code_of(answer)) == (401, "http.bad_signature")
    assert owed(stage) == 0


@pytest.mark.parametrize(
    ("content_type", "more"),
    [
        ("application/fhir+xml", {}),
        ("text/plain", {}),
        ("", {}),
        ("application/fhir+json", {"content-encoding": "gzip"}),
    ],
)
def test_anything_but_plain_json_is_an_unsupported_media_type(
    stage: Stage, content_type: str, more: dict[str, str]
) -> None:
    answer = deliver(stage, content_type=content_type, **more)
    assert (answer.status_code, code_of(answer)) == (415, "http.unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/fhir+json; charset=utf-8"]
)
def test_json_by_any_of_its_names_is_taken(stage: Stage, content_type: str) -> None:
    assert deliver(stage, content_type=content_type).status_code == 202


def test_the_largest_body_is_taken_and_one_byte_more_is_not(stage: Stage) -> None:
    assert deliver(stage, b" " * MAX_BYTES).status_code == 202
    answer = deliver(stage, b" " * (MAX_BYTES + 1), webhook_id="w2")
    assert (answer.status_code, code_of(answer)) == (413, "http.too_large")


@pytest.mark.parametrize("announced", [True, False])
def test_of_a_body_of_200_megabytes_no_more_than_the_limit_is_read(
    stage: Stage, announced: bool
) -> None:
    """Announced, nothing is read; streamed without its length, reading ends at the limit."""
    chunk, num_chunks = b"x" * 16_384, 200 * 1024 * 1024 // 16_384
    handed_out = 0
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal handed_out
        handed_out += 1
        return {"type": "http.request", "body": chunk, "more_body": handed_out < num_chunks}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = headers_for(OBSERVATION, secret=WEBHOOK_SECRET)
    headers["content-type"] = "application/fhir+json"
    if announced:
        headers["content-length"] = str(len(chunk) * num_chunks)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/v1/fhir/north",
        "raw_path": b"/v1/fhir/north",
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 443),
    }
    asyncio.run(stage.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert handed_out == (0 if announced else MAX_BYTES // len(chunk) + 1)


def nabla_headers(stage: Stage, body: bytes, *, age: timedelta = timedelta(0)) -> dict[str, str]:
    stamp = (stage.clock.now() - age).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    signature = hmac.new(NABLA_SECRET.encode(), stamp.encode() + body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-nabla-connect-timestamp": stamp,
        "x-nabla-connect-signature": signature,
    }


def call_back(
    stage: Stage, content: Any, path: str = "/v1/nabla/north/connect", **more: Any
) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return stage.client.post(path, content=body, headers=nabla_headers(stage, body, **more))


def in_inbox(stage: Stage, door: Door) -> list[bytes]:
    from sqlalchemy import select

    from adapters.db.tables import deliveries

    with stage.engine.connect() as connection:
        found = connection.scalars(select(deliveries.c.body).where(deliveries.c.door == door.value))
        return [bytes(body) for body in found]


def test_a_nabla_callback_gets_exactly_the_answer_of_its_protocol(stage: Stage) -> None:
    first, again = call_back(stage, CALLBACK), call_back(stage, CALLBACK)
    for answer in (first, again):
        assert answer.status_code == 200
        assert answer.json() == {"request_uuid": CALLBACK["request_uuid"]}
    assert in_inbox(stage, Door.NABLA_CONNECT) == [json.dumps(CALLBACK).encode()]


@pytest.mark.parametrize(
    "content",
    [
        {**CALLBACK, "type": "SOMETHING_NEW"},
        {"hello": "world"},
        {**CALLBACK, "request_uuid": "\u0000"},
        b"not JSON",
        b"[]",
    ],
)
def test_a_callback_of_no_known_type_is_refused_but_kept(stage: Stage, content: Any) -> None:
    answer = call_back(stage, content)
    assert (answer.status_code, code_of(answer)) == (400, "http.unknown_callback")
    assert call_back(stage, content).status_code == 400
    assert len(in_inbox(stage, Door.NABLA_CONNECT)) == 1


@pytest.mark.parametrize("path", ["/v1/nabla/north/connect", "/v1/nabla/north/normalized-data"])
def test_forged_stale_and_future_callbacks_are_refused(stage: Stage, path: str) -> None:
    body = json.dumps(CALLBACK).encode()
    good = nabla_headers(stage, body)
    for headers, sent in (
        ({"content-type": "application/json"}, body),
        ({**good, "x-nabla-connect-signature": "00" * 32}, body),
        (good, body + b" "),
        (nabla_headers(stage, body, age=timedelta(hours=1)), body),
        (nabla_headers(stage, body, age=timedelta(hours=-1)), body),
    ):
        answer = stage.client.post(path, content=sent, headers=headers)
        assert (answer.status_code, code_of(answer)) == (401, "http.bad_signature")
    assert owed(stage) == 0


def test_normalized_data_is_stored_under_its_digest(stage: Stage) -> None:
    envelope = {"any": "envelope"}
    path = "/v1/nabla/north/normalized-data"
    first, again = call_back(stage, envelope, path), call_back(stage, envelope, path)
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert in_inbox(stage, Door.NABLA_NORMALIZED) == [json.dumps(envelope).encode()]
