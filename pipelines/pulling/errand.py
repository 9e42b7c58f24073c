"""What a bulk export works with, what it tells, and how much it puts up with."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from adapters.assembly.asking import PulledSite
from adapters.egress.errors import PeerBusyError
from clinical.errors import OperationalError
from clinical.services.ports import Clock, Identities, JobState
from clinical.services.pulling import PullingService

ACTOR = "pull"
_MAX_FAILURES = 5  # in a row, without anything gained
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_OWN_PAUSE = timedelta(minutes=1)
_SHORTEST_PAUSE = timedelta(milliseconds=50)


@dataclass(slots=True, kw_only=True)
class BulkReport:
    """How far it is, or what it came to. `waiting_for` is the EHR's word while it prepares the files."""

    waiting_for: str = ""
    state: JobState = JobState.RUNNING
    transaction_time: str = ""
    num_files: int = 0
    num_files_done: int = 0
    num_lines: int = 0
    num_new_lines: int = 0
    num_deliveries: int = 0
    num_new_deliveries: int = 0
    num_outcomes: int = 0  # lines of the EHR's own error files
    num_changed_files: int = 0
    num_restarts: int = 0
    miscounted: list[tuple[str, int, int]] = field(default_factory=list)
    """Type, how many lines the EHR had said, and how many there were."""


Watch = Callable[[BulkReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What one export of one site works with; `report` is filled as it goes on, and `watch` told."""

    service: PullingService
    site: PulledSite
    clock: Clock
    identities: Identities
    watch: Watch = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    report: BulkReport = field(default_factory=BulkReport)

    def pause(self, length: timedelta) -> None:
        """Do nothing for so long."""
        self.sleep(max(length, _SHORTEST_PAUSE).total_seconds())


class Patience:
    """How often in a row something failed, and how long to wait before it is tried again."""

    def __init__(self, errand: Errand) -> None:
        """Nothing has failed yet."""
        self._clock = errand.clock
        self._max_pause = errand.site.max_pause
        self._patience = timedelta(minutes=errand.site.bulk.max_wait_minutes)
        self.over()

    def over(self) -> None:
        """Something was gained."""
        self._num, self._own_pause = 0, _FIRST_PAUSE
        self._since = self._clock.now()

    def pause_after(self, error: OperationalError) -> timedelta:
        """How long to wait; raises the error itself where it came too often, or for too long.

        Who says that they are busy may be so often.
        """
        self._num += not isinstance(error, PeerBusyError)
        is_too_long = self._clock.now() - self._since > self._patience
        if is_too_long or self._num >= _MAX_FAILURES:
            raise error
        return self._next(error.retry_after)

    def pause_until_next(self, after: timedelta | None) -> timedelta:
        """How long to wait for somebody who works on it."""
        self._num, self._since = 0, self._clock.now()
        return self._next(after)

    def _next(self, after: timedelta | None) -> timedelta:
        if after is not None:
            return min(after, self._max_pause)
        pause = self._own_pause
        self._own_pause = min(2 * pause, _LONGEST_OWN_PAUSE)
        return min(pause, self._max_pause)
