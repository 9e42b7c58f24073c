"""What an EHR was told, marked there as entered in error: only the status changes, and only of ours.

The version that was read is the one that is written over (`If-Match`): what somebody changed meanwhile
is read again, never overwritten unseen.
"""

from decimal import Decimal
from typing import Any

import msgspec

from adapters.egress.errors import PeerRefusedError, PeerUnavailableError, UnreadableAnswerError
from adapters.egress.peer import Answer, Peer
from adapters.fhir.telling import JSON, carries

IN_ERROR = "entered-in-error"
_GONE = frozenset({404, 410})
_CHANGED = frozenset({409, 412})
_ATTEMPTS = 3

# Numbers stay as they were written: 0.40 must not become 0.4 because we changed a status.
_read = msgspec.json.Decoder(float_hook=Decimal).decode
_write = msgspec.json.Encoder(decimal_format="number").encode


def take_back(peer: Peer, place: str, ours: str) -> bool:
    """Mark the resource at `place` (`Type/id`) if it is the one that carries `ours`; whether it is there.

    Raises:
        PeerUnavailableError: also where it keeps changing while we look. As Peer.ask does.
    """
    for _ in range(_ATTEMPTS):
        try:
            answer = peer.ask("GET", place, headers={"Accept": JSON})
        except PeerRefusedError as error:
            if error.status in _GONE:
                return False
            raise
        resource = _document(answer)
        if not carries(resource, ours):
            return False
        if resource.get("status") == IN_ERROR or _put(peer, place, resource, answer):
            return True
    raise PeerUnavailableError("it keeps changing while we look")


def _put(peer: Peer, place: str, resource: dict[str, Any], read: Answer) -> bool:
    """Write it over the version that was read; False where that is not the newest any more."""
    headers = {"Accept": JSON, "Content-Type": JSON, "Prefer": "return=minimal"}
    if version := _version(resource, read):
        headers["If-Match"] = version
    try:
        peer.ask("PUT", place, headers=headers, content=_write({**resource, "status": IN_ERROR}))
    except PeerRefusedError as error:
        if error.status in _CHANGED:
            return False
        raise
    return True


def _version(resource: dict[str, Any], read: Answer) -> str:
    """FHIR R4 section 3.1.0.5: the ETag is the version id, weak."""
    if etag := read.headers.get("etag", ""):
        return etag
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return f'W/"{version}"' if version else ""


def _document(answer: Answer) -> dict[str, Any]:
    try:
        found = _read(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableAnswerError("the answer is no JSON") from error
    if not isinstance(found, dict):
        raise UnreadableAnswerError("the answer is no JSON object")
    return found
