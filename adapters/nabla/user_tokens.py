"""Tokens of one Nabla user, for the API that only users may ask; they come from the server API."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import jwt

from adapters.nabla.api import NablaApi, document, text_of
from clinical.services.ports import Clock

_SHORTEST = timedelta(minutes=5)  # where the token does not say when it ends
_EARLY = timedelta(seconds=60)


class UserTokens:
    """Implements `Authorize`: one token, kept until shortly before it ends, then asked for anew."""

    def __init__(self, server: NablaApi, user_id: str, clock: Clock) -> None:
        """`server` may authenticate users."""
        self._server = server
        self._user_id = user_id
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._good_until: datetime | None = None

    def headers(self) -> Mapping[str, str]:
        """The bearer header; raises as NablaApi.post does, and MalformedAnswerError."""
        with self._lock:
            if self._good_until is None or self._clock.now() >= self._good_until:
                path = f"jwt/authenticate/{quote(self._user_id, safe='')}"
                self._token = text_of(document(self._server.post(path, {})), "access_token")
                self._good_until = self._end_of(self._token)
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Ask for a new one next time."""
        with self._lock:
            self._good_until = None

    def close(self) -> None:
        """Let go of the connections to the server API."""
        self._server.close()

    def _end_of(self, token: str) -> datetime:
        """As the token says, which is not ours to verify; else soon."""
        now = self._clock.now()
        try:
            said = jwt.decode(token, options={"verify_signature": False}).get("exp")
        except jwt.InvalidTokenError:
            said = None
        if isinstance(said, int) and 0 < said < 10**11:
            return datetime.fromtimestamp(said, UTC) - _EARLY
        return now + _SHORTEST - _EARLY
