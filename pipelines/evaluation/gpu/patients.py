"""Made-up patients for measuring speed: as many events and kinds of event as are wanted, seeded.

What they hold is noise with a drift; nothing about anybody's health can be learned from it.
"""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Source
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline

_NUM_SERIES, _NUM_DRUGS, _NUM_CONDITIONS = 24, 60, 120
_START = datetime(2000, 1, 1, tzinfo=UTC)
_RECEIVED = datetime(2030, 1, 1, tzinfo=UTC)


def made_up(number: int, num_bundles: int) -> Timeline:
    """One patient with `num_bundles` moments of one to five events each, over some twenty years."""
    luck = random.Random(number)  # noqa: S311 - nothing secret
    patient = UUID(bytes=hashlib.sha256(f"gpu {number}".encode()).digest()[:16])
    levels = [luck.gauss(0, 1) for _ in range(_NUM_SERIES)]
    moment, events = _START, list[Event]()
    for bundle in range(num_bundles):
        moment += timedelta(days=luck.expovariate(num_bundles / 7000))
        names = (f"{bundle}.{place}" for place in range(luck.randint(1, 5)))
        events += [_event(luck, patient, name, moment, levels) for name in names]
    return Timeline.of(patient, events)


def _event(
    luck: random.Random, patient: UUID, name: str, moment: datetime, levels: list[float]
) -> Event:
    share, value = luck.random(), None
    if share < 0.7:
        series = luck.randrange(_NUM_SERIES)
        levels[series] = 0.95 * levels[series] + luck.gauss(0, 0.3)
        kind, code = (
            EventKind.OBSERVATION,
            Code(CodeSystem.LOINC, f"{series}-0", f"Series {series}"),
        )
        value = Quantity(Decimal(f"{50 + 10 * levels[series]:.2f}"), "mg/dL")
    elif share < 0.85:
        drug = luck.randrange(_NUM_DRUGS)
        kind, code = (
            EventKind.MEDICATION_REQUEST,
            Code(CodeSystem.RXNORM, f"{drug}", f"Drug {drug}"),
        )
    else:
        condition = luck.randrange(_NUM_CONDITIONS)
        kind = EventKind.CONDITION
        code = Code(CodeSystem.SNOMED_CT, f"{condition}", f"Condition {condition}")
    return Event(
        patient_id=patient,
        kind=kind,
        code=code,
        value=value,
        occurred_at=ClinicalTime.instant(moment),
        received_at=_RECEIVED,
        source=Source(
            site="made-up",
            record_type="Record",
            record_id=f"{patient}/{name}",
            digest=hashlib.sha256(f"{patient}/{name}".encode()).hexdigest(),
            delivery_id=UUID(int=1),
        ),
    )
