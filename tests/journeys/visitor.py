"""Who comes to the site from outside: an EHR with its secret, a clinician with a password."""

import hashlib
from typing import Any
from uuid import UUID

import httpx
from standardwebhooks import Webhook

from adapters.clock import SystemClock


def deliver(
    web_url: str, site: str, secret: str, body: bytes, *, webhook_id: str = ""
) -> httpx.Response:
    """Post a resource or Bundle as the site would."""
    webhook_id = webhook_id or f"msg-{hashlib.sha256(body).hexdigest()[:24]}"
    now = SystemClock().now()
    headers = {
        "content-type": "application/fhir+json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }
    url = f"{web_url}/v1/fhir/{site}"
    return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False)


class Clinician:
    """Somebody signed in to the review API."""

    def __init__(self, web_url: str, name: str, password: str) -> None:
        self._client = httpx.Client(
            base_url=web_url,
            timeout=30,
            trust_env=False,
            headers={"X-Clinical-Request": "1"},
        )
        answer = self._client.post("/v1/session", json={"name": name, "password": password})
        assert answer.status_code == 201, answer.text

    def close(self) -> None:
        """Go away."""
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """The answer, decoded."""
        answer = self._client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claim(self, review_id: UUID) -> int:
        """Take a review; its new version."""
        version = self.get(f"/v1/reviews/{review_id}")["review"]["version"]
        answer = self._move(review_id, "claim", version)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["version"])

    def sign(self, review_id: UUID, verdict: str, version: int, note: str = "") -> httpx.Response:
        """Decide."""
        return self._move(review_id, "sign", version, json={"verdict": verdict, "note": note})

    def _move(self, review_id: UUID, move: str, version: int, json: Any = None) -> httpx.Response:
        headers = {"if-match": f'"v{version}"'}
        return self._client.post(f"/v1/reviews/{review_id}:{move}", headers=headers, json=json)
