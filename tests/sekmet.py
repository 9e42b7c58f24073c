"""sekmet-fhir as the EHR: an R4 server that we did not write, with SMART Backend Services and topics."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

STAFF_TOKEN = "the token of the people at the hospital"
CLIENT_ID = "clinical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sekmet:
    """A running server, used by the people of the hospital."""

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
def sekmet(
    folder: Path, port: int, *, jwks: Mapping[str, Any] | None = None, retries: int = 1
) -> Iterator[Sekmet]:
    """The server on this port; `jwks` are the public keys of the client `CLIENT_ID`."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}/fhir"
    clients = [{"client_id": CLIENT_ID, "jwks": dict(jwks), "scopes": "system/*.*"}] if jwks else []
    settings = {
        "base_url": url,
        "host": "127.0.0.1",
        "port": port,
        "simulator": {"enabled": False},
        "subscriptions": {"retries": retries},
        "server_auth": {
            "types": ["bearer", "smart"],
            "tokens": [STAFF_TOKEN],
            "smart_clients": clients,
        },
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    command = [str(Path(sys.executable).with_name("sekmet")), "serve", "-c", "settings.yaml"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        _await(f"{url}/metadata", server)
        yield Sekmet(url=url)
    finally:
        server.terminate()
        server.wait(timeout=20)


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


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert server.poll() is None
        try:
            if httpx.get(url, trust_env=False).status_code < 500:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server did not come up")
