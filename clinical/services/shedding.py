"""What is no longer taken on while too much waits, in a fixed order.

Batch audits first, then files and questions about the past, then questions asked again without news,
and last of all new deliveries, which their senders will repeat. Never a claim, a signature or a stop:
nothing here is asked before those.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from clinical.errors import OperationalError
from clinical.services.messages import Urgency
from clinical.services.ports import OpenUnitOfWork

_FRESH_SECONDS = 1.0
# What was shed at some pressure is taken on again below this share of it, so that it does not flicker.
_RELIEF = 0.8


class OverloadedError(OperationalError):
    """Too much waits already: nothing of this was stored, send it again later."""

    code = "intake.overloaded"


class AuditDeferredError(OperationalError):
    """Too much waits for a batch audit to run beside it: ask again when it has gone down."""

    code = "audit.deferred"


class Shed(IntEnum):
    """What is not taken on; each includes those before it."""

    NOTHING = 0
    AUDITS = 1
    BACKFILL = 2
    REFRESH = 3
    DELIVERIES = 4

    @property
    def least(self) -> Urgency:
        """The least urgent work that is still handed out."""
        if self >= Shed.REFRESH:
            return Urgency.LIVE
        return Urgency.REFRESH if self is Shed.BACKFILL else Urgency.BACKFILL


_SHED_AT = {Shed.AUDITS: 0.25, Shed.BACKFILL: 0.5, Shed.REFRESH: 0.75, Shed.DELIVERIES: 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """Where pressure is 1: as much live work owed, as late, or as little room left on the disk."""

    max_backlog: int
    max_lateness: timedelta
    min_free_bytes: int


def next_shed(current: Shed, pressure: float) -> Shed:
    """What to shed at this pressure, having shed `current` until now."""
    kept = (
        each
        for each, limit in _SHED_AT.items()
        if pressure >= (limit * _RELIEF if each <= current else limit)
    )
    return max(kept, default=Shed.NOTHING)


class SheddingService:
    """Measures, at most once a second, and says what is shed; one for each process, for all its threads."""

    def __init__(
        self,
        *,
        open_unit_of_work: OpenUnitOfWork,
        limits: LoadLimits,
        elapsed: Callable[[], float],
        free_bytes: Callable[[], int | None],
    ) -> None:
        """`elapsed` is in seconds and only goes forward; `free_bytes` is None where it is not ours to know."""
        self._open_unit_of_work = open_unit_of_work
        self._limits = limits
        self._elapsed = elapsed
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._shed = Shed.NOTHING
        self._measured_at: float | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether `now` would answer without measuring."""
        measured_at = self._measured_at
        return measured_at is not None and self._elapsed() - measured_at < _FRESH_SECONDS

    @property
    def known(self) -> Shed:
        """What was shed when it was last measured."""
        return self._shed

    def now(self) -> Shed:
        """What is shed now; while somebody else measures, what was known before."""
        if self.is_fresh or not self._lock.acquire(blocking=False):
            return self._shed
        try:
            self._shed = next_shed(self._shed, self._pressure())
        except OperationalError:
            pass  # whoever asks will find the database away by itself
        finally:
            self._measured_at = self._elapsed()
            self._lock.release()
        return self._shed

    def require_room(self) -> None:
        """Return if deliveries are taken in; raises OverloadedError."""
        if self.known >= Shed.DELIVERIES:
            raise OverloadedError("too much waits already: nothing was stored, send it again later")

    def require_calm(self) -> None:
        """Return if a batch audit may run; raises AuditDeferredError."""
        if self.now() >= Shed.AUDITS:
            raise AuditDeferredError("too much work waits for an audit to run beside it")

    def _pressure(self) -> float:
        limits = self._limits
        with self._open_unit_of_work() as uow:
            backlog = uow.outbox.backlog(limits.max_backlog)
        free = self._free_bytes()
        return max(
            backlog.num_messages / limits.max_backlog,
            backlog.lateness / limits.max_lateness,
            0.0 if free is None else limits.min_free_bytes / max(free, 1),
        )
