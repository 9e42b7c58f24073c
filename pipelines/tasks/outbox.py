"""The relay: hands the ids of owed work to the broker. Nothing else publishes.

The outbox is the truth and the broker a convenience: an id is published in the transaction that
claims its message, so a crash at any point leaves the message claimable again, and a lost id comes
back when the lease of its message runs out. Knows leases and depths. Does not know what work is.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from adapters import telemetry
from clinical.services.audit import AuditService
from clinical.services.ledger import LedgerService
from clinical.services.ports import Clock, OpenUnitOfWork
from clinical.services.quarantine import QuarantineService
from clinical.services.shedding import SheddingService
from pipelines.tasks.dead_letters import Bury
from pipelines.tasks.reaper import Reaper
from pipelines.tasks.subscription import Sweeper

# So few ids lie in the broker that the last is taken well within its message's lease.
WINDOW = 64
_SWEEP_SECONDS = 1.0
_SECONDS_WHILE_FULL = 0.02
_LONGEST_BACK_OFF_SECONDS = 5.0
_LOG = telemetry.logger(__name__)


class Line(Protocol):
    """An open connection to the broker."""

    def depth(self) -> int:
        """How many ids wait for a worker."""
        ...

    def publish(self, message_id: UUID) -> None:
        """Hand over an id; returns once the broker has it."""
        ...

    def drain(self, bury: Bury) -> int:
        """Take some of what the broker gave up, gone from there once `bury` returned; how many."""
        ...


class Doorbell(Protocol):
    """Rings when a message was added to the outbox."""

    def wait(self, timeout_seconds: float) -> bool:
        """Return when it rings or the time is over; whether it rang."""
        ...


class Watch(Protocol):
    """Is told how the relay is doing."""

    def went_well(self) -> None:
        """A turn was finished: database and broker were reached."""
        ...

    def failed(self, error: BaseException) -> None:
        """A turn broke."""
        ...

    def published(self, count: int) -> None:
        """So many ids were handed to the broker."""
        ...

    def signed(self) -> None:
        """A new head of the audit log was signed."""
        ...


class Unwatched:
    """Nobody wants to know."""

    def went_well(self) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def published(self, count: int) -> None: ...

    def signed(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Publishes until stopped, whatever breaks meanwhile; also gives audit entries their leaves, and signs the head."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    audit: AuditService
    ledger: LedgerService
    quarantine: QuarantineService
    shedding: SheddingService
    reaper: Reaper
    sweeper: Sweeper | None = None
    lease: timedelta
    open_line: Callable[[], AbstractContextManager[Line]]
    open_doorbell: Callable[[], AbstractContextManager[Doorbell]]
    stopping: threading.Event = field(default_factory=threading.Event)
    watch: Watch = field(default_factory=Unwatched)

    def run(self) -> None:
        """Work until `stopping` is set; an error is waited out and everything opened again."""
        num_failures = 0
        while not self.stopping.is_set():
            try:
                with self.open_doorbell() as doorbell, self.open_line() as line:
                    while not self.stopping.is_set():
                        self.turn(line, doorbell)
                        self.watch.went_well()
                        num_failures = 0
            except Exception as error:  # noqa: BLE001 - the relay outlives database and broker
                self.watch.failed(error)
                num_failures += 1
                seconds = min(0.25 * 2 ** min(num_failures, 10), _LONGEST_BACK_OFF_SECONDS)
                fields = telemetry.error_fields(error)
                _LOG.warning("relay interrupted", retry_in_seconds=seconds, **fields)
                self.stopping.wait(seconds)

    def turn(self, line: Line, doorbell: Doorbell) -> None:
        """Sequence, publish what fits, then wait for news, at most until the next sweep."""
        began = time.monotonic()
        self.audit.sequence()
        if self.ledger.publish():
            self.watch.signed()
        num_buried = line.drain(self.quarantine.bury)
        if num_buried:
            _LOG.warning("dead letters buried", num_buried=num_buried)
        self.reaper.turn(line.depth)
        if self.sweeper is not None:
            self.sweeper.turn()
        while not self.stopping.is_set():
            is_more_likely = self.publish(line)
            left = began + _SWEEP_SECONDS - time.monotonic()
            if left <= 0:
                return
            if is_more_likely:
                self.stopping.wait(_SECONDS_WHILE_FULL)
            else:
                doorbell.wait(left)

    def publish(self, line: Line) -> bool:
        """Publish as many ids as the window has room for; whether more are likely waiting."""
        room = WINDOW - line.depth()
        if room <= 0:
            return True
        least = self.shedding.now().least
        with self.open_unit_of_work() as uow:
            messages = uow.outbox.claim(room, self.lease, least=least)
            for message in messages:
                line.publish(message.message_id)
            uow.commit()
        if messages:
            self.watch.published(len(messages))
            _LOG.info("published", num_published=len(messages))
        return len(messages) == room
