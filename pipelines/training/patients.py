"""Patients to train on, read through the same doors as those that are served.

Knows how to turn sample Bundles and files into timelines. What the reader quarantines is counted,
not hidden.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.fhir.files import deliveries
from adapters.fhir.reader import BulkReader
from clinical.services.delivery import Delivery, Door
from clinical.timeline.event import Event
from clinical.timeline.timeline import Timeline
from pipelines.samples import training_bundles

_SITE = "samples"
# When the sample patients count as received: fixed, so that the same samples are the same data.
_RECEIVED_AT = datetime(2021, 7, 1, tzinfo=UTC)


def sample_timelines() -> tuple[list[Timeline], int]:
    """The timelines of the shipped training patients, and how many records were quarantined."""
    bundles = (
        Delivery(
            delivery_id=UUID(bytes=hashlib.sha256(body).digest()[:16]),
            site=_SITE,
            door=Door.FHIR_BULK,
            sender_id=hashlib.sha256(body).hexdigest(),
            body=body,
            content_type="application/fhir+json",
            received_at=_RECEIVED_AT,
        )
        for _, body in training_bundles()
    )
    return _timelines(bundles)


def timelines_of(paths: Iterable[Path]) -> tuple[list[Timeline], int]:
    """The timelines in FHIR files or folders, and how many records were quarantined."""
    return _timelines(_from_files(paths))


def _from_files(paths: Iterable[Path]) -> Iterator[Delivery]:
    clock, identities = SystemClock(), TimeOrderedIdentities()
    for path in paths:
        yield from deliveries(path, site=_SITE, clock=clock, identities=identities)


def _timelines(received: Iterable[Delivery]) -> tuple[list[Timeline], int]:
    reader = BulkReader()
    events: dict[UUID, list[Event]] = defaultdict(list)
    num_quarantined = 0
    for delivery in received:
        reading = reader.read(delivery)
        num_quarantined += len(reading.quarantined)
        for event in reading.events:
            events[event.patient_id].append(event)
    return [Timeline.of(patient, own) for patient, own in sorted(events.items())], num_quarantined
