"""What a running site takes: time from a webhook to the stored prediction, memory of each process.

Knows how to ask from outside. Does not store or judge what it measured.
"""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import psutil

from adapters.assembly import guard
from adapters.assembly.embedded import Site
from adapters.assembly.worker import Parts
from clinical.errors import OperationalError
from pipelines.demo import SignedWebhook

_LOOK_EVERY_SECONDS = 0.002
_TIMEOUT_SECONDS = 60.0


class NoPredictionError(OperationalError):
    """A webhook was answered, but no prediction of it was stored in time."""

    code = "probe.no_prediction"


def webhook_to_prediction_seconds(
    parts: Parts, webhook: SignedWebhook, num_probes: int
) -> Iterator[float]:
    """Post one new heart rate at a time, to the known patients in turn, and time each prediction.

    From before the request is sent until the review of its prediction can be read from the
    database. The site must be idle otherwise.

    Raises:
        NoPredictionError
    """
    with parts.open_unit_of_work() as uow:
        patient_ids = sorted(uow.timelines.patient_ids())
    for number in range(num_probes):
        patient_id = patient_ids[number % len(patient_ids)]
        yield _probe(parts, webhook, patient_id)


def _probe(parts: Parts, webhook: SignedWebhook, patient_id: UUID) -> float:
    with parts.open_unit_of_work() as uow:
        record_id = uow.timelines.patient(patient_id).record_id
    before = _reviews(parts, patient_id)
    body = _heart_rate(str(parts.identities.new()), record_id, parts.clock.now())
    began = time.perf_counter()
    webhook.deliver(body)
    while not _reviews(parts, patient_id) - before:
        if time.perf_counter() - began > _TIMEOUT_SECONDS:
            raise NoPredictionError("no prediction was stored in time")
        time.sleep(_LOOK_EVERY_SECONDS)
    return time.perf_counter() - began


def _reviews(parts: Parts, patient_id: UUID) -> set[UUID]:
    with parts.open_unit_of_work() as uow:
        return {review.review_id for review in uow.reviews.open_for(patient_id)}


def _heart_rate(record_id: str, patient_record_id: str, measured_at: datetime) -> bytes:
    resource = {
        "resourceType": "Observation",
        "id": record_id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient_record_id}"},
        "effectiveDateTime": measured_at.isoformat(timespec="milliseconds"),
        "valueQuantity": {
            "value": 72,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }
    return json.dumps(resource).encode()


def memory_mebibytes(site: Site) -> dict[str, float]:
    """Proportional set size of each child with all its descendants; shared pages count once."""
    return {
        name: sum(map(_pss, guard.processes_of(child.session))) / 2**20
        for name, child in site.children.items()
    }


def _pss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
