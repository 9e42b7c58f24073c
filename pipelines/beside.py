"""What runs in a worker's main process beside the pool: the relay, the pulse, metrics, and the end.

Knows when each starts and stops. Does not know Celery: it is told when the pool is there, and when
the worker was told to stop.
"""

import os
import socket
import threading
from uuid import UUID

import psutil

from adapters import telemetry
from adapters.assembly.worker import Parts, WorkerProcess
from adapters.operations import metrics
from adapters.operations.metrics import OperatingCollector, WorkerMetrics
from adapters.operations.pulse import Pulse, RelayState
from clinical.errors import ClinicalError

_LOG = telemetry.logger(__name__)


class RelayWatch(RelayState):
    """Keeps how the relay is doing, and counts what it did."""

    def __init__(self, parts: Parts, counts: WorkerMetrics) -> None:
        """Nothing happened yet."""
        super().__init__()
        self._parts = parts
        self._counts = counts

    def published(self, count: int) -> None:
        """Count them."""
        self._counts.published(count)

    def signed(self) -> None:
        """Measure how long the entries under the new head had waited for it."""
        try:
            log = self._parts.ledger.notary.key.name
            self._counts.merged(self._parts.operating.merge_delays(log))
        except ClinicalError as error:  # only a measure is lost
            _LOG.warning("merge delay not measured", **telemetry.error_fields(error))


class Beside:
    """Pulse, metrics and the last deadline of one worker."""

    def __init__(self, process: WorkerProcess, parts: Parts) -> None:
        """Nothing runs yet; `parts` are those of the main process."""
        self._process = process
        self._parts = parts
        self.watch = RelayWatch(parts, process.metrics)
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._pulse = Pulse(name, parts.operating, self.watch, process.limits)

    def start(self) -> None:
        """Count, beat and answer; the first beat is made before this returns."""
        counts = self._process.metrics
        counts.registry.register(OperatingCollector(self._parts.operating.figures))
        self._process.tallies.keep(counts)
        self._pulse.beat()
        threading.Thread(target=self._pulse.run, name="pulse", daemon=True).start()
        if self._process.served is not None:
            self._process.served.start(
                lambda: metrics.exposition(counts.registry), self._pulse.health
            )

    def stop(self) -> None:
        """Say goodbye; what is not done by the deadline is given back, and the process ends."""
        self._pulse.stopping.set()
        deadline = threading.Timer(self._process.stop_seconds, self._give_back)
        deadline.daemon = True
        deadline.start()

    def _give_back(self) -> None:
        """End the children, so that none of them commits any more, and free what they held."""
        for child in psutil.Process().children(recursive=True):
            child.kill()
        held = [UUID(message_id) for message_id in self._process.metrics.running]
        try:
            self._parts.operating.give_back(held)
        except ClinicalError as error:  # then their leases bring them back
            _LOG.warning("work not given back", **telemetry.error_fields(error))
        _LOG.warning("stopped before the work was done", num_waiting=len(held))
        os._exit(0)
