"""Opaque keyset cursors: where a list goes on, sealed so that nobody can make one up.

Knows how to seal and open them. Does not know what the list holds.
"""

import base64
import hashlib
import hmac
import json
from uuid import UUID

from adapters.http.errors import BadCursorError

_SEAL_BYTES = 16


def seal(after: tuple[float, UUID], filters: str, key: bytes) -> str:
    """A cursor behind the item with this priority and id, good for these filters only."""
    content = json.dumps([after[0].hex(), str(after[1])]).encode()
    raw = _seal_of(content, filters, key) + content
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unseal(cursor: str, filters: str, key: bytes) -> tuple[float, UUID]:
    """The priority and id that `seal` was given; raises BadCursorError."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise BadCursorError("the cursor was not made by this service") from error
    given, content = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if not hmac.compare_digest(given, _seal_of(content, filters, key)):
        raise BadCursorError("the cursor was not made by this service for these filters")
    priority, identity = json.loads(content)
    return float.fromhex(priority), UUID(identity)


def _seal_of(content: bytes, filters: str, key: bytes) -> bytes:
    text = b"worklist-cursor\x00" + filters.encode() + b"\x00" + content
    return hmac.new(key, text, hashlib.sha256).digest()[:_SEAL_BYTES]
