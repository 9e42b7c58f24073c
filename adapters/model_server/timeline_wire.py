"""A timeline as compact arrays: repeated codes and sources are written once and referred to.

It knows every field of the timeline's values and nothing of bytes, HTTP or models. The events are
rebuilt exactly: digits, precision, flags, and the moment from which each version was known.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec import Struct

from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, Flag, Origin, Phase, Source, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime, Precision
from clinical.timeline.timeline import Known, Timeline


class WireCode(Struct, frozen=True, array_like=True, gc=False):
    """A concept."""

    system: str
    value: str
    display: str


class WireQuantity(Struct, frozen=True, array_like=True, gc=False, tag="quantity"):
    """A value with all its digits: a decimal is written as text."""

    value: Decimal
    unit: str | None
    unit_text: str
    comparator: Comparator | None


class WireRange(Struct, frozen=True, array_like=True, gc=False, tag="range"):
    """A value between two others."""

    low: WireQuantity | None
    high: WireQuantity | None


class WireCoded(Struct, frozen=True, array_like=True, gc=False, tag="code"):
    """A value that is a code: its place among the codes."""

    code: int


WireValue = WireQuantity | WireRange | WireCoded | str | bool | None


class WireTime(Struct, frozen=True, array_like=True, gc=False):
    """When something happened."""

    earliest: datetime
    latest: datetime
    precision: Precision
    text: str


class WireSource(Struct, frozen=True, array_like=True, gc=False):
    """The version of a record that facts were read from."""

    site: str
    record_type: str
    record_id: str
    version: str
    digest: str
    delivery_id: UUID
    updated_at: datetime | None


class WireEvent(Struct, frozen=True, array_like=True, gc=False):
    """A version of a fact and when it was known; `code` and `source` are places in the tables."""

    known_at: datetime
    kind: EventKind
    code: int
    source: int
    received_at: datetime
    occurred_at: WireTime | None
    recorded_at: datetime | None
    part: str
    phase: Phase
    standing: Standing
    origin: Origin
    value: WireValue
    other_codes: tuple[int, ...]
    status: str
    category: str
    encounter: str
    absent_reason: str
    flags: frozenset[Flag]


class WireTimeline(Struct, frozen=True, array_like=True):
    """The versions in their order, and the places of those that stand."""

    patient_id: UUID
    codes: list[WireCode]
    sources: list[WireSource]
    versions: list[WireEvent]
    standing: list[int]


def to_wire(timeline: Timeline) -> WireTimeline:
    """The timeline as it is sent."""
    codes: dict[Code, int] = {}
    sources: dict[Source, int] = {}
    versions = [_event_to_wire(known, codes, sources) for known in timeline.versions]
    places = {id(known.event): place for place, known in enumerate(timeline.versions)}
    return WireTimeline(
        patient_id=timeline.patient_id,
        codes=[WireCode(code.system, code.value, code.display) for code in codes],
        sources=[
            WireSource(
                s.site, s.record_type, s.record_id, s.version, s.digest, s.delivery_id, s.updated_at
            )
            for s in sources
        ],
        versions=versions,
        standing=[places[id(known.event)] for known in timeline.standing],
    )


def from_wire(wire: WireTimeline) -> Timeline:
    """The timeline that was sent; raises IndexError where a place lies outside its table."""
    codes = [Code(code.system, code.value, code.display) for code in wire.codes]
    sources = [
        Source(
            site=s.site,
            record_type=s.record_type,
            record_id=s.record_id,
            version=s.version,
            digest=s.digest,
            delivery_id=s.delivery_id,
            updated_at=s.updated_at,
        )
        for s in wire.sources
    ]
    versions = tuple(
        Known(event.known_at, _event_from_wire(wire.patient_id, event, codes, sources))
        for event in wire.versions
    )
    return Timeline(wire.patient_id, versions, tuple(versions[place] for place in wire.standing))


def _event_to_wire(known: Known, codes: dict[Code, int], sources: dict[Source, int]) -> WireEvent:
    event = known.event
    return WireEvent(
        known_at=known.at,
        kind=event.kind,
        code=codes.setdefault(event.code, len(codes)),
        source=sources.setdefault(event.source, len(sources)),
        received_at=event.received_at,
        occurred_at=_time_to_wire(event.occurred_at),
        recorded_at=event.recorded_at,
        part=event.part,
        phase=event.phase,
        standing=event.standing,
        origin=event.origin,
        value=_value_to_wire(event, codes),
        other_codes=tuple(codes.setdefault(code, len(codes)) for code in event.other_codes),
        status=event.status,
        category=event.category,
        encounter=event.encounter,
        absent_reason=event.absent_reason,
        flags=event.flags,
    )


def _event_from_wire(
    patient_id: UUID, wire: WireEvent, codes: list[Code], sources: list[Source]
) -> Event:
    return Event(
        patient_id=patient_id,
        kind=wire.kind,
        code=codes[wire.code],
        source=sources[wire.source],
        received_at=wire.received_at,
        occurred_at=_time_from_wire(wire.occurred_at),
        recorded_at=wire.recorded_at,
        part=wire.part,
        phase=wire.phase,
        standing=wire.standing,
        origin=wire.origin,
        value=_value_from_wire(wire.value, codes),
        other_codes=tuple(codes[place] for place in wire.other_codes),
        status=wire.status,
        category=wire.category,
        encounter=wire.encounter,
        absent_reason=wire.absent_reason,
        flags=wire.flags,
    )


def _time_to_wire(time: ClinicalTime | None) -> WireTime | None:
    return None if time is None else WireTime(time.earliest, time.latest, time.precision, time.text)


def _time_from_wire(wire: WireTime | None) -> ClinicalTime | None:
    if wire is None:
        return None
    return ClinicalTime(wire.earliest, wire.latest, wire.precision, wire.text)


def _value_to_wire(event: Event, codes: dict[Code, int]) -> WireValue:
    match event.value:
        case Quantity() as quantity:
            return _quantity_to_wire(quantity)
        case QuantityRange(low=low, high=high):
            return WireRange(
                None if low is None else _quantity_to_wire(low),
                None if high is None else _quantity_to_wire(high),
            )
        case Code() as code:
            return WireCoded(codes.setdefault(code, len(codes)))
        case plain:
            return plain


def _value_from_wire(
    wire: WireValue, codes: list[Code]
) -> Quantity | QuantityRange | Code | str | bool | None:
    match wire:
        case WireQuantity():
            return _quantity_from_wire(wire)
        case WireRange(low=low, high=high):
            return QuantityRange(
                None if low is None else _quantity_from_wire(low),
                None if high is None else _quantity_from_wire(high),
            )
        case WireCoded(code=place):
            return codes[place]
        case plain:
            return plain


def _quantity_to_wire(quantity: Quantity) -> WireQuantity:
    return WireQuantity(quantity.value, quantity.unit, quantity.unit_text, quantity.comparator)


def _quantity_from_wire(wire: WireQuantity) -> Quantity:
    return Quantity(wire.value, wire.unit, wire.unit_text, wire.comparator)
