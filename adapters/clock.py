"""The wall clock and fresh identities: the two sources of surprise, in one place."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

_VERSION_7 = 7


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The current moment."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may


class TimeOrderedIdentities:
    """UUIDs of version 7 (RFC 9562 section 5.7): they sort by when they were made."""

    def new(self) -> UUID:
        """A fresh identity."""
        milliseconds = int(SystemClock().now().timestamp() * 1000)
        value = milliseconds << 80 | secrets.randbits(80)
        return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | _VERSION_7 << 76 | 0x2 << 62)
