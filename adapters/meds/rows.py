"""From events of a timeline to rows of a MEDS table.

MEDS has instants without a zone, numbers of 32 bits, and no way to say that something was denied: so
times are UTC, a partial date is written as its first moment (`time_precision` says what it was),
only numbers that may be computed with are `numeric_value`, and what is not plainly asserted says so in
its code. A row without a time would hold always; so a fact without one is dated from when it was
known, and only the patient's sex is static.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, EventValue, Phase, Standing
from clinical.timeline.quantity import Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime, Precision

Row = tuple[Any, ...]
"""Values in the order of `columns.SCHEMA`."""

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
_PREFIXES = {
    CodeSystem.SNOMED_CT: "SNOMED",
    CodeSystem.RXNORM: "RXNORM",
    CodeSystem.ICD_10_CM: "ICD10CM",
    CodeSystem.ICD_10: "ICD10",
    CodeSystem.ICD_9_CM: "ICD9CM",
    CodeSystem.CPT: "CPT4",
}
_KNOWN = {system.value: system for system in CodeSystem}
_SEXES = {"female": "F", "male": "M"}
_MOST = 3.4e38  # of 32 bits
_WIDEST_ZONE = timedelta(hours=14)  # by which the bounds of a day begin early


class Meaning(NamedTuple):
    """What `codes.parquet` says of a code: words, and the concept of a terminology that it is about."""

    description: str | None
    parent_codes: list[str]


class _Named(NamedTuple):
    """A code as it is written, and as it came."""

    code: str
    system: str
    value: str
    meaning: Meaning


# MEDS_BIRTH is the date alone; the sex, which the same event says, has a row of its own.
_BORN = _Named(BIRTH, CodeSystem.MEDS.value, BIRTH, Meaning("Birth", []))


def rows_of(subject_id: int, events: Iterable[Event]) -> Iterator[tuple[Row, Meaning]]:
    """The rows of one patient with what their codes mean, in the order of their times, static ones first."""
    rows = list(_rows(subject_id, events))
    rows.sort(key=lambda row: row[0][1] or datetime.min)  # noqa: DTZ901 - MEDS times have no zone
    return iter(rows)


def _rows(subject_id: int, events: Iterable[Event]) -> Iterator[tuple[Row, Meaning]]:
    is_born = False
    for event in events:
        when = event.occurred_at
        if event.kind is EventKind.PATIENT:
            if when is not None and not is_born:
                is_born = True
                yield _row(subject_id, event, _BORN, _start(when))
            if event.code.system == CodeSystem.GENDER:
                sex = _SEXES.get(event.code.value, event.code.value.upper())
                yield _row(subject_id, event, _named(f"GENDER//{sex}", event.code), None)
            continue
        named = _name(event.kind, event.code, event.phase, event.standing)
        moment = _start(when) if when is not None else _plain(event.available_at)
        yield _row(subject_id, event, named, moment)


def _row(
    subject_id: int, event: Event, named: _Named, moment: datetime | None
) -> tuple[Row, Meaning]:
    when, value = event.occurred_at, event.value
    number, text, value_type, value_system, unit, comparator = (
        _NO_VALUE if value is None else _valued(value)
    )
    row = (
        subject_id,
        moment,
        named.code,
        number,
        text,
        event.kind,
        event.phase,
        event.standing,
        event.origin,
        unit,
        comparator,
        event.source.site,
        named.system,
        named.value,
        value_type,
        value_system,
        event.status or None,
        event.category or None,
        event.absent_reason or None,
        when.precision if when is not None else None,
        _plain(event.available_at),
    )
    return row, named.meaning


@lru_cache(maxsize=65536)
def _name(kind: EventKind, code: Code, phase: Phase, standing: Standing) -> _Named:
    """`KIND//SYSTEM//VALUE`, then the end of a lasting fact and the standing, where there is one to tell."""
    if kind is EventKind.DEATH and standing is Standing.ASSERTED:
        return _named(DEATH, code)
    parts = [kind.upper(), _prefix(code.system), code.value]
    if phase is not Phase.POINT:
        parts.append(phase.upper())
    if standing is not Standing.ASSERTED:
        parts.append(standing.upper())
    return _named("//".join(parts), code)


def _named(text: str, code: Code) -> _Named:
    return _Named(text, str(code.system), code.value, Meaning(code.display or None, _parents(code)))


def _prefix(system: str) -> str:
    known = _KNOWN.get(system)
    if known is None:
        return system
    return _PREFIXES.get(known) or known.upper()


def _parents(name: Code) -> list[str]:
    """`LOINC/718-7`, as vocabularies are linked to; words, and codes of the site's own, link to nothing."""
    if _KNOWN.get(name.system) in {None, CodeSystem.TEXT, CodeSystem.MEDS}:
        return []
    return [f"{_prefix(name.system)}/{name.value}"]


_Valued = tuple[float | None, str | None, str | None, str | None, str | None, str | None]


_NO_VALUE: _Valued = (None, None, None, None, None, None)


def _valued(value: EventValue) -> _Valued:
    """Number, text, type, system of a coded value, unit, comparator."""
    match value:
        case None:
            return _NO_VALUE
        case Quantity():
            return _amount(value)
        case QuantityRange():
            return None, _stretch(value), "range", None, _unit(value.low or value.high), None
        case Code():
            return None, value.value, "code", str(value.system), None, None
        case bool():
            return None, str(value).lower(), "boolean", None, None, None
        case str():
            return None, value, "text", None, None, None


def _amount(amount: Quantity) -> _Valued:
    unit = _unit(amount)
    comparator = amount.comparator
    if amount.is_computable and abs(amount.value) < _MOST:
        return float(amount.value), None, "quantity", None, unit, comparator
    text = f"{comparator or ''}{amount.value}"
    return None, text, "quantity", None, unit, comparator


def _unit(amount: Quantity | None) -> str | None:
    return (amount.unit or amount.unit_text or None) if amount is not None else None


def _stretch(stated: QuantityRange) -> str:
    low, high = (str(end.value) if end is not None else "" for end in (stated.low, stated.high))
    return f"{low}..{high}"


_DATES = frozenset({Precision.DAY, Precision.MONTH, Precision.YEAR})


def _start(when: ClinicalTime) -> datetime:
    """The first moment of what was stated, as it was written: a date is its midnight."""
    is_date = when.precision in _DATES and "T" not in when.text.partition("/")[0]
    return _plain(when.earliest + _WIDEST_ZONE if is_date else when.earliest)


def _plain(moment: datetime) -> datetime:
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None)
