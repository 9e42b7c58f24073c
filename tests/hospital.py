"""A hospital with sekmet-fhir as its EHR: people who write records, topics, and our service as a SMART client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.sekmet import sekmet

STAFF_TOKEN = "the token of the people at the hospital"
CLIENT_ID = "clinical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """Its people, at their EHR."""

    url: str

    def put(self, resource: Mapping[str, Any]) -> None:
        """Write a resource under its own id."""
        path = f"{resource['resourceType']}/{resource['id']}"
        self._ask("PUT", path, json=dict(resource))

    def get(self, path: str) -> dict[str, Any]:
        """Read."""
        found: dict[str, Any] = self._ask("GET", path).json()
        return found

    def delete(self, path: str) -> None:
        """Delete."""
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {STAFF_TOKEN}"}
        return httpx.request(
            method, f"{self.url}/{path}", headers=headers, timeout=30, trust_env=False, **more
        ).raise_for_status()


@contextmanager
def hospital(folder: Path, jwks: Mapping[str, Any]) -> Iterator[Hospital]:
    """A hospital whose EHR knows us as `CLIENT_ID` with these public keys, and tells us things once."""
    folder.mkdir(parents=True, exist_ok=True)
    client = {"client_id": CLIENT_ID, "jwks": dict(jwks), "scopes": "system/*.*"}
    auth = {"types": ["bearer", "smart"], "tokens": [STAFF_TOKEN], "smart_clients": [client]}
    with sekmet(folder, server_auth=auth, subscriptions={"retries": 1}) as url:
        yield Hospital(url=url)


def topic(url: str, record_type: str) -> dict[str, Any]:
    """A topic of this server: R5's, as extensions of a Basic, about each create and update of a type."""
    prefix = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"
    kind = f"http://hl7.org/fhir/StructureDefinition/{record_type}"
    trigger = [
        {"url": "description", "valueMarkdown": "Any change"},
        {"url": "resource", "valueUri": kind},
        {"url": "supportedInteraction", "valueCode": "create"},
        {"url": "supportedInteraction", "valueCode": "update"},
        {"url": "fhirPathCriteria", "valueString": "true"},
    ]
    coding = {"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}
    return {
        "resourceType": "Basic",
        "id": url.rsplit("/", 1)[-1],
        "code": {"coding": [coding]},
        "extension": [
            {"url": f"{prefix}.url", "valueUri": url},
            {"url": f"{prefix}.title", "valueString": f"{record_type} changed"},
            {"url": f"{prefix}.resourceTrigger", "extension": trigger},
        ],
    }
