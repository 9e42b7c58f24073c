"""When to look for what was forgotten: beside the relay, seldom, and said aloud.

Knows moments and the depth of the queue. What counts as forgotten is the service's business.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from adapters import telemetry
from clinical.services.reaping import ReapingService

_SWEEP_SECONDS = 60.0
_LOOK_SECONDS = 3.0
_LOG = telemetry.logger(__name__)


class Reaper:
    """One for each relay."""

    def __init__(
        self,
        service: ReapingService,
        lease: timedelta,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`elapsed` is in seconds."""
        self._service = service
        self._lease = lease
        self._elapsed = elapsed
        self._swept_at = self._looked_at = float("-inf")

    def turn(self, depth: Callable[[], int]) -> None:
        """Look, if it is time to; `depth` is how many ids lie in the broker."""
        now = self._elapsed()
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = now
            if num_reowed := self._service.reap():
                _LOG.error("forgotten work is owed again", num_reowed=num_reowed)
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            # An empty queue beside ids that nobody began: the broker lost them.
            if depth() == 0 and (num_lost := self._service.release_unbegun(self._lease)):
                _LOG.warning("the broker forgot ids", num_reowed=num_lost)
