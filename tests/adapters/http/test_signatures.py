"""Standard Webhooks signatures: only the site's own, only now, only over the very bytes."""

import base64
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from adapters.http.errors import BadSignatureError
from adapters.http.signatures import StandardWebhooks

OLD = "whsec_" + base64.b64encode(b"old secret of twenty-four bytes!").decode()
NEW = "whsec_" + base64.b64encode(b"new secret of twenty-four bytes!").decode()
OTHER = "whsec_" + base64.b64encode(b"the secret of somebody else.....").decode()
BODY = json.dumps({"resourceType": "Observation", "id": "o1"}).encode()


def headers_for(
    body: bytes, *, secret: str = NEW, webhook_id: str = "w1", age: timedelta = timedelta(0)
) -> dict[str, str]:
    moment = datetime.now(UTC) - age  # noqa: TID251 - the library reads the wall clock
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, moment, body.decode()),
    }


verify = StandardWebhooks([OLD, NEW])


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_either_secret_is_good_while_they_rotate(secret: str) -> None:
    verify(headers_for(BODY, secret=secret), BODY)


def test_one_good_signature_among_several_is_enough() -> None:
    headers = headers_for(BODY)
    wrong = headers_for(BODY, secret=OTHER)["webhook-signature"]
    headers["webhook-signature"] = f"{wrong} v1a,abcd {headers['webhook-signature']}"
    verify(headers, BODY)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"webhook-signature": ""}, id="no signature"),
        pytest.param({"webhook-id": ""}, id="no id"),
        pytest.param({"webhook-timestamp": ""}, id="no timestamp"),
        pytest.param({"webhook-id": "w2"}, id="another id"),
        pytest.param({"webhook-timestamp": "soon"}, id="a timestamp that is no number"),
        pytest.param({"webhook-timestamp": "nan"}, id="a timestamp that is not a number"),
        pytest.param({"webhook-timestamp": "1e400"}, id="a timestamp without end"),
        pytest.param({"webhook-signature": "v1"}, id="no comma"),
        pytest.param({"webhook-signature": "v1,"}, id="nothing after the comma"),
        pytest.param({"webhook-signature": "v1,é"}, id="not base64"),
        pytest.param({"webhook-signature": "v2,AAAA"}, id="another version"),
    ],
)
def test_malformed_headers_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(BadSignatureError):
        verify({**headers_for(BODY), **changes}, BODY)


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_what_is_too_old_or_from_the_future_is_refused(age: timedelta) -> None:
    with pytest.raises(BadSignatureError):
        verify(headers_for(BODY, age=age), BODY)


@pytest.mark.parametrize("age", [timedelta(minutes=4), timedelta(minutes=-4)])
def test_a_clock_may_be_minutes_off(age: timedelta) -> None:
    verify(headers_for(BODY, age=age), BODY)


def test_the_signature_of_somebody_else_is_refused() -> None:
    with pytest.raises(BadSignatureError):
        verify(headers_for(BODY, secret=OTHER), BODY)


def test_re_serialised_json_is_refused_though_it_means_the_same() -> None:
    spaced = json.dumps(json.loads(BODY), indent=1).encode()
    assert json.loads(spaced) == json.loads(BODY)
    with pytest.raises(BadSignatureError):
        verify(headers_for(BODY), spaced)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(BadSignatureError):
        verify(headers_for(BODY), b"\xff\xfe")


def test_no_mutation_of_a_delivery_is_accepted() -> None:
    """Two thousand single changes of a body or a signature; every one is refused."""
    random_source = random.Random(20261124)
    headers = headers_for(BODY)
    signature = headers["webhook-signature"].removeprefix("v1,")
    raw = base64.b64decode(signature)
    for _ in range(1000):
        body = bytearray(BODY)
        position = random_source.randrange(len(body))
        change = random_source.choice(("flip", "drop", "add", "cut"))
        if change == "flip":
            body[position] ^= 1 << random_source.randrange(7)
        elif change == "drop":
            del body[position]
        elif change == "add":
            body.insert(position, random_source.randrange(128))
        else:
            del body[position:]
        if bytes(body) != BODY:
            with pytest.raises(BadSignatureError):
                verify(headers, bytes(body))
        forged = bytearray(raw)
        forged[random_source.randrange(len(forged))] ^= 1 << random_source.randrange(8)
        claimed = "v1," + base64.b64encode(forged).decode()
        with pytest.raises(BadSignatureError):
            verify({**headers, "webhook-signature": claimed}, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_is_no_secret(secret: str) -> None:
    with pytest.raises(Exception, match="empty"):
        StandardWebhooks([secret])
