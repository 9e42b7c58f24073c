"""Keys that rotate, and tokens for them, held against a server that others wrote."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from adapters.clock import SystemClock
from adapters.egress.breaker import CircuitBreaker
from adapters.egress.errors import ForeignAddressError, PeerRefusedError, UnreadableAnswerError
from adapters.egress.keys import (
    PUBLISHED_BEFORE_USE,
    KeyRing,
    NoSigningKeyError,
    OnlyKeyError,
    UnknownKeyError,
)
from adapters.egress.peer import Bounds, Peer
from adapters.egress.tokens import BearerTokens, Client
from tests.fakes import NOON, SettableClock
from tests.sekmet import sekmet


def test_a_new_key_is_published_at_once_and_signs_after_the_overlap(tmp_path: Path) -> None:
    clock = SettableClock(NOON)
    ring = KeyRing(tmp_path / "keys", clock)
    first = ring.rotate("RS384")
    clock.advance(timedelta(days=30))
    second = ring.rotate("RS384")
    assert [each["kid"] for each in ring.public()] == [second.kid, first.kid]
    assert ring.signing("RS384").kid == first.kid
    clock.advance(PUBLISHED_BEFORE_USE)
    assert ring.signing("RS384").kid == second.kid


def test_the_first_key_signs_at_once_and_rs256_is_signed_by_the_same_kind(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, SettableClock(NOON))
    key = ring.rotate("RS384")
    assert ring.signing("RS256").kid == key.kid
    with pytest.raises(NoSigningKeyError):
        ring.signing("ES384")


def test_a_key_that_signs_is_not_removed_and_an_older_one_is(tmp_path: Path) -> None:
    clock = SettableClock(NOON)
    ring = KeyRing(tmp_path, clock)
    first = ring.rotate("ES384")
    with pytest.raises(OnlyKeyError):
        ring.remove(first.kid)
    clock.advance(timedelta(seconds=1))
    second = ring.rotate("ES384")
    clock.advance(PUBLISHED_BEFORE_USE)
    ring.remove(first.kid)
    assert [key.kid for key in ring.all()] == [second.kid]
    with pytest.raises(UnknownKeyError):
        ring.remove(first.kid)


def test_keys_are_their_owners_alone_and_nothing_private_is_published(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys", SettableClock(NOON))
    ring.rotate("RS384")
    ring.rotate("ES384")
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "keys").iterdir())
    for jwk in ring.public():
        assert not {"d", "p", "q", "dp", "dq", "qi"} & set(jwk)


def test_the_id_of_a_key_is_the_thumbprint_of_rfc_7638(tmp_path: Path) -> None:
    """The worked example of section 3.1 has this modulus; here the rule is checked with our own key."""
    ring = KeyRing(tmp_path, SettableClock(NOON))
    key = ring.rotate("RS384")
    import base64
    import hashlib

    public = key.public_jwk
    members = f'{{"e":"{public["e"]}","kty":"RSA","n":"{public["n"]}"}}'
    digest = hashlib.sha256(members.encode()).digest()
    assert key.kid == base64.urlsafe_b64encode(digest).decode().rstrip("=")


class TokenServer:
    """Answers token requests, and remembers them."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"access_token": "t1", "token_type": "bearer", "expires_in": 300} | answer
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path.endswith("smart-configuration"):
            return httpx.Response(200, json={"token_endpoint": self.answer["token_endpoint"]})
        return httpx.Response(200, json=self.answer)


def tokens(server: TokenServer, ring: KeyRing, clock: SettableClock, **client: Any) -> BearerTokens:
    breaker = CircuitBreaker(clock, max_failures=3, pause=timedelta(seconds=30))
    bounds = Bounds(base_url="https://ehr.example/fhir")
    peer = Peer(bounds, clock, breaker, transport=httpx.MockTransport(server))
    stated = {"client_id": "us", "token_url": "https://ehr.example/token", "algorithm": "RS384"}
    return BearerTokens(peer, Client(**(stated | client)), ring.signing, clock)


def test_a_token_is_kept_and_renewed_before_it_ends(tmp_path: Path) -> None:
    clock, server = SettableClock(NOON), TokenServer()
    ring = KeyRing(tmp_path, clock)
    ring.rotate("RS384")
    held = tokens(server, ring, clock)
    assert held.headers() == held.headers() == {"Authorization": "Bearer t1"}
    assert len(server.requests) == 1
    clock.advance(timedelta(seconds=239))
    held.headers()
    assert len(server.requests) == 1
    clock.advance(timedelta(seconds=2))
    held.headers()
    assert len(server.requests) == 2


def test_smart_is_asked_by_a_form_and_nabla_by_json(tmp_path: Path) -> None:
    clock = SettableClock(NOON)
    ring = KeyRing(tmp_path, clock)
    ring.rotate("RS384")
    smart, nabla = TokenServer(), TokenServer()
    tokens(smart, ring, clock, scope="system/*.rs").headers()
    tokens(nabla, ring, clock, algorithm="RS256", is_form=False).headers()
    assert smart.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert b"scope=system" in smart.requests[0].content
    assert json.loads(nabla.requests[0].content)["grant_type"] == "client_credentials"


def test_an_assertion_lives_at_most_five_minutes_and_is_made_once(tmp_path: Path) -> None:
    clock, server = SettableClock(NOON), TokenServer(expires_in=1)
    ring = KeyRing(tmp_path, clock)
    key = ring.rotate("RS384")
    held = tokens(server, ring, clock, is_form=False, jku="https://us.example/jwks.json")
    held.headers()
    clock.advance(timedelta(seconds=1))
    held.headers()
    said = []
    for request in server.requests:
        assertion = json.loads(request.content)["client_assertion"]
        header = jwt.get_unverified_header(assertion)
        assert (header["alg"], header["kid"], header["jku"]) == (
            "RS384",
            key.kid,
            "https://us.example/jwks.json",
        )
        said.append(jwt.decode(assertion, options={"verify_signature": False}))
    first, second = said
    assert first["iss"] == first["sub"] == "us"
    assert first["aud"] == "https://ehr.example/token"
    assert 0 < first["exp"] - first["iat"] <= 300
    assert first["jti"] != second["jti"]


def test_a_token_endpoint_on_a_foreign_host_is_not_asked(tmp_path: Path) -> None:
    clock = SettableClock(NOON)
    ring = KeyRing(tmp_path, clock)
    ring.rotate("RS384")
    server = TokenServer(token_endpoint="https://thief.example/token")
    with pytest.raises(ForeignAddressError):
        tokens(server, ring, clock, token_url="").headers()
    assert len(server.requests) == 1


@pytest.mark.parametrize("token", [None, "", 7, "a\nb", "ä"])
def test_what_cannot_be_a_token_is_refused(tmp_path: Path, token: object) -> None:
    clock = SettableClock(NOON)
    ring = KeyRing(tmp_path, clock)
    ring.rotate("RS384")
    with pytest.raises(UnreadableAnswerError):
        tokens(TokenServer(access_token=token), ring, clock).headers()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, KeyRing]]:
    """A sekmet that wants SMART Backend Services, and knows our keys."""
    folder = tmp_path_factory.mktemp("ehr")
    ring = KeyRing(folder / "keys", SystemClock())
    for algorithm in ("RS384", "ES384"):
        ring.rotate(algorithm)
    # It tries every key of a client with the assertion's algorithm, and fails at one of another kind.
    clients = [
        {
            "client_id": name,
            "jwks": {"keys": [key for key in ring.public() if key["kty"] == kind]},
            "scopes": "system/*.rs",
        }
        for name, kind in (("us", "RSA"), ("us-elliptic", "EC"))
    ]
    auth = {"types": ["smart"], "smart_clients": clients, "enforce_scopes": True}
    with sekmet(folder, server_auth=auth) as url:
        yield url, ring


def _authorized(url: str, ring: KeyRing, **client: Any) -> Peer:
    clock = SystemClock()
    breaker = CircuitBreaker(clock, max_failures=30, pause=timedelta(seconds=30))
    bounds = Bounds(base_url=url)
    stated = {"client_id": "us", "token_url": "", "algorithm": "RS384", "scope": "system/*.rs"}
    asks = Peer(bounds, clock, breaker)
    held = BearerTokens(asks, Client(**(stated | client)), ring.signing, clock)
    return Peer(bounds, clock, breaker, authorize=held)


@pytest.mark.integration
@pytest.mark.parametrize(("client", "algorithm"), [("us", "RS384"), ("us-elliptic", "ES384")])
def test_a_real_server_lets_us_in_by_either_algorithm(
    guarded: tuple[str, KeyRing], client: str, algorithm: str
) -> None:
    with closing(_authorized(*guarded, client_id=client, algorithm=algorithm)) as ehr:
        found = ehr.ask("GET", "Patient", params={"_count": "1"}).document()
    assert found["resourceType"] == "Bundle"


@pytest.mark.integration
def test_a_real_server_refuses_an_unknown_client_and_a_scope_that_was_not_granted(
    guarded: tuple[str, KeyRing],
) -> None:
    for client in ({"client_id": "stranger"}, {"scope": "system/*.cruds"}):
        with closing(_authorized(*guarded, **client)) as ehr, pytest.raises(PeerRefusedError):
            ehr.ask("GET", "Patient")


@pytest.mark.integration
def test_a_real_server_refuses_a_write_by_a_token_for_reading(
    guarded: tuple[str, KeyRing],
) -> None:
    with closing(_authorized(*guarded)) as ehr, pytest.raises(PeerRefusedError) as raised:
        ehr.ask("POST", "Patient", content=b'{"resourceType": "Patient"}')
    assert raised.value.status == 403
