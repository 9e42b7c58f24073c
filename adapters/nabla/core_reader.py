"""Door.NABLA_CORE: what a webhook of Core tells, which by itself is no event of anybody.

Its payload names no patient. The coded data of a note that we sent are taken from it elsewhere
(clinical/services/notes.py), and come back as a delivery of their own.
"""

from adapters.nabla import core_events
from adapters.nabla.errors import FailedJobError
from adapters.nabla.note import whole
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Reading

_RECORD = "NablaEvent"


class CoreReader:
    """Counts what came, and sets aside what failed or cannot be understood."""

    def read(self, delivery: Delivery) -> Reading:
        """Understand one event of a webhook."""
        reading = Reading()
        try:
            event = core_events.parse_event(delivery.body)
            _require_success(event)
        except RejectedError as error:
            reading.quarantined.append(whole(delivery, _RECORD, error))
            return reading
        kind, _, _ = event.type.partition(".")
        known = kind if kind in core_events.KNOWN else "other"
        reading.counts[
            f"record:{_RECORD}" if known == core_events.NORMALIZED else f"skipped:{known}"
        ] += 1
        return reading


def _require_success(event: core_events.CoreEvent) -> None:
    job = core_events.job_of(event)
    if event.type.endswith(".failed") or (job is not None and job.has_failed):
        raise FailedJobError(f"Nabla gave it up, number {job.error_number if job else None}")
