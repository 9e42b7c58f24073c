"""Sign-in: whoever is let in, everybody else is told the same, and no token can be made up."""

import base64
import json
from datetime import timedelta

import jwt
import pytest

from adapters.http.sessions import COOKIE, REQUEST_HEADER, FailedSignIns, token_for
from tests.adapters.http.conftest import NOW, PASSWORD, Person, Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def anna(stage: Stage) -> Stage:
    stage.deps.clinicians.add("anna", "Dr Anna", PASSWORD, "clinician")  # type: ignore[attr-defined]
    return stage


def test_the_right_password_opens_a_session_that_scripts_cannot_read(anna: Stage) -> None:
    answer = anna.write("/v1/session", body={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 201
    assert (answer.json()["name"], answer.json()["display_name"]) == ("anna", "Dr Anna")
    cookie = answer.headers["set-cookie"].lower()
    for attribute in ("httponly", "samesite=strict", "path=/", "max-age=28800"):
        assert attribute in cookie
    assert anna.get("/v1/session").json()["role"] == "clinician"
    assert anna.client.delete("/v1/session", headers={REQUEST_HEADER: "test"}).status_code == 204
    assert anna.get("/v1/session").json() is None


def test_behind_tls_the_cookie_never_travels_without_it(anna: Stage) -> None:
    answer = anna.write(
        "/v1/session",
        body={"name": "anna", "password": PASSWORD},
        **{"X-Forwarded-Proto": "https"},
    )
    assert "secure" in answer.headers["set-cookie"].lower().split("; ")


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(anna: Stage) -> None:
    wrong_password = anna.write("/v1/session", body={"name": "anna", "password": "wrong"})
    wrong_name = anna.write("/v1/session", body={"name": "nobody", "password": "wrong"})
    assert wrong_password.status_code == wrong_name.status_code == 401
    told = [{**a.json(), "request_id": ""} for a in (wrong_password, wrong_name)]
    assert told[0] == told[1]
    assert "anna" not in wrong_password.text


def test_too_many_failures_are_refused_for_a_while_known_name_or_not(anna: Stage) -> None:
    for name in ("anna", "nobody"):
        for _ in range(5):
            assert (
                anna.write("/v1/session", body={"name": name, "password": "wrong"}).status_code
                == 401
            )
        refused = anna.write("/v1/session", body={"name": name, "password": PASSWORD})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
    anna.clock.advance(timedelta(minutes=6))
    assert anna.write("/v1/session", body={"name": "anna", "password": PASSWORD}).status_code == 201


def test_signing_in_needs_the_header_that_other_origins_cannot_send(anna: Stage) -> None:
    answer = anna.client.post("/v1/session", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 403


def test_a_session_ends_after_its_hours(stage: Stage) -> None:
    stage.sign_in()
    stage.clock.advance(timedelta(hours=7, minutes=59))
    assert stage.get("/v1/reviews").status_code == 200
    stage.clock.advance(timedelta(minutes=2))
    assert stage.get("/v1/reviews").status_code == 401
    assert stage.get("/v1/session").json() is None


def _forged(stage: Stage) -> dict[str, str]:
    good = token_for(Person("anna", "Anna"), NOW, stage.deps)
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    key = stage.deps.session_key

    def coded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return {
        "empty": "",
        "words": "let me in",
        "none": f"{coded({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "None": f"{coded({'alg': 'None', 'typ': 'JWT'})}.{body}.",
        "unsigned": f"{head}.{body}.",
        "another key": jwt.encode(claims, b"another key of thirty-two bytes.", "HS256"),
        "another algorithm": jwt.encode(claims, key + key, "HS512"),
        "a role of their own": f"{head}.{coded({**claims, 'role': 'admin'})}.{signature}",
        "no end": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, key, "HS256"),
        "no role": jwt.encode({k: v for k, v in claims.items() if k != "role"}, key, "HS256"),
        "no name": jwt.encode({k: v for k, v in claims.items() if k != "sub"}, key, "HS256"),
        "over": jwt.encode({**claims, "exp": int(NOW.timestamp()) - 1}, key, "HS256"),
        "not begun": jwt.encode({**claims, "iat": int(NOW.timestamp()) + 3600}, key, "HS256"),
        "no number": jwt.encode({**claims, "exp": "never"}, key, "HS256"),
        "cut": good[:-4],
        "key in header": f"{coded({'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': 'AA'}})}.{body}.{signature}",
    }


def test_no_made_up_token_is_a_session(stage: Stage) -> None:
    for kind, token in _forged(stage).items():
        answer = stage.client.get("/v1/reviews", headers={"Cookie": f"{COOKIE}={token}"})
        assert answer.status_code == 401, kind


def test_a_password_is_in_no_answer_to_a_malformed_sign_in(stage: Stage) -> None:
    answer = stage.write("/v1/session", body={"name": "anna", "password": ["canary"]})
    assert answer.status_code == 422
    assert "canary" not in answer.text


def test_failures_are_forgotten_oldest_first_when_there_are_too_many() -> None:
    failures = FailedSignIns(1, timedelta(minutes=5))
    for i in range(10_001):
        failures.add(f"name {i}", NOW)
    assert not failures.is_over("name 0", NOW)
    assert failures.is_over("name 10000", NOW)
    assert not failures.is_over("name 10000", NOW + timedelta(minutes=5))
