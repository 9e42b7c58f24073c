"""Small builders of domain values for tests; every argument that matters is named by the caller."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Source
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime

PATIENT = PatientRef("north", "p1").patient_id
DELIVERY = UUID(int=1)
START = datetime(2024, 3, 1, 8, tzinfo=UTC)
GLUCOSE = Code(CodeSystem.LOINC, "2339-0", "Glucose")


def hours(count: float) -> datetime:
    """The moment `count` hours after the start of the story."""
    return START + timedelta(hours=count)


def event(
    record_id: str = "o1",
    *,
    at: float = 0,
    recorded: float | None = None,
    received: float = 1000,
    updated: float | None = None,
    content: str = "",
    value: str | None = None,
    **changes: Any,
) -> Event:
    """An observation `at` hours; `content` stands for the bytes of its record."""
    fields: dict[str, Any] = {
        "patient_id": PATIENT,
        "kind": EventKind.OBSERVATION,
        "code": GLUCOSE,
        "occurred_at": ClinicalTime.instant(hours(at)),
        "recorded_at": None if recorded is None else hours(recorded),
        "received_at": hours(received),
        "value": None if value is None else Quantity(Decimal(value), "mg/dL"),
        "source": Source(
            site="north",
            record_type="Observation",
            record_id=record_id,
            digest=hashlib.sha256(f"{record_id}{content}".encode()).hexdigest(),
            delivery_id=DELIVERY,
            updated_at=None if updated is None else hours(updated),
        ),
    }
    return Event(**(fields | changes))
