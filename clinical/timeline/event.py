"""One dated clinical fact about one patient, and where it came from."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from clinical.timeline.code import Code
from clinical.timeline.identity import identity_of
from clinical.timeline.quantity import Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime


class EventKind(StrEnum):
    """What sort of fact it is."""

    PATIENT = "patient"  # birth date and sex: static facts
    DEATH = "death"
    ENCOUNTER = "encounter"
    CONDITION = "condition"
    OBSERVATION = "observation"
    MEDICATION_REQUEST = "medication_request"
    MEDICATION_ADMINISTRATION = "medication_administration"
    MEDICATION_STATEMENT = "medication_statement"
    PROCEDURE = "procedure"
    DIAGNOSTIC_REPORT = "diagnostic_report"
    IMMUNIZATION = "immunization"
    ALLERGY = "allergy"
    CARE_PLAN = "care_plan"
    SERVICE_REQUEST = "service_request"
    DOCUMENT = "document"


class Role(StrEnum):
    """What the fact is to the world model: given once, observed, or done to the patient."""

    STATIC = "static"
    OBSERVATION = "observation"
    ACTION = "action"


_ACTIONS = frozenset(
    {
        EventKind.MEDICATION_REQUEST,
        EventKind.MEDICATION_ADMINISTRATION,
        EventKind.PROCEDURE,
        EventKind.IMMUNIZATION,
        EventKind.CARE_PLAN,
        EventKind.SERVICE_REQUEST,
    }
)


class Phase(StrEnum):
    """Which end of a lasting fact this event is; most facts are a single point."""

    POINT = "point"
    START = "start"
    END = "end"


class Standing(StrEnum):
    """Whether the source still stands by the fact."""

    ASSERTED = "asserted"
    TENTATIVE = "tentative"  # preliminary, provisional, differential, draft
    REFUTED = "refuted"  # stated not to be so: "not done", "refuted"
    RETRACTED = (
        "retracted"  # entered in error, cancelled result, deleted: withdraws earlier versions
    )


class Origin(StrEnum):
    """Who asserted the fact."""

    EHR = "ehr"
    AI_FROM_NOTE = "ai_from_note"  # derived by software from a clinician's note
    PATIENT_REPORTED = "patient_reported"


class Flag(StrEnum):
    """What a reader must know before using the fact."""

    UNMAPPED_CODE = "unmapped_code"  # the terminology is not one that we know
    UNKNOWN_UNIT = "unknown_unit"  # the unit is not UCUM: the value is kept, not computed with
    VALUE_ABSENT = "value_absent"  # the source says why there is no value (`absent_reason`)
    FUTURE_RECORDED = "future_recorded"  # recorded later than it was received: a clock is wrong
    ABNORMAL = "abnormal"
    HIGH = "high"
    LOW = "low"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a fact came from: a version of a record at a site, and the bytes it was read from.

    `reference` is `type/id/version`; the digest names the bytes even where a sender has no versions.
    """

    site: str
    record_type: str
    record_id: str
    version: str = ""
    digest: str  # hex SHA-256 of the record's bytes as received
    delivery_id: UUID  # the inbox row that holds those bytes
    updated_at: datetime | None = None  # when the sender last changed the record

    @property
    def reference(self) -> str:
        """`type/id/version`, or `type/id` where the sender has no versions."""
        base = f"{self.record_type}/{self.record_id}"
        return f"{base}/{self.version}" if self.version else base


EventValue = Quantity | QuantityRange | Code | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact: what, when it happened, when it was written down, when we got it, and from where.

    `part` distinguishes the facts that one record carries (`""`, `component/0`, `start`, `end`).
    `occurred_at` is None where the source does not say; such an event is known from `recorded_at`
    or, failing that, from when it was received.
    """

    patient_id: UUID
    kind: EventKind
    code: Code
    source: Source
    received_at: datetime
    occurred_at: ClinicalTime | None = None
    recorded_at: datetime | None = None
    part: str = ""
    phase: Phase = Phase.POINT
    standing: Standing = Standing.ASSERTED
    origin: Origin = Origin.EHR
    value: EventValue = None
    other_codes: tuple[Code, ...] = ()
    status: str = ""  # the source's own word for its state
    category: str = ""  # e.g. "vital-signs", "laboratory", "problem-list-item"
    encounter: str = ""  # `type/id` of the encounter it belongs to
    absent_reason: str = ""
    flags: frozenset[Flag] = frozenset()

    @property
    def event_id(self) -> UUID:
        """The same fact from the same bytes has the same identity, however often it is delivered."""
        source = self.source
        return identity_of(f"{source.site}|{source.reference}|{source.digest}|{self.part}")

    @property
    def fact_key(self) -> tuple[str, str, str, str]:
        """What a later version of the same record corrects: site, type, id and part."""
        source = self.source
        return (source.site, source.record_type, source.record_id, self.part)

    @property
    def available_at(self) -> datetime:
        """When the fact could be known: when it was recorded, else when it had surely happened.

        This, not `occurred_at`, decides what a question asked at some moment may see.
        """
        if self.recorded_at is not None:
            return self.recorded_at
        return self.received_at if self.occurred_at is None else self.occurred_at.latest

    @property
    def role(self) -> Role:
        """What the fact is to the world model."""
        if self.kind is EventKind.PATIENT:
            return Role.STATIC
        return Role.ACTION if self.kind in _ACTIONS else Role.OBSERVATION

    def canonical(self) -> str:
        """One line that holds everything a model may read but when it became known."""
        occurred = self.occurred_at
        fields = (
            str(self.event_id),
            self.kind,
            self.code.key,
            self.phase,
            self.standing,
            self.origin,
            f"{occurred.earliest.isoformat()}/{occurred.latest.isoformat()}" if occurred else "",
            _canonical_value(self.value),
        )
        return "\t".join(fields)


def _canonical_value(value: EventValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f"bool:{value}"
        case Quantity():
            return f"quantity:{value.comparator or ''}{_digits(value.value)}:{value.unit or '?'}"
        case QuantityRange():
            return f"range:{_canonical_value(value.low)}:{_canonical_value(value.high)}"
        case Code():
            return f"code:{value.key}"
        case str():
            return f"text:{hashlib.sha256(value.encode()).hexdigest()}"


def _digits(value: Decimal) -> str:
    return format(value, "f")
