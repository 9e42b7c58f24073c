"""Identities that follow from content: the same name gives the same UUID on every machine."""

import hashlib
from uuid import UUID

_VERSION_8 = 0x8 << 76
_VARIANT = 0x2 << 62
_FREE_BITS = ~(0xF << 76) & ~(0x3 << 62)


def identity_of(name: str) -> UUID:
    """A UUID of version 8 (RFC 9562 section 5.8) from the first half of the SHA-256 of `name`."""
    half = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])
    return UUID(int=half & _FREE_BITS | _VERSION_8 | _VARIANT)
