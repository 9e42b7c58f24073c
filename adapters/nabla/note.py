"""What the events of one note, or of one response about it, have in common: whose, where, since when."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Quarantined, Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, EventValue, Flag, Origin, Phase, Source
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime


@dataclass(slots=True, kw_only=True)
class Note:
    """What the events of one note have in common."""

    delivery: Delivery
    reading: Reading
    record_type: str
    patient: str
    encounter: str
    version: str
    occurred_at: ClinicalTime | None = None
    recorded_at: datetime | None = None
    source: Source = field(init=False)
    patient_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        ref = PatientRef(self.delivery.site, self.patient.removeprefix("Patient/"))
        self.encounter = self.encounter.removeprefix("Encounter/")
        self.patient_id = ref.patient_id
        self.reading.patients[ref.patient_id] = ref
        self.source = Source(
            site=self.delivery.site,
            record_type=self.record_type,
            record_id=self.encounter,
            version=self.version,
            digest=self.delivery.digest,
            delivery_id=self.delivery.delivery_id,
            updated_at=self.recorded_at,
        )

    def add(
        self,
        kind: EventKind,
        names: tuple[Code, ...],
        *,
        part: str,
        phase: Phase = Phase.POINT,
        value: EventValue = None,
        status: str = "",
        category: str = "",
    ) -> None:
        """Add an event; unknown terminologies and units are flagged and counted."""
        flags = set()
        for name in names:
            if not isinstance(name.system, CodeSystem):
                self.reading.counts[f"unmapped_system:{name.system}"] += 1
        if not isinstance(names[0].system, CodeSystem) or names[0].system is CodeSystem.TEXT:
            flags.add(Flag.UNMAPPED_CODE)
        for amount in amounts(value):
            if amount.unit is None:
                flags.add(Flag.UNKNOWN_UNIT)
                self.reading.counts[f"unmapped_unit:{amount.unit_text or '(none)'}"] += 1
        received_at, recorded_at = self.delivery.received_at, self.recorded_at
        if recorded_at is not None and recorded_at > received_at:
            flags.add(Flag.FUTURE_RECORDED)
        self.reading.events.append(
            Event(
                patient_id=self.patient_id,
                kind=kind,
                code=names[0],
                source=self.source,
                received_at=received_at,
                occurred_at=None if phase is Phase.END else self.occurred_at,
                recorded_at=recorded_at,
                part=part,
                phase=phase,
                origin=Origin.AI_FROM_NOTE,
                value=value,
                other_codes=names[1:],
                status=status,
                category=category,
                encounter=f"Encounter/{self.encounter}",
                flags=frozenset(flags),
            )
        )

    def quarantine(self, position: str, raw: bytes, error: RejectedError) -> None:
        """Set one item aside."""
        self.reading.quarantined.append(
            Quarantined(
                position=position,
                record_type=self.record_type,
                record_id=self.encounter,
                digest=hashlib.sha256(raw).hexdigest(),
                reason_code=error.code,
                detail=str(error),
            )
        )


def amounts(value: EventValue) -> Iterable[Quantity]:
    """The quantities in a value."""
    match value:
        case Quantity():
            return (value,)
        case QuantityRange():
            return tuple(end for end in (value.low, value.high) if end is not None)
        case _:
            return ()


def whole(delivery: Delivery, record_type: str, error: RejectedError) -> Quarantined:
    """A delivery that is set aside as a whole."""
    return Quarantined(
        position="",
        record_type=record_type,
        record_id="",
        digest=delivery.digest,
        reason_code=error.code,
        detail=str(error),
    )
