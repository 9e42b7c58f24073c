"""The doors of subscriptions: proven by each vendor's own means, stored, and answered so that nobody stops telling us."""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Engine, text
from standardwebhooks import Webhook

from adapters.clock import SystemClock
from adapters.db.hub_secrets import SqlHubSecrets
from adapters.http.app import create_app
from adapters.http.proofs import (
    BodySignatureCheck,
    HeaderCheck,
    HubCheck,
    StandardWebhooksCheck,
)
from clinical.subscription.plan import subscription_id_of
from tests.adapters.http.conftest import MAX_BYTES, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.journeys.bundles import observation
from tests.notifications import bundle, encoded, parameters

TOKEN, NEXT_TOKEN = "Bearer one-static-token", "Bearer the-token-after-it"
SECRET, NEXT_SECRET = "a secret of the sender", "the secret after that one"
WHSEC = "whsec_" + base64.b64encode(b"a secret for standard webhooks..").decode()
HANDSHAKE_TOKEN = "a token in the address"
HUB_SECRET = "the secret that came with the handshake"
BODY = encoded(bundle(parameters("heartbeat", total="3")))
JSON = {"content-type": "application/fhir+json"}


@dataclass
class Doors:
    """A web process with one subscription of each kind at the site north."""

    client: httpx.Client
    engine: Engine

    def post(self, name: str, body: bytes = BODY, path: str = "", **headers: str) -> httpx.Response:
        url = f"/v1/fhir/north/subscriptions/{name}{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(url, content=body, headers={**JSON, **sent})

    def stored(self) -> list[Mapping[str, Any]]:
        query = text("SELECT sender_id, body, context, door FROM deliveries ORDER BY received_at")
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def num_owed(self, kind: str) -> int:
        query = text("SELECT count(*) FROM messages WHERE kind = :kind")
        with self.engine.connect() as connection:
            return int(connection.scalar(query, {"kind": kind}) or 0)


@pytest.fixture
def doors(engine: Engine) -> Iterator[Doors]:
    clock = StageClock()
    hub = HubCheck(
        subscription_id_of("north", "athena"),
        (),
        HANDSHAKE_TOKEN,
        SqlHubSecrets(engine),
        SystemClock(),
    )
    verifiers = {
        ("north", "static"): HeaderCheck("Authorization", (TOKEN, NEXT_TOKEN)),
        ("north", "athena"): hub,
        ("north", "medplum"): BodySignatureCheck("X-Signature", (SECRET, NEXT_SECRET)),
        ("north", "standard"): StandardWebhooksCheck((WHSEC,)),
    }
    app = create_app(dependencies(engine, clock, StagedModel(), notification_verifiers=verifiers))
    with served(app) as client:
        yield Doors(client=client, engine=engine)


def signed(secret: str, body: bytes, method: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, method).hexdigest()


def test_a_notification_is_stored_as_it_came_and_answered_200(doors: Doors) -> None:
    answer = doors.post("static", authorization=TOKEN)
    assert answer.status_code == 200
    (held,) = doors.stored()
    assert bytes(held["body"]) == BODY
    assert held["door"] == "fhir_notification"
    assert held["context"] == {"subscription": "static"}
    assert UUID(answer.json()["delivery_id"])


def test_handshakes_and_heartbeats_are_kept_as_evidence_and_owe_no_prediction(
    doors: Doors,
) -> None:
    doors.post("static", encoded(bundle(parameters("handshake", total="0"))), authorization=TOKEN)
    doors.post("static", authorization=TOKEN)
    assert len(doors.stored()) == 2
    assert doors.num_owed("prediction.make") == 0


def test_the_same_bytes_again_get_the_same_answer_and_are_held_once(doors: Doors) -> None:
    first = doors.post("static", authorization=TOKEN)
    again = doors.post("static", authorization=TOKEN)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(doors.stored()) == 1


def test_athenahealth_other_bytes_with_the_same_number_are_another_notification(
    doors: Doors,
) -> None:
    """Numbers begin anew in each of its Bundles: a conflict would lose an event."""
    for focus in ("Observation/o1", "Observation/o2"):
        body = encoded(bundle(parameters(numbers=["1"], focuses=[focus], total="1")))
        assert doors.post("static", body, authorization=TOKEN).status_code == 200
    assert len(doors.stored()) == 2


def test_either_token_is_good_while_they_rotate(doors: Doors) -> None:
    assert doors.post("static", authorization=NEXT_TOKEN).status_code == 200


@pytest.mark.parametrize("given", ["", "Bearer", TOKEN.upper(), TOKEN + "x", TOKEN[:-1], SECRET])
def test_a_wrong_token_is_refused_and_nothing_is_stored(doors: Doors, given: str) -> None:
    assert doors.post("static", authorization=given).status_code == 401
    assert doors.stored() == []


def test_a_token_of_one_subscription_opens_no_other(doors: Doors) -> None:
    assert doors.post("medplum", authorization=TOKEN).status_code == 401
    assert doors.post("unknown", authorization=TOKEN).status_code == 404
    elsewhere = doors.client.post(
        "/v1/fhir/south/subscriptions/static", content=BODY, headers={"authorization": TOKEN}
    )
    assert elsewhere.status_code == 404


def test_medplum_signs_the_body_in_a_header_of_its_own(doors: Doors) -> None:
    body = encoded(observation("o1", "p1"))
    assert doors.post("medplum", body, x_signature=signed(SECRET, body)).status_code == 200
    assert doors.post("medplum", BODY, x_signature=signed(NEXT_SECRET, BODY)).status_code == 200


def test_medplum_a_signature_over_other_bytes_is_refused(doors: Doors) -> None:
    signature = signed(SECRET, BODY)
    reserialised = BODY.replace(b": ", b":")
    for body in (BODY + b" ", BODY[:-5], reserialised, b""):
        assert doors.post("medplum", body, x_signature=signature).status_code == 401
    assert doors.stored() == []


def test_athenahealth_gives_its_secret_once_and_signs_with_it_from_then_on(doors: Doors) -> None:
    shaken = doors.post("athena", b"", path=f"?token={HANDSHAKE_TOKEN}", x_hub_secret=HUB_SECRET)
    assert shaken.status_code == 200
    signature = f"sha256={signed(HUB_SECRET, BODY)}"
    assert doors.post("athena", x_hub_signature=signature).status_code == 200
    assert [held["context"] for held in doors.stored()] == [
        {"subscription": "athena", "handshake": "true"},
        {"subscription": "athena"},
    ]
    assert all(HUB_SECRET.encode() not in bytes(held["body"]) for held in doors.stored())


def test_athenahealth_a_secret_from_somebody_without_the_token_is_not_taken(doors: Doors) -> None:
    for path in ("", "?token=guessed"):
        assert doors.post("athena", b"", path, x_hub_secret=HUB_SECRET).status_code == 401
    forged = f"sha256={signed(HUB_SECRET, BODY)}"
    assert doors.post("athena", x_hub_signature=forged).status_code == 401


@pytest.mark.parametrize("method", ["sha1", "md5", "sha512", "none", ""])
def test_athenahealth_a_signature_by_another_method_is_refused(doors: Doors, method: str) -> None:
    doors.post("athena", b"", path=f"?token={HANDSHAKE_TOKEN}", x_hub_secret=HUB_SECRET)
    used = method if method in hashlib.algorithms_available else "sha256"
    signature = f"{method}={signed(HUB_SECRET, BODY, used)}"
    assert doors.post("athena", x_hub_signature=signature).status_code == 401


def test_athenahealth_the_secret_before_the_last_is_good_no_longer(doors: Doors) -> None:
    secrets = [f"secret number {n} of the hub" for n in range(3)]
    for secret in secrets:
        doors.post("athena", b"", path=f"?token={HANDSHAKE_TOKEN}", x_hub_secret=secret)
    answers = [
        doors.post("athena", x_hub_signature=f"sha256={signed(secret, BODY)}").status_code
        for secret in secrets
    ]
    assert answers == [401, 200, 200]


def test_standard_webhooks_that_are_stale_are_refused(doors: Doors) -> None:
    def sent(age: timedelta) -> int:
        when = SystemClock().now() - age
        headers = {
            "webhook_id": "n1",
            "webhook_timestamp": str(int(when.timestamp())),
            "webhook_signature": Webhook(WHSEC).sign("n1", when, BODY.decode()),
        }
        return doors.post("standard", **headers).status_code

    assert sent(timedelta(0)) == 200
    assert sent(timedelta(minutes=6)) == 401
    assert sent(-timedelta(minutes=6)) == 401


def test_an_empty_post_of_the_classic_rest_hook_needs_no_media_type(doors: Doors) -> None:
    for _ in range(2):  # each is a change of its own
        answer = doors.client.post(
            "/v1/fhir/north/subscriptions/static", headers={"authorization": TOKEN}
        )
        assert answer.status_code == 200
    assert len(doors.stored()) == 2


def test_hapi_puts_a_resource_to_our_address_and_deletes_it_there(doors: Doors) -> None:
    url = "/v1/fhir/north/subscriptions/static/Observation/o1"
    headers = {**JSON, "authorization": TOKEN}
    put = doors.client.put(url, content=encoded(observation("o1", "p1")), headers=headers)
    deleted = doors.client.delete(url, headers={"authorization": TOKEN})
    assert (put.status_code, deleted.status_code) == (200, 200)
    where = {"subscription": "static", "type": "Observation", "id": "o1"}
    assert [held["context"] for held in doors.stored()] == [where, {**where, "method": "DELETE"}]


def test_proven_bytes_that_are_no_json_are_stored_all_the_same(doors: Doors) -> None:
    assert doors.post("static", b"{ cut of", authorization=TOKEN).status_code == 200
    assert [bytes(held["body"]) for held in doors.stored()] == [b"{ cut of"]


def test_a_body_above_the_limit_is_refused_before_it_is_read(doors: Doors) -> None:
    assert doors.post("static", b" " * (MAX_BYTES + 1), authorization=TOKEN).status_code == 413


def test_html_is_refused(doors: Doors) -> None:
    answer = doors.post("static", b"<html>", authorization=TOKEN, content_type="text/html")
    assert answer.status_code == 415


def test_a_flood_of_heartbeats_is_stored_and_owes_nothing_but_to_be_read(doors: Doors) -> None:
    for number in range(100):
        body = encoded(bundle(parameters("heartbeat", total=str(number))))
        assert doors.post("static", body, authorization=TOKEN).status_code == 200
    assert doors.num_owed("delivery.record") == 100
    assert doors.num_owed("ehr.fetch") == 0
