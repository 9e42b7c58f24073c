"""The pulse of a worker: says every few seconds that it lives and what it sees, and raises the alarm.

Knows how often, and from when on an audit entry without a leaf is alarming. Does not know what a
relay does: it is told whether that works.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from adapters import telemetry
from adapters.operations.figures import Unsequenced
from adapters.operations.health import (
    BROKER_UNREACHABLE,
    MERGE_DELAY,
    HealthLimits,
    PartHealth,
)

_EVERY_SECONDS = 5.0
_ALARM_EVERY_SECONDS = 60.0
# Looking over the whole log may take this share of the time.
_SHARE_OF_LOOKING = 0.05
# A relay that has not finished a turn for so long is stuck, whatever it said last.
_STUCK_SECONDS = 30.0
STUCK = "relay.stuck"
_LOG = telemetry.logger(__name__)


class Books(Protocol):
    """Where heartbeats are written, and the log is looked over."""

    def unsequenced(self) -> Unsequenced: ...

    def beat(self, worker: str, relay_trouble: str, unsequenced: Unsequenced) -> None: ...

    def leave(self, worker: str) -> None: ...


@dataclass(slots=True)
class RelayState:
    """How the relay is doing, as it says itself."""

    trouble: str = ""
    turned_at: float = field(default_factory=time.monotonic)

    def went_well(self) -> None:
        """A turn was finished."""
        self.trouble, self.turned_at = "", time.monotonic()

    def failed(self, error: BaseException) -> None:
        """A turn broke; of the error only its code or type is kept."""
        self.trouble = getattr(error, "code", "") or type(error).__name__
        self.turned_at = time.monotonic()

    def now(self) -> str:
        """What keeps it from publishing; empty where nothing does."""
        is_stuck = time.monotonic() - self.turned_at > _STUCK_SECONDS
        return self.trouble or (STUCK if is_stuck else "")


class Pulse:
    """Beats until stopped, whatever breaks meanwhile."""

    def __init__(
        self,
        worker: str,
        books: Books,
        relay: RelayState,
        limits: HealthLimits,
    ) -> None:
        """Nothing is said yet."""
        self._worker = worker
        self._books = books
        self._relay = relay
        self._limits = limits
        self._seen = Unsequenced()
        self._look_at = self._alarm_at = 0.0
        self._stored = PartHealth(is_well=False, detail="has not beaten yet")
        self.stopping = threading.Event()

    def run(self) -> None:
        """Beat until `stopping` is set; then say goodbye."""
        while not self.stopping.wait(_EVERY_SECONDS):
            self.beat()
        try:
            self._books.leave(self._worker)
        except Exception as error:  # noqa: BLE001 - it will be forgotten by itself
            _LOG.warning("could not say goodbye", **telemetry.error_fields(error))

    def beat(self) -> None:
        """Look, say, and cry out where an entry has waited too long."""
        try:
            self._look()
            self._books.beat(self._worker, self._relay.now(), self._seen)
            self._stored = PartHealth(is_well=True, detail="answers")
        except Exception as error:  # noqa: BLE001 - the pulse outlives the database
            fields = telemetry.error_fields(error)
            self._stored = PartHealth(
                is_well=False, detail=fields.get("error_code", fields["error_type"])
            )
            _LOG.warning("heartbeat not written", **fields)
        if self._seen.oldest_seconds > self._limits.merge_delay_seconds:
            self._raise_alarm()

    def health(self) -> dict[str, PartHealth]:
        """Database, broker and ledger, as this worker sees them."""
        trouble, oldest = self._relay.now(), self._seen.oldest_seconds
        is_late = oldest > self._limits.merge_delay_seconds
        waits = f"{self._seen.num} entries without a leaf, the oldest {oldest:.0f} s old"
        return {
            "database": self._stored,
            "broker": PartHealth(
                is_well=not trouble,
                detail=f"{BROKER_UNREACHABLE}: {trouble}" if trouble else "reached",
            ),
            "ledger": PartHealth(
                is_well=not is_late, detail=f"{MERGE_DELAY}: {waits}" if is_late else waits
            ),
        }

    def _look(self) -> None:
        if time.monotonic() < self._look_at:
            return
        began = time.monotonic()
        self._seen = self._books.unsequenced()
        ended = time.monotonic()
        self._look_at = ended + (ended - began) / _SHARE_OF_LOOKING

    def _raise_alarm(self) -> None:
        if time.monotonic() < self._alarm_at:
            return
        self._alarm_at = time.monotonic() + _ALARM_EVERY_SECONDS
        _LOG.error(
            "audit entries wait too long for their leaf: forgotten, or kept back",
            error_code=MERGE_DELAY,
            num_unsequenced=self._seen.num,
            oldest_seconds=round(self._seen.oldest_seconds, 1),
        )
