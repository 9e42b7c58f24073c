"""`value[x]` of an Observation or of one of its components."""

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Raw, Struct

from adapters.fhir import quantities
from adapters.fhir.datatypes import (
    UNREAD,
    CodeableConcept,
    Period,
    Quantity,
    Range,
    Ratio,
    Text,
    closed,
)
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.record import NO_FLAGS, Record, first_code
from clinical.timeline import quantity as timeline
from clinical.timeline.event import EventValue, Flag

if TYPE_CHECKING:
    from adapters.fhir.inbound.observation import Observation

Integer = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


@closed(
    "id extension origin period factor lowerLimit upperLimit dimensions _data _dimensions "
    "_period _factor _lowerLimit _upperLimit"
)
class SampledData(Struct, kw_only=True, gc=False):
    """A series of samples, as text."""

    data: Text | None = None


UNREAD_VALUES = "_valueString _valueBoolean _valueInteger _valueTime _valueDateTime"
"""The companions of the primitive values."""


@closed(f"id extension referenceRange {UNREAD_VALUES}")
class Component(Struct, kw_only=True, gc=False):
    """One of several values of an observation, e.g. the systolic pressure."""

    code: CodeableConcept
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
    modifierExtension: Raw = UNREAD  # noqa: N815


_NAMES = (
    "valueQuantity",
    "valueCodeableConcept",
    "valueString",
    "valueBoolean",
    "valueInteger",
    "valueRange",
    "valueRatio",
    "valueSampledData",
    "valueTime",
    "valueDateTime",
    "valuePeriod",
)
_all_values = attrgetter(*_NAMES)

_FLAGS = {
    "A": {Flag.ABNORMAL},
    "AA": {Flag.ABNORMAL, Flag.CRITICAL},
    "H": {Flag.HIGH},
    "HU": {Flag.HIGH},
    "HH": {Flag.HIGH, Flag.CRITICAL},
    "L": {Flag.LOW},
    "LU": {Flag.LOW},
    "LL": {Flag.LOW, Flag.CRITICAL},
}
"""HL7 v3 ObservationInterpretation, and v2 table 0078 from which it is."""

_UNKNOWN_UNIT = frozenset({Flag.UNKNOWN_UNIT})
_ABSENT = frozenset({Flag.VALUE_ABSENT})


def value_of(
    valued: "Component | Observation", record: Record, path: str
) -> tuple[EventValue, frozenset[Flag]]:
    """The one value that is stated, and what a reader must know of it.

    Raises:
        RecordError: two values are stated, or the one breaks its type's rule.
    """
    flags = _interpreted(valued) if valued.interpretation else NO_FLAGS
    values = _all_values(valued)
    num_stated = len(values) - values.count(None)
    if num_stated == 0:
        return None, flags | _ABSENT if valued.dataAbsentReason is not None else flags
    if num_stated > 1:
        raise RecordError(Reason.TWO_VALUES, f"{path}value[x]: only one type of value may be given")
    if valued.valueQuantity is not None:
        amount = record.quantity(
            valued.valueQuantity, f"{path}valueQuantity" if path else "valueQuantity"
        )
        return amount, flags | _UNKNOWN_UNIT if amount and amount.unit is None else flags
    name, value = next(pair for pair in zip(_NAMES, values, strict=True) if pair[1] is not None)
    convert = _OTHER_VALUES.get(name)
    return (convert(value, record, f"{path}{name}") if convert else value), flags


def absent_reason(valued: "Component | Observation") -> str:
    """The sender's code for why there is no value."""
    reason = valued.dataAbsentReason
    return first_code([reason]) or (reason.text or "") if reason is not None else ""


def _concept(value: CodeableConcept, record: Record, _: str) -> EventValue:
    found = record.optional_codes(value)
    return found[0] if found else None


def _moment(value: str, record: Record, path: str) -> EventValue:
    stated = record.time(value, path)
    return stated.text if stated else None


def _stretch(value: Period, record: Record, path: str) -> EventValue:
    stated = record.period(value, path)
    return stated.text if stated else None


_OTHER_VALUES: dict[str, Callable[[Any, Record, str], EventValue]] = {
    "valueCodeableConcept": _concept,
    "valueInteger": lambda value, _, __: timeline.Quantity(Decimal(value), "1"),
    "valueRange": lambda value, record, path: record.range(value, path),
    "valueRatio": lambda value, _, path: quantities.ratio_text(value, path),
    "valueSampledData": lambda value, _, __: value.data,
    "valueDateTime": _moment,
    "valuePeriod": _stretch,
}
"""How each type of value becomes ours; texts, times of day and booleans stay as they are."""


def _interpreted(valued: "Component | Observation") -> frozenset[Flag]:
    flags: set[Flag] = set()
    for concept in valued.interpretation or ():
        for coding in concept.coding or ():
            flags |= _FLAGS.get(coding.code or "", set())
    return frozenset(flags)
