"""`clinical bench intake`: signed webhooks at a steady rate to a whole site, and what becomes of them.

Each is to be sent at its moment by a sender that is free: sixteen as an EHR would have, on the machine
of the site itself. How late it was sent because none was free is kept apart from how long the answer
took. Knows how to ask from outside and to read the database afterwards.
"""

import itertools
import json
import random
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import httpx
from sqlalchemy import Engine, text

from adapters.assembly.worker import Parts
from pipelines.demo import SignedWebhook

NUM_SENDERS = 16
_LOOK_SECONDS = 0.5
_ACCEPTED = 202

_EVENTS = text(
    """
    SELECT DISTINCT d.sender_id, d.received_at, d.recorded_at, e.patient_id
    FROM deliveries d JOIN events e ON e.delivery_id = d.delivery_id
    WHERE d.received_at >= :since AND d.door = 'fhir'
    """
)
_PREDICTIONS = text(
    "SELECT patient_id, received_by, made_at FROM predictions WHERE made_at >= :since"
)


@dataclass(slots=True, kw_only=True)
class Load:
    """What came of one rate: seconds until the answer, how late it was sent, and the work owed meanwhile."""

    per_second: float
    num_sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    num_refused_without_a_moment: int = 0
    acks: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    backlog: list[int] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    num_without_prediction: int = 0

    @property
    def num_accepted(self) -> int:
        """Answered 202: durable."""
        return self.statuses[_ACCEPTED]

    @property
    def is_sustained(self) -> bool:
        """Nothing refused, and at the end no more owed than comes in two seconds."""
        return self.num_accepted == self.num_sent and self.backlog[-1] <= 2 * self.per_second

    def share_within(self, seconds: float) -> float:
        """Of the accepted, how many were in a stored prediction so soon after they were received."""
        return sum(each <= seconds for each in self.stored) / max(self.num_accepted, 1)


def send(
    parts: Parts,
    webhook: SignedWebhook,
    *,
    per_second: float,
    seconds: float,
    num_senders: int = NUM_SENDERS,
) -> Load:
    """Send at this rate for so long."""
    with parts.open_unit_of_work() as uow:
        patients = [
            uow.timelines.patient(each).record_id for each in sorted(uow.timelines.patient_ids())
        ]
    load = Load(per_second=per_second)
    numbers = itertools.count()
    lock = threading.Lock()
    began = time.perf_counter()

    def lane() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while (number := next(numbers)) < per_second * seconds:
                due = began + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                body = _heart_rate(parts, patients[number % len(patients)], number)
                sent = time.perf_counter()
                answer = webhook.send(client, str(parts.identities.new()), body)
                with lock:
                    load.late.append(sent - due)
                    _note(load, answer, time.perf_counter() - sent)

    lanes = [threading.Thread(target=lane) for _ in range(num_senders)]
    for each in lanes:
        each.start()
    while any(each.is_alive() for each in lanes):
        load.backlog.append(_pending(parts))
        time.sleep(_LOOK_SECONDS)
    load.backlog.append(_pending(parts))
    return load


def _note(load: Load, answer: httpx.Response, seconds: float) -> None:
    load.num_sent += 1
    load.statuses[answer.status_code] += 1
    if answer.status_code == _ACCEPTED:
        load.acks.append(seconds)
    elif "retry-after" not in answer.headers:
        load.num_refused_without_a_moment += 1


def wait_until_quiet(parts: Parts, longest_seconds: float) -> bool:
    """Return when nothing is owed, or after so long; whether nothing is."""
    deadline = time.monotonic() + longest_seconds
    while _pending(parts):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def follow(engine: Engine, load: Load, since: datetime) -> None:
    """Find, for each event received since, the first prediction that had it; fills `stored`."""
    by_patient: defaultdict[UUID, list[tuple[datetime, datetime]]] = defaultdict(list)
    with engine.connect() as connection:
        events = connection.execute(_EVENTS, {"since": since}).all()
        for row in connection.execute(_PREDICTIONS, {"since": since}):
            by_patient[row.patient_id].append((row.received_by, row.made_at))
    for made in by_patient.values():
        made.sort()
    for row in events:
        made = by_patient[row.patient_id]
        place = bisect_left(made, (row.recorded_at, row.recorded_at))
        if place < len(made):
            load.stored.append((made[place][1] - row.received_at).total_seconds())
        else:
            load.num_without_prediction += 1


def _pending(parts: Parts) -> int:
    with parts.open_unit_of_work() as uow:
        return uow.outbox.pending()


def _heart_rate(parts: Parts, patient: str, number: int) -> bytes:
    rate = 60 + random.Random(number).randrange(60)  # noqa: S311 - no two alike
    resource = {
        "resourceType": "Observation",
        "id": str(parts.identities.new()),
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": parts.clock.now().isoformat(timespec="milliseconds"),
        "valueQuantity": {
            "value": rate,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }
    return json.dumps(resource).encode()
