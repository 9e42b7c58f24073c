"""Who may call CDS Hooks: a signed token with every call, for that address, once; everybody else is refused."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from sqlalchemy import Engine, text

from adapters.db import spent_tokens
from adapters.db.spent_tokens import SpentTokens
from adapters.http.app import create_app
from adapters.http.cds_tokens import (
    BadTokenError,
    KeySet,
    MissingTokenError,
    ReplayedTokenError,
    TokenCheck,
    TrustedClient,
)
from clinical.errors import OperationalError
from tests.adapters.http.cds_stage import (
    ISSUER,
    JKU,
    PUBLIC,
    EhrClient,
    cds_site,
    ec_key,
    key_set,
    public_jwk,
    rsa_key,
    trusted,
    with_cds,
)
from tests.adapters.http.conftest import NOW, Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.adapters.http.test_cds_hooks import code_of

pytestmark = pytest.mark.integration
PATH = "/cds/north/cds-services"


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model)
    deps = replace(deps, cds=with_cds(deps, {"north": cds_site(engine, clock)}))
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)


@pytest.fixture
def ehr(stage: Stage) -> EhrClient:
    return EhrClient(stage.client, stage.clock)


class Spending:
    """Remembers in this process."""

    def __init__(self) -> None:
        self.spent: set[tuple[str, str]] = set()

    def __call__(self, issuer: str, token_id: str, _until: object) -> bool:
        is_new = (issuer, token_id) not in self.spent
        self.spent.add((issuer, token_id))
        return is_new


def check(*clients: TrustedClient, **changes: Any) -> TokenCheck:
    named = {client.issuer: client for client in clients or (trusted(),)}
    return TokenCheck(clients=named, clock=StageClock(), spend=Spending(), **changes)


def signed(**changes: Any) -> str:
    made = EhrClient(None, StageClock())  # type: ignore[arg-type]
    header = changes.pop("header", {})
    return replace(made, header=header).token(PATH, **changes)


def refusal(token: str, *clients: TrustedClient, **changes: Any) -> str:
    with pytest.raises(BadTokenError) as caught:
        check(*clients, **changes)(f"Bearer {token}", PUBLIC + PATH)
    return str(caught.value)


def test_a_genuine_token_says_who_calls() -> None:
    for algorithm, key in (("ES384", ec_key()), ("RS384", rsa_key())):
        token = signed(key=key, algorithm=algorithm)
        assert check()(f"Bearer {token}", PUBLIC + PATH) == ISSUER
    assert check()(f"bearer {signed()}", PUBLIC + PATH) == ISSUER
    assert check()(f"Bearer {signed(aud=[PUBLIC + PATH])}", PUBLIC + PATH) == ISSUER


def test_a_token_of_epic_passes() -> None:
    """RS384, its jku sent, `nbf` five minutes before `iat`, the FHIR base as issuer, a client id as subject."""
    fhir_base = "https://epic.example/interconnect/api/FHIR/R4"
    epic = trusted(issuer=fhir_base, subject="4f1a-client")
    token = signed(
        key=rsa_key(),
        algorithm="RS384",
        header={"jku": JKU},
        iss=fhir_base,
        sub="4f1a-client",
        nbf=int(NOW.timestamp()) - 300,
    )
    assert check(epic)(f"Bearer {token}", PUBLIC + PATH) == fhir_base
    other = signed(iss=fhir_base, sub="another")
    assert refusal(other, epic).startswith("sub:")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"iss": "https://stranger.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"aud": PUBLIC + PATH + "/forecast"}, "aud"),
        ({"aud": "http://cds.example" + PATH}, "aud"),
        ({"aud": PUBLIC + PATH + "/"}, "aud"),
        ({"aud": [PUBLIC + PATH, "https://other.example"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": int(NOW.timestamp()) - 61}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": 10**30}, "exp"),
        ({"exp": int(NOW.timestamp()) + 3700}, "exp"),
        ({"iat": int(NOW.timestamp()) + 61}, "iat"),
        ({"iat": None}, "iat"),
        ({"nbf": int(NOW.timestamp()) + 61}, "iat, nbf"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": "x" * 513}, "jti"),
        ({"header": {"kid": "unknown"}}, "kid"),
        ({"header": {"kid": 7}}, ""),
        ({"header": {"jku": "https://stranger.example/jwks.json"}}, "jku"),
        ({"header": {"crit": ["exp"]}}, "the bearer token is no signed JWT"),
        ({"header": {"typ": "at+jwt"}}, "typ"),
        ({"algorithm": "RS256", "key": None}, "alg"),
        ({"algorithm": "HS256", "key": "a shared secret of thirty-two bytes"}, "alg"),
    ],
)
def test_a_token_that_says_something_else_is_refused_by_name(
    changes: dict[str, Any], place: str
) -> None:
    if changes.get("algorithm") == "RS256":
        changes = {**changes, "key": rsa_key()}
    assert refusal(signed(**changes)).startswith(place)


def test_clocks_may_differ_by_a_minute() -> None:
    now = int(NOW.timestamp())
    assert check()(f"Bearer {signed(iat=now + 59, exp=now + 300)}", PUBLIC + PATH)
    assert check()(f"Bearer {signed(iat=now - 300, exp=now - 59)}", PUBLIC + PATH)


def test_a_tenant_is_compared_where_one_is_registered() -> None:
    of_tenant = trusted(tenant="ward-7")
    assert check(of_tenant)(f"Bearer {signed(tenant='ward-7')}", PUBLIC + PATH)
    assert refusal(signed(tenant="ward-8"), of_tenant).startswith("tenant")
    assert refusal(signed(), of_tenant).startswith("tenant")


def test_a_token_that_nobody_signed_is_refused() -> None:
    claims = jwt.decode(signed(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, "none", headers={"kid": "ec-1"})
    assert refusal(unsigned)
    head, body, signature = signed().split(".")
    assert refusal(f"{head}.{body}.{'A' * len(signature)}").startswith("the signature")
    other = signed(jti="another").split(".")[1]
    assert refusal(f"{head}.{other}.{signature}").startswith("the signature")


def test_a_public_key_is_no_shared_secret() -> None:
    """The classic confusion: HS384 with the bytes of the public key, which everybody knows."""
    from base64 import urlsafe_b64encode
    from hashlib import sha384
    from hmac import digest
    from json import dumps

    def part(value: Any) -> str:
        return urlsafe_b64encode(dumps(value).encode()).rstrip(b"=").decode()

    claims = jwt.decode(signed(), options={"verify_signature": False})
    text_ = f"{part({'alg': 'HS384', 'kid': 'rsa-1'})}.{part(claims)}"
    key = dumps(public_jwk(rsa_key(), "rsa-1")).encode()
    mac = urlsafe_b64encode(digest(key, text_.encode(), sha384)).rstrip(b"=").decode()
    assert refusal(f"{text_}.{mac}").startswith("alg")


def test_keys_that_are_short_or_meant_for_something_else_are_refused() -> None:
    def only(**changes: Any) -> TrustedClient:
        made = public_jwk(rsa_key(changes.pop("bits", 2048)), "rsa-1", **changes)
        return trusted(keys=KeySet(lambda: {"keys": [made]}), algorithms=("RS384", "RS256"))

    token = signed(key=rsa_key(), algorithm="RS384")
    assert refusal(token, only(use="enc")).startswith("kid")
    assert refusal(token, only(alg="RS256")).startswith("kid")
    short = signed(key=rsa_key(1024), algorithm="RS384")
    assert refusal(short, only(bits=1024))


@pytest.mark.parametrize(
    "sent", ["", "Basic YTpi", "Bearer", "Bearer ", "Bearer a.b", "Bearer " + "x" * 9000]
)
def test_what_is_no_bearer_token_is_refused(sent: str) -> None:
    with pytest.raises(BadTokenError):
        check()(sent, PUBLIC + PATH)


def test_without_a_token_nobody_gets_in_unless_the_site_says_so() -> None:
    with pytest.raises(MissingTokenError):
        check()(None, PUBLIC + PATH)
    lenient = check(is_required=False)
    assert lenient(None, PUBLIC + PATH) is None
    with pytest.raises(BadTokenError):
        lenient(f"Bearer {signed(aud='x')}", PUBLIC + PATH)


def test_a_token_is_good_once() -> None:
    one, token = check(), signed()
    assert one(f"Bearer {token}", PUBLIC + PATH)
    with pytest.raises(ReplayedTokenError):
        one(f"Bearer {token}", PUBLIC + PATH)


def test_a_refused_token_is_not_used_up() -> None:
    one, token_id = check(), str(uuid4())
    with pytest.raises(BadTokenError):
        one(f"Bearer {signed(jti=token_id, aud='x')}", PUBLIC + PATH)
    assert one(f"Bearer {signed(jti=token_id)}", PUBLIC + PATH)


def test_of_many_who_use_one_token_at_once_one_gets_in(engine: Engine) -> None:
    """Each with a memory of its own, as the processes of a site have."""
    until, won = NOW + timedelta(minutes=5), []
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        won.append(SpentTokens(engine).spend(ISSUER, "the-one", until))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert won.count(True) == 1
    assert SpentTokens(engine).spend("https://other.example", "the-one", until)


def test_used_tokens_are_forgotten_when_nobody_would_take_them_any_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spent_tokens, "_TIDY_EVERY_SECONDS", 0.0)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO spent_tokens VALUES ('old', now() - interval '2 hours')")
        )
    SpentTokens(engine).spend(ISSUER, "new", NOW + timedelta(days=36500))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM spent_tokens")) == 1


class Loading:
    """A key set that is counted; `is_away` makes it unreadable."""

    def __init__(self, *kids: str) -> None:
        self.kids, self.num_loads, self.is_away = kids, 0, False

    def __call__(self) -> Mapping[str, Any]:
        self.num_loads += 1
        if self.is_away:
            raise OperationalError("no answer")
        return {"keys": [{"kid": kid, "kty": "EC"} for kid in self.kids]}


def test_keys_are_read_again_for_an_unknown_name_but_once_a_minute_at_most() -> None:
    now, load = [0.0], Loading("a")
    keys = KeySet(load, elapsed=lambda: now[0])
    assert keys.find("a")
    for _ in range(5):
        assert keys.find("b") is None
    assert load.num_loads == 1
    load.kids = ("b",)
    now[0] = 61.0
    assert keys.find("b")
    assert keys.find("a") is None
    assert load.num_loads == 2


def test_a_key_that_was_taken_back_is_forgotten_within_the_hour() -> None:
    now, load = [0.0], Loading("a")
    keys = KeySet(load, elapsed=lambda: now[0])
    assert keys.find("a")
    load.kids = ()
    now[0] = 3601.0
    assert keys.find("a") is None


def test_while_keys_cannot_be_read_those_of_before_stand() -> None:
    now, load = [0.0], Loading("a")
    keys = KeySet(load, elapsed=lambda: now[0])
    assert keys.find("a")
    load.is_away = True
    now[0] = 3601.0
    assert keys.find("a")


# Over HTTP: every door asks.


def test_every_call_needs_its_own_token_also_discovery(ehr: EhrClient) -> None:
    for answer in (
        ehr.client.get(ehr.path()),
        ehr.client.post(ehr.path("forecast"), json={}),
        ehr.client.post(ehr.path("forecast", "/feedback"), json={}),
    ):
        assert (answer.status_code, code_of(answer)) == (401, "cds.missing_token")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_address_is_that_of_the_settings_not_of_the_host_header(ehr: EhrClient) -> None:
    path = ehr.path()
    forged = replace(ehr, public="http://evil.example").token(path)
    headers = {"authorization": f"Bearer {forged}", "host": "evil.example"}
    assert code_of(ehr.client.get(path, headers=headers)) == "cds.bad_token"


def test_a_token_for_one_address_opens_no_other(ehr: EhrClient) -> None:
    token = ehr.token(ehr.path())
    assert ehr.call("patient-view", "p1", token=token).status_code == 401
    feedback = ehr.path("forecast", "/feedback")
    answer = ehr.client.post(
        feedback, json={}, headers={"authorization": f"Bearer {ehr.token(ehr.path('forecast'))}"}
    )
    assert answer.status_code == 401


def test_a_replayed_token_is_refused_over_http(ehr: EhrClient) -> None:
    token = ehr.token(ehr.path())
    assert ehr.discover(token).status_code == 200
    answer = ehr.discover(token)
    assert (answer.status_code, code_of(answer)) == (401, "cds.replayed_token")


def test_a_body_is_not_read_before_its_sender_is_known(ehr: EhrClient) -> None:
    answer = ehr.client.post(ehr.path("forecast"), content=b"x" * (1 << 20))
    assert answer.status_code == 401


def test_key_sets_hold_public_keys_only() -> None:
    assert all("d" not in key for key in key_set()["keys"])
