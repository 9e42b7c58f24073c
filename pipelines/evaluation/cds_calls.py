"""CDS Hooks calls as an EHR sends them: signed beforehand, sent at a steady rate, timed until the last byte.

Knows how to ask from outside. Each is to be sent at its moment by a sender that is free; how late it was
sent because none was is kept apart from how long the answer took.
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://ehr.bench.invalid"
PUBLIC_URL = "https://cds.bench.invalid"
NUM_SENDERS = 16
_KID = "bench"
_LIFE_SECONDS = 3000
_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCall:
    """One call, ready to be sent."""

    path: str
    token: str
    body: bytes


@dataclass(slots=True, kw_only=True)
class Answers:
    """What came of one rate: seconds until the answer, how late it was sent, what the cards said."""

    per_second: float
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    num_forecasts: int = 0
    num_courses: int = 0
    cpu_seconds: float = 0.0  # of the web process meanwhile

    @property
    def num_sent(self) -> int:
        """How many were sent."""
        return sum(self.statuses.values())


class BenchEhr:
    """An EHR of this bench: a key, and the file by which a site trusts it."""

    def __init__(self, site: str) -> None:
        """With a fresh key."""
        self._site = site
        self._key = ec.generate_private_key(ec.SECP384R1())

    def write_sites_file(self, folder: Path) -> Path:
        """The sites file, and the key set that it names."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        (folder / "bench.jwks.json").write_text(json.dumps({"keys": [{**public, "kid": _KID}]}))
        path = folder / "sites.toml"
        path.write_text(
            f'[sites.{self._site}.cds_hooks]\npublic_url = "{PUBLIC_URL}"\n\n'
            f'[[sites.{self._site}.cds_hooks.clients]]\nissuer = "{ISSUER}"\n'
            'jwks_file = "bench.jwks.json"\n'
        )
        return path

    def view(self, patient: str, now: datetime) -> SignedCall:
        """A record is opened."""
        return self._signed("forecast", "patient-view", patient, {}, now)

    def select(self, patient: str, number: int, now: datetime) -> SignedCall:
        """An order is drafted: a dose that nobody asked about before, so that the model has to answer."""
        draft = {
            "resourceType": "MedicationRequest",
            "id": "draft",
            "status": "draft",
            "intent": "order",
            "medicationCodeableConcept": {"coding": [{"system": _RXNORM, "code": "313782"}]},
            "subject": {"reference": f"Patient/{patient}"},
            "dosageInstruction": [
                {"doseAndRate": [{"doseQuantity": {"value": 1 + number, "unit": "mg"}}]}
            ],
        }
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]}
        more = {"draftOrders": bundle, "selections": ["MedicationRequest/draft"]}
        return self._signed("forecast-with-orders", "order-select", patient, more, now)

    def _signed(
        self, service: str, hook: str, patient: str, more: dict[str, Any], now: datetime
    ) -> SignedCall:
        path = f"/cds/{self._site}/cds-services/{service}"
        issued = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": PUBLIC_URL + path,
            "iat": issued,
            "exp": issued + _LIFE_SECONDS,
            "jti": str(uuid4()),
        }
        body = {
            "hook": hook,
            "hookInstance": str(uuid4()),
            "context": {"userId": "Practitioner/bench", "patientId": patient, **more},
        }
        token = jwt.encode(claims, self._key, "ES384", headers={"kid": _KID})
        return SignedCall(path=path, token=token, body=json.dumps(body).encode())


def measurement(patient: str, now: datetime) -> bytes:
    """An Observation of now: of patients of whom nothing was heard for years no forecast is shown."""
    resource = {
        "resourceType": "Observation",
        "id": str(uuid4()),
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": now.isoformat(timespec="milliseconds"),
        "valueQuantity": {
            "value": 72,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }
    return json.dumps(resource).encode()


def send(web_url: str, calls: Sequence[SignedCall], per_second: float) -> Answers:
    """Send all of them at this rate."""
    answers = Answers(per_second=per_second)
    numbers, lock = itertools.count(), threading.Lock()
    began = time.perf_counter()

    def lane() -> None:
        with httpx.Client(base_url=web_url, trust_env=False, timeout=60) as client:
            while (number := next(numbers)) < len(calls):
                due = began + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                sent = time.perf_counter()
                answer = _sent(client, calls[number])
                with lock:
                    answers.late.append(sent - due)
                    _note(answers, answer, time.perf_counter() - sent)

    lanes = [threading.Thread(target=lane) for _ in range(NUM_SENDERS)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    return answers


def _sent(client: httpx.Client, call: SignedCall) -> httpx.Response:
    headers = {"authorization": f"Bearer {call.token}", "content-type": "application/json"}
    return client.post(call.path, content=call.body, headers=headers)


def _note(answers: Answers, answer: httpx.Response, seconds: float) -> None:
    answers.statuses[answer.status_code] += 1
    if answer.status_code == _OK:
        answers.seconds.append(seconds)
        answers.num_forecasts += b'"uuid"' in answer.content
        answers.num_courses += b"With the draft |" in answer.content
