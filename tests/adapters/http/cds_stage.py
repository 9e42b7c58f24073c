"""An EHR that calls CDS Hooks, with keys of its own, and a site that trusts it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.utils import base64url_encode
from sqlalchemy import Engine

from adapters.db.spent_tokens import SpentTokens
from adapters.fhir.draft_orders import draft_orders
from adapters.http.cds_schemas import Cards
from adapters.http.cds_site import CdsDoor, CdsSite
from adapters.http.cds_tokens import KeySet, TokenCheck, TrustedClient
from adapters.http.dependencies import WebDependencies
from clinical.services.cards import CardService
from clinical.services.ports import Clock

ISSUER = "https://ehr.example/north"
JKU = "https://ehr.example/north/jwks.json"
PUBLIC = "https://cds.example"
FHIR = "https://ehr.example/north/fhir"
USER = "Practitioner/dr-1"


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def public_jwk(private: Any, kid: str, **more: str) -> dict[str, Any]:
    is_ec = isinstance(private, ec.EllipticCurvePrivateKey)
    algorithm = (jwt.algorithms.ECAlgorithm if is_ec else jwt.algorithms.RSAAlgorithm).to_jwk(
        private.public_key(), as_dict=True
    )
    return {**algorithm, "kid": kid, "use": "sig", **more}


def key_set() -> dict[str, Any]:
    return {"keys": [public_jwk(ec_key(), "ec-1"), public_jwk(rsa_key(), "rsa-1")]}


def trusted(**changes: Any) -> TrustedClient:
    return replace(
        TrustedClient(issuer=ISSUER, keys=KeySet(key_set), jku=JKU),
        **changes,
    )


def cds_site(
    engine: Engine, clock: Clock, *clients: TrustedClient, is_required: bool = True, **changes: Any
) -> CdsSite:
    check = TokenCheck(
        clients={client.issuer: client for client in clients or (trusted(),)},
        clock=clock,
        spend=SpentTokens(engine).spend,
        is_required=is_required,
    )
    return CdsSite(public_url=PUBLIC, check=check, fhir_server=FHIR, **changes)


def with_cds(deps: WebDependencies, sites: Mapping[str, CdsSite], **changes: Any) -> CdsDoor:
    """The door of these sites, over the services of the stage."""
    return CdsDoor(
        sites=sites,
        cards=CardService(
            open_unit_of_work=deps.open_unit_of_work,
            clock=deps.clock,
            identities=deps.identities,
        ),
        intake=deps.intake,
        planning=deps.planning,
        read_orders=draft_orders,
        **{"compare_seconds": 60.0, **changes},
    )


@dataclass
class EhrClient:
    """Calls as an EHR does: a token of its own for every call, good for just that address."""

    client: httpx.Client
    clock: Clock
    site: str = "north"
    public: str = PUBLIC
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)

    def token(self, path: str, key: Any = None, algorithm: str = "ES384", **claims: Any) -> str:
        issued = int(self.clock.now().timestamp())
        said = {
            "iss": ISSUER,
            "aud": self.public + path,
            "iat": issued,
            "exp": issued + 300,
            "jti": str(uuid4()),
            **self.claims,
            **claims,
        }
        header = {"kid": "ec-1" if algorithm.startswith("ES") else "rsa-1", **self.header}
        said = {name: value for name, value in said.items() if value is not None}
        return _signed({"typ": "JWT", "alg": algorithm, **header}, said, key or ec_key())

    def path(self, service: str = "", tail: str = "") -> str:
        return f"/cds/{self.site}/cds-services" + (f"/{service}" if service else "") + tail

    def discover(self, token: str | None = None) -> httpx.Response:
        path = self.path()
        return self.client.get(path, headers=_bearer(token or self.token(path)))

    def call(
        self,
        hook: str,
        patient: str,
        *,
        service: str = "",
        token: str | None = None,
        context: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> httpx.Response:
        service = service or ("forecast-with-orders" if "order" in hook else "forecast")
        body = {
            "hook": hook,
            "hookInstance": str(uuid4()),
            "context": {
                "userId": USER,
                "patientId": patient,
                **({"encounterId": "e1"} if "encounter" in hook else {}),
                **(context or {}),
            },
            **more,
        }
        return self.post(service, body, token)

    def post(self, service: str, body: Any, token: str | None = None) -> httpx.Response:
        path = self.path(service)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **_bearer(token or self.token(path))}
        return self.client.post(path, content=content, headers=headers)

    def feedback(self, items: Any, service: str = "forecast") -> httpx.Response:
        path = self.path(service, "/feedback")
        return self.client.post(path, json={"feedback": items}, headers=_bearer(self.token(path)))

    def card(self, hook: str, patient: str, **more: Any) -> dict[str, Any]:
        """The only card of an answer, which is valid."""
        answer = self.call(hook, patient, **more)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        Cards.model_validate(told)
        assert list(empties(told)) == []
        [card] = told["cards"]
        return dict(card)


def _signed(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    """By hand: the library refuses to write much of what a stranger may send."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    text = b".".join(base64url_encode(part) for part in parts)
    algorithm = jwt.get_algorithm_by_name(header["alg"])
    signature = algorithm.sign(text, algorithm.prepare_key(key))
    return (text + b"." + base64url_encode(signature)).decode()


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def empties(value: Any, place: str = "$") -> Any:
    """Where JSON says nothing; of a whole answer only the list of cards may be empty."""
    if value is None or value in ("", {}) or (value == [] and place != "$.cards"):
        yield place
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from empties(member, f"{place}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from empties(member, f"{place}[{number}]")


def order(
    patient: str, code: str = "316672", display: str = "Simvastatin 10 MG", **changes: Any
) -> dict[str, Any]:
    """A draft MedicationRequest."""
    system = "http://www.nlm.nih.gov/research/umls/rxnorm"
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": system, "code": code, "display": display}]
        },
        "subject": {"reference": f"Patient/{patient}"},
        **changes,
    }


def drafted(*orders: dict[str, Any]) -> dict[str, Any]:
    """The context of `order-sign` beyond whom it is about."""
    entries = [{"resource": each} for each in orders]
    return {"draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": entries}}


def patient_resource(record_id: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": record_id, "gender": "male", "birthDate": "1946-02-03"}
