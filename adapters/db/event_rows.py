"""How an event is laid out in a row of `events`, both ways; written for speed, tried by round trips.

Knows the columns and the domain's event. Does not know connections. What `numeric` would not give
back to the last digit (NaN, a negative zero, absurd exponents) goes as text into `value_other`.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from adapters.db.tables import events
from clinical.timeline.code import Code
from clinical.timeline.event import (
    Event,
    EventKind,
    EventValue,
    Flag,
    Origin,
    Phase,
    Source,
    Standing,
)
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime, Precision

_POSTGRES_TYPES = {
    "Uuid": "uuid",
    "DateTime": "timestamptz",
    "Numeric": "numeric",
    "JSONB": "jsonb",
    "ARRAY": "text[]",
    "Text": "text",
}
COLUMNS = tuple(column.name for column in events.columns)
TYPES = tuple(_POSTGRES_TYPES[type(column.type).__name__] for column in events.columns)

Row = tuple[Any, ...]
_NO_TIME: Row = (None, None, None, None)
_NO_VALUE: Row = (None, None, None, None, None, None)
_MOST_DIGITS = 1_000  # on either side of the point; numeric holds more, medicine does not


def row_of(event_id: UUID, event: Event) -> Row:
    """The row of an event, in the order of `COLUMNS`; its identity is given because it costs a hash."""
    code, source, when, value = event.code, event.source, event.occurred_at, event.value
    return (
        event_id,
        event.patient_id,
        event.available_at,
        event.received_at,
        event.recorded_at,
        *(_NO_TIME if when is None else (when.earliest, when.latest, when.precision, when.text)),
        event.kind,
        event.phase,
        event.standing,
        event.origin,
        event.part,
        code.system,
        code.value,
        code.display,
        *(_NO_VALUE if value is None else _value_columns(value)),
        Jsonb([_code_parts(other) for other in event.other_codes]) if event.other_codes else None,
        event.status,
        event.category,
        event.encounter,
        event.absent_reason,
        sorted(event.flags) if event.flags else None,
        source.site,
        source.record_type,
        source.record_id,
        source.version,
        source.digest,
        source.delivery_id,
        source.updated_at,
    )


def _value_columns(value: EventValue) -> Row:
    """Number, unit, unit text, comparator, text, other."""
    if isinstance(value, Quantity) and _is_plain(value.value):
        return (value.value, value.unit, value.unit_text, value.comparator, None, None)
    if isinstance(value, str):
        return (None, None, None, None, value, None)
    return (None, None, None, None, None, Jsonb(_encoded(value)))


def _is_plain(number: Decimal) -> bool:
    """Whether `numeric` gives back this very decimal."""
    if number:
        return number.is_finite() and -_MOST_DIGITS < number.adjusted() < _MOST_DIGITS
    return not number.is_signed() and -_MOST_DIGITS < number.adjusted() <= 0


def _encoded(value: EventValue) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolean": value}
        case Code():
            return {"code": _code_parts(value)}
        case Quantity():
            return {"quantity": _quantity_parts(value)}
        case QuantityRange():
            return {"range": [_quantity_parts(value.low), _quantity_parts(value.high)]}
        case _:
            raise AssertionError("texts and nothing have their own columns")


def _code_parts(code: Code) -> list[str]:
    return [code.system, code.value, code.display]


def _quantity_parts(quantity: Quantity | None) -> list[str | None] | None:
    if quantity is None:
        return None
    return [str(quantity.value), quantity.unit, quantity.unit_text, quantity.comparator]


def events_of(rows: Iterable[Sequence[Any]]) -> Iterator[Event]:
    """The events of rows with all `COLUMNS`; equal codes are one object."""
    codes: dict[tuple[str, str, str], Code] = {}
    for row in rows:
        code_key = (row[14], row[15], row[16])
        if (code := codes.get(code_key)) is None:
            code = codes[code_key] = Code(*code_key)
        yield Event(
            patient_id=row[1],
            received_at=row[3],
            recorded_at=row[4],
            occurred_at=_occurred(row[5], row[6], row[7], row[8]),
            kind=_KINDS[row[9]],
            phase=_PHASES[row[10]],
            standing=_STANDINGS[row[11]],
            origin=_ORIGINS[row[12]],
            part=row[13],
            code=code,
            value=_value(row),
            other_codes=tuple(Code(*parts) for parts in row[23]) if row[23] else (),
            status=row[24],
            category=row[25],
            encounter=row[26],
            absent_reason=row[27],
            flags=frozenset(Flag(flag) for flag in row[28]) if row[28] else _NO_FLAGS,
            source=_source(row),
        )


# A lookup by text is several times faster than calling the enumeration.
_KINDS = {kind.value: kind for kind in EventKind}
_PHASES = {phase.value: phase for phase in Phase}
_STANDINGS = {standing.value: standing for standing in Standing}
_ORIGINS = {origin.value: origin for origin in Origin}
_PRECISIONS = {precision.value: precision for precision in Precision}
_NO_FLAGS: frozenset[Flag] = frozenset()


def _source(row: Sequence[Any]) -> Source:
    return Source(
        site=row[29],
        record_type=row[30],
        record_id=row[31],
        version=row[32],
        digest=row[33],
        delivery_id=row[34],
        updated_at=row[35],
    )


def _occurred(earliest: Any, latest: Any, precision: str | None, text: str) -> ClinicalTime | None:
    if precision is None:
        return None
    return ClinicalTime(earliest, latest, _PRECISIONS[precision], text)


def _value(row: Sequence[Any]) -> EventValue:
    if row[17] is not None:
        comparator = row[20]
        return Quantity(
            row[17], row[18], row[19], None if comparator is None else Comparator(comparator)
        )
    if row[21] is not None:
        return str(row[21])
    return None if row[22] is None else _decoded(row[22])


def _decoded(encoded: dict[str, Any]) -> EventValue:
    [(sort, value)] = encoded.items()
    match sort:
        case "boolean":
            return bool(value)
        case "code":
            return Code(*value)
        case "quantity":
            return _quantity(value)
        case "range":
            return QuantityRange(_quantity(value[0]), _quantity(value[1]))
        case _:
            raise AssertionError("only what `_encoded` writes is stored")


def _quantity(parts: list[Any] | None) -> Quantity | None:
    if parts is None:
        return None
    number, unit, unit_text, comparator = parts
    return Quantity(
        Decimal(number), unit, unit_text, None if comparator is None else Comparator(comparator)
    )
