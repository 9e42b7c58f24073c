"""Short-lived tokens for a signed assertion: OAuth 2.0 client credentials with `private_key_jwt`.

Two ways to ask exist: SMART Backend Services sends a form, Nabla JSON. Knows both; does not know what
the token is for.
"""

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import jwt

from adapters.egress.errors import UnreadableAnswerError
from adapters.egress.keys import SigningKey
from adapters.egress.peer import Peer
from clinical.services.ports import Clock

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 240  # both want at most five minutes
_DEFAULT_LIFE = timedelta(minutes=5)
_TOKEN = re.compile(r"^[\x21-\x7e]+$")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who we are to one authorisation server. `jku` empty: not sent. `is_form`: SMART's way to ask.

    `token_url` empty: what the peer's `.well-known/smart-configuration` says.
    """

    client_id: str
    token_url: str
    algorithm: str
    scope: str = ""
    jku: str = ""
    is_form: bool = True


class BearerTokens:
    """Implements `Authorize`: one token at a time, kept until shortly before it ends."""

    def __init__(
        self, peer: Peer, client: Client, key: Callable[[str], SigningKey], clock: Clock
    ) -> None:
        """`peer` may call the token's address; `key` gives the key that signs with an algorithm."""
        self._peer = peer
        self._client = client
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._good_until: datetime | None = None

    def headers(self) -> Mapping[str, str]:
        """The bearer header; asks for a token where none is held, or the held one ends soon.

        Raises:
            NoSigningKeyError, and as Peer.ask does.
        """
        with self._lock:
            if self._good_until is None or self._clock.now() >= self._good_until:
                self._renew()
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Ask for a new one next time."""
        with self._lock:
            self._good_until = None

    def close(self) -> None:
        """Let go of the connection to the token's server."""
        self._peer.close()

    def _renew(self) -> None:
        asked_at = self._clock.now()
        token_url = self._client.token_url or self._discovered()
        answer = self._peer.ask(
            "POST",
            token_url,
            headers={
                "Accept": "application/json",
                "Content-Type": _FORM if self._client.is_form else "application/json",
            },
            content=self._request(asked_at, token_url),
        ).document()
        token, life = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise UnreadableAnswerError("the token's answer holds no token")
        lasts = _seconds(life) or _DEFAULT_LIFE
        self._token = token
        # Early: what is on its way must still be good when it arrives.
        self._good_until = asked_at + lasts - min(timedelta(seconds=60), lasts / 4)

    def _discovered(self) -> str:
        """SMART App Launch 2.2, "Conformance": `token_endpoint`; its host must be a registered one."""
        answer = self._peer.ask(
            "GET", ".well-known/smart-configuration", headers={"Accept": "application/json"}
        ).document()
        found = answer.get("token_endpoint")
        if not isinstance(found, str) or not found:
            raise UnreadableAnswerError("the SMART configuration names no token endpoint")
        return self._peer.address_of(found)

    def _request(self, now: datetime, token_url: str) -> bytes:
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(now, token_url),
        }
        if self._client.scope:
            fields["scope"] = self._client.scope
        return (urlencode(fields) if self._client.is_form else json.dumps(fields)).encode()

    def _assertion(self, now: datetime, token_url: str) -> str:
        """RFC 7523 section 3; SMART App Launch 2.2, "Client authentication: asymmetric"."""
        client = self._client
        key = self._key(client.algorithm)
        issued = int(now.timestamp())
        claims = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": token_url,
            "iat": issued,
            "exp": issued + _ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        headers: dict[str, Any] = {"kid": key.kid, "typ": "JWT"}
        if client.jku:
            headers["jku"] = client.jku
        return jwt.encode(claims, key.private_key, client.algorithm, headers)


def _seconds(value: object) -> timedelta | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**7:
        return timedelta(seconds=value)
    return None


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """Implements `Authorize` with one header that never changes."""

    name: str
    value: str

    def headers(self) -> Mapping[str, str]:
        """The header."""
        return {self.name: self.value}

    def forget(self) -> None:
        """There is no other: the refusal stands."""

    def close(self) -> None:
        """Nothing is kept open."""
