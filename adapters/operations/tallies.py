"""Counts made in child processes, kept by their parent: lines in a pipe that was there before the fork.

prometheus_client has a way of its own for many processes: files in a folder that an environment
variable names at import. They outlive their processes and grow by one set for each child that ever
lived; a pipe leaves nothing behind. A line is shorter than PIPE_BUF, so it arrives whole also beside
those of others. Knows lines. Does not know what is counted.
"""

import json
import os
import threading

from adapters.operations.metrics import WorkerMetrics


class TallyPipe:
    """Implements WatchesWork in a child: says it to the parent, and never waits for it."""

    def __init__(self) -> None:
        """Open it; before the children are forked."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._num_lost = 0  # in this process, not told yet

    def asked(self, question: str, outcome: str, seconds: float) -> None:
        """See WatchesModel."""
        self._send("asked", question, outcome, seconds)

    def answered(self, abstention: str) -> None:
        """See WatchesModel."""
        self._send("answered", abstention)

    def began(self, message_id: str) -> None:
        """See WatchesWork."""
        self._send("began", message_id)

    def attempted(self, message_id: str, kind: str, outcome: str, seconds: float) -> None:
        """See WatchesWork."""
        self._send("attempted", message_id, kind, outcome, seconds)

    def keep(self, metrics: WorkerMetrics) -> None:
        """In the parent: count what children say, in a thread of its own, for as long as it lives."""
        threading.Thread(target=self._keep, args=(metrics,), name="tallies", daemon=True).start()

    def _send(self, what: str, *values: object) -> None:
        line = json.dumps([self._num_lost, what, *values]).encode() + b"\n"
        try:
            # A parent that does not read must not hold up the work: the count is lost instead.
            os.write(self._writer, line)
            self._num_lost = 0
        except BlockingIOError:
            self._num_lost += 1

    def _keep(self, metrics: WorkerMetrics) -> None:
        with os.fdopen(self._reader, "rb") as lines:
            for line in lines:
                num_lost, what, *values = json.loads(line)
                metrics.lost_tallies.inc(num_lost)
                getattr(metrics, what)(*values)
