"""The wall clock and fresh identities: the two sources of surprise, in one place."""

import secrets
import threading
from datetime import UTC, datetime
from uuid import UUID

_VERSION_7 = 7
_SALT_BYTES = 32
_NUM_RANDOM, _NUM_STEP = 74, 32  # bits


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The current moment."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may


class TimeOrderedIdentities:
    """UUIDs of version 7 that sort by when they were made, also those of one millisecond.

    The 74 random bits count up by a random step within a millisecond (RFC 9562 section 6.2, method
    2). Where a clock is set back, or a millisecond runs full, the time of the last one goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0  # milliseconds and the 74 bits after them

    def new(self) -> UUID:
        """A fresh identity, greater than all before it."""
        milliseconds = int(SystemClock().now().timestamp() * 1000)
        with self._lock:
            fresh = milliseconds << _NUM_RANDOM | secrets.randbits(_NUM_RANDOM)
            step = 1 + secrets.randbits(_NUM_STEP)
            is_later = milliseconds > self._last >> _NUM_RANDOM
            self._last = fresh if is_later else self._last + step
            time, random = divmod(self._last, 1 << _NUM_RANDOM)
        high, low = divmod(random, 1 << 62)
        return UUID(int=time << 80 | _VERSION_7 << 76 | high << 64 | 0x2 << 62 | low)

    def salt(self) -> bytes:
        """32 bytes from the operating system."""
        return secrets.token_bytes(_SALT_BYTES)
