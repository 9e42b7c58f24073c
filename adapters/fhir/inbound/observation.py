"""Observation: one event for its own value and one for each component."""

from typing import Literal

from msgspec import Raw

from adapters.fhir.datatypes import (
    UNREAD,
    CodeableConcept,
    Period,
    Quantity,
    Range,
    Ratio,
    Reference,
    Text,
    closed,
)
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.inbound.valued import (
    UNREAD_VALUES,
    Component,
    Integer,
    SampledData,
    absent_reason,
    value_of,
)
from adapters.fhir.record import Record, first_code, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Flag, Standing
from clinical.timeline.time import ClinicalTime

ReportStatus = Literal[
    "registered",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "cancelled",
    "entered-in-error",
    "unknown",
]
STANDING = {
    "registered": Standing.TENTATIVE,
    "partial": Standing.TENTATIVE,
    "preliminary": Standing.TENTATIVE,
    "cancelled": Standing.RETRACTED,
    "entered-in-error": Standing.RETRACTED,
}
REVISED = frozenset({"amended", "corrected", "appended", "cancelled", "entered-in-error"})


@closed(
    "identifier basedOn partOf focus performer note bodySite method specimen device referenceRange "
    "hasMember derivedFrom _status _effectiveDateTime _effectiveInstant _issued " + UNREAD_VALUES,
    tag="Observation",
)
class Observation(Resource, kw_only=True, gc=False):
    """A measurement or a simple assertion."""

    status: ReportStatus
    category: list[CodeableConcept] | None = None
    code: CodeableConcept
    subject: Reference | None = None
    encounter: Reference | None = None
    effectiveDateTime: Text | None = None  # noqa: N815 - FHIR's spelling
    effectivePeriod: Period | None = None  # noqa: N815
    effectiveTiming: Raw = UNREAD  # noqa: N815
    effectiveInstant: Text | None = None  # noqa: N815
    issued: Text | None = None
    valueQuantity: Quantity | None = None  # noqa: N815 - FHIR's spelling
    valueCodeableConcept: CodeableConcept | None = None  # noqa: N815
    valueString: Text | None = None  # noqa: N815
    valueBoolean: bool | None = None  # noqa: N815
    valueInteger: Integer | None = None  # noqa: N815
    valueRange: Range | None = None  # noqa: N815
    valueRatio: Ratio | None = None  # noqa: N815
    valueSampledData: SampledData | None = None  # noqa: N815
    valueTime: Text | None = None  # noqa: N815
    valueDateTime: Text | None = None  # noqa: N815
    valuePeriod: Period | None = None  # noqa: N815
    dataAbsentReason: CodeableConcept | None = None  # noqa: N815
    interpretation: list[CodeableConcept] | None = None
    component: list[Component] | None = None


def to_events(observation: Observation, record: Record) -> list[Event]:
    """A panel that has components and no value of its own is its components."""
    record.about(observation.subject)
    record.during(observation.encounter)
    status = observation.status
    record.standing = STANDING.get(status, Standing.ASSERTED)
    occurred_at = _effective(observation, record)
    recorded_at = record.known(observation.issued, "issued")
    if status in REVISED:
        recorded_at = record.revised(recorded_at)
    category = first_code(observation.category)

    def event(of: Observation | Component, part: str, path: str) -> Event:
        value, flags = value_of(of, record, path)
        return record.event(
            EventKind.OBSERVATION,
            record.codes(of.code, f"{path}code"),
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            part=part,
            value=value,
            status=status,
            category=category,
            absent_reason=absent_reason(of) if of.dataAbsentReason is not None else "",
            flags=flags,
        )

    own = event(observation, "", "")
    if not observation.component:
        return [own]
    events = [own] if own.value is not None or Flag.VALUE_ABSENT in own.flags else []
    for index, component in enumerate(observation.component):
        path = f"component[{index}]."
        if component.modifierExtension:
            raise RecordError(Reason.UNKNOWN_MODIFIER, f"{path}modifierExtension: not understood")
        events.append(event(component, f"component/{index}", path))
    return events


def _effective(observation: Observation, record: Record) -> ClinicalTime | None:
    timing = observation.effectiveTiming or None
    only_one(
        "effective[x]",
        observation.effectiveDateTime,
        observation.effectivePeriod,
        observation.effectiveInstant,
        timing,
    )
    if timing is not None:
        record.scene.count("undated:Observation.effectiveTiming")
    if observation.effectivePeriod is not None:
        return record.period(observation.effectivePeriod, "effectivePeriod")
    if observation.effectiveInstant is not None:
        return record.time(observation.effectiveInstant, "effectiveInstant")
    return record.time(observation.effectiveDateTime, "effectiveDateTime")
