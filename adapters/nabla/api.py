"""One of Nabla's APIs: its addresses, the pinned version, and its errors in ours.

Errors are told by their number (`code`), never by their text, which may quote a note; of what Nabla
says only `trace_id` is logged, for its support asks for it. Knows no patients.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from adapters import telemetry
from adapters.egress.errors import PeerBusyError, PeerRefusedError, PeerUnavailableError
from adapters.egress.peer import Peer
from adapters.nabla.errors import (
    ConflictingUserError,
    MalformedAnswerError,
    NablaRefusedError,
    RateLimitedError,
    SunsetVersionError,
    UnknownEntityError,
)
from clinical.errors import ClinicalError

VERSION_HEADER = "X-Nabla-Api-Version"
ENTITY_NOT_FOUND = 20_000
ORGANIZATION_RATE_LIMITED = 85_000
_PAUSE = timedelta(seconds=60)  # where a limit is hit and nobody says for how long
_LOG = telemetry.logger(__name__)


def base_url(region: str, product: str) -> str:
    """Where a product's API is: `core/server`, `core/user` or `connect/server`."""
    return f"https://{region}.api.nabla.com/v1/{product}"


class NablaApi:
    """Calls one API in one version."""

    def __init__(self, peer: Peer, api_version: str, site: str) -> None:
        """`peer` knows who we are; `site` is for logs."""
        self._peer = peer
        self._version = api_version
        self._site = site

    @property
    def version(self) -> str:
        """The pinned version, a date."""
        return self._version

    def close(self) -> None:
        """Let go of connections."""
        self._peer.close()

    def post(self, path: str, content: Mapping[str, Any]) -> bytes:
        """The body of a successful answer.

        Raises:
            NablaRefusedError, UnknownEntityError, SunsetVersionError, ConflictingUserError
            RateLimitedError, and as Peer.ask does.
        """
        return self._ask("POST", path, json.dumps(content).encode())

    def get(self, path: str) -> bytes:
        """Likewise."""
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, content: bytes | None) -> bytes:
        headers = {VERSION_HEADER: self._version, "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            return self._peer.ask(method, path, headers=headers, content=content).body
        except PeerRefusedError as error:
            raise self._told(_said(error.body), error.status) from error
        except PeerBusyError as error:
            self._log("nabla asked to be left alone", error.status, _said(error.body))
            pause = error.retry_after or _PAUSE
            raise RateLimitedError("it was asked too much", retry_after=pause) from error
        except PeerUnavailableError as error:
            if error.status:
                self._log("nabla failed", error.status, _said(error.body))
            raise

    def _told(self, said: Mapping[str, Any], status: int) -> ClinicalError:
        """What a refusal means: by its number first, then by HTTP's."""
        self._log("nabla refused", status, said)
        number, name = said.get("code"), said.get("name")
        if number == ORGANIZATION_RATE_LIMITED:
            return RateLimitedError("it was asked too much", retry_after=_PAUSE)
        if number == ENTITY_NOT_FOUND:
            kind: type[NablaRefusedError] = UnknownEntityError
        elif status == 404:
            kind = SunsetVersionError
        elif status == 409:
            kind = ConflictingUserError
        else:
            kind = NablaRefusedError
        return kind(
            f"it answered {status}",
            number=number if isinstance(number, int) else None,
            name=name if isinstance(name, str) and name.isidentifier() else "",
        )

    def _log(self, what: str, status: int, said: Mapping[str, Any]) -> None:
        number, trace = said.get("code"), said.get("trace_id")
        fields: dict[str, Any] = {"site": self._site, "status": status}
        if isinstance(number, int):
            fields["nabla_code"] = number
        if isinstance(trace, str) and len(trace) <= 128 and trace.isprintable():
            fields["trace_id"] = trace
        _LOG.warning(what, **fields)


def document(body: bytes) -> dict[str, Any]:
    """An answer as a JSON object; raises MalformedAnswerError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError("the answer is no JSON") from error
    if not isinstance(found, dict):
        raise MalformedAnswerError("the answer is no JSON object")
    return found


def text_of(answer: Mapping[str, Any], name: str) -> str:
    """A member that must be a text; raises MalformedAnswerError."""
    found = answer.get(name)
    if not isinstance(found, str) or not found.isprintable() or not found:
        raise MalformedAnswerError(f"{name}: it is missing in the answer")
    return found


def _said(body: bytes) -> Mapping[str, Any]:
    """The documented error body `{message, code, name, trace_id}`, or nothing."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
