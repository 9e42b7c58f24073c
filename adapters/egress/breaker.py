"""A circuit breaker: whoever keeps failing is left alone for a while.

Ours, because the kept ones either hold a lock during the call or want an event loop (decision 62).
"""

import threading
from datetime import datetime, timedelta

from adapters.egress.errors import CircuitOpenError
from clinical.services.ports import Clock


class CircuitBreaker:
    """Closed until `max_failures` in a row; then open for `pause`; then one call at a time may try."""

    def __init__(self, clock: Clock, *, max_failures: int, pause: timedelta) -> None:
        """Nothing has failed yet."""
        self._clock = clock
        self._max_failures = max_failures
        self._pause = pause
        self._lock = threading.Lock()
        self._num_failures = 0
        self._opens_at: datetime | None = None  # when the next trial may be made

    def require_closed(self) -> None:
        """Return if a call may be made; raises CircuitOpenError with how long to wait."""
        with self._lock:
            now = self._clock.now()
            if self._opens_at is None:
                return
            if now < self._opens_at:
                raise CircuitOpenError(
                    "it failed too often a moment ago", retry_after=self._opens_at - now
                )
            self._opens_at = now + self._pause  # this caller tries; the others wait for the outcome

    def succeeded(self) -> None:
        """It answers."""
        with self._lock:
            self._num_failures, self._opens_at = 0, None

    def failed(self) -> None:
        """It did not answer, or not with an answer."""
        with self._lock:
            self._num_failures += 1
            if self._num_failures >= self._max_failures:
                self._opens_at = self._clock.now() + self._pause
