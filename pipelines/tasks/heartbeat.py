"""Keeps a message while it is worked on: long work is no dead worker.

A thread beside the work extends the lease; it stops with the process, be that killed or frozen, and
then the lease runs out. Knows leases. Does not know what the work is.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from adapters import telemetry
from clinical.services.messages import Message
from clinical.services.ports import OpenUnitOfWork

# Work that takes longer hangs. RabbitMQ takes an id back after half an hour without an
# acknowledgement (`consumer_timeout`).
LONGEST_WORK = timedelta(minutes=25)
_BEATS_PER_LEASE = 3
_LOG = telemetry.logger(__name__)


@contextmanager
def heartbeat(
    open_unit_of_work: OpenUnitOfWork, message: Message, lease: timedelta
) -> Iterator[None]:
    """Extend the lease of `message` for as long as the block runs, but not beyond LONGEST_WORK."""
    is_over = threading.Event()

    def beat() -> None:
        deadline = time.monotonic() + LONGEST_WORK.total_seconds()
        while not is_over.wait(lease.total_seconds() / _BEATS_PER_LEASE):
            if time.monotonic() > deadline or not _extend(open_unit_of_work, message, lease):
                return

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _extend(open_unit_of_work: OpenUnitOfWork, message: Message, lease: timedelta) -> bool:
    try:
        with open_unit_of_work() as uow:
            is_ours = uow.outbox.extend(message, lease)
            uow.commit()
    except Exception as error:  # noqa: BLE001 - the next beat may pass; the fence guards the rest
        _LOG.warning("lease not extended", **telemetry.error_fields(error))
        return True
    return is_ours
