"""From events of a timeline to rows of a MEDS table.

MEDS has instants without a zone, numbers of 32 bits, and no way to say that something was denied: so
times are UTC, a partial date is written as its first moment (`time_precision` says what it was),
only numbers that may be computed with are `numeric_value`, and what is not plainly asserted says so in
its code. A row without a time would hold always; so a fact without one is dated from when it was
known, and only the patient's sex is static.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
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


def rows_of(subject_id: int, events: Iterable[Event]) -> Iterator[tuple[Row, Meaning]]:
    """The rows of one patient with what their codes mean, in the order of their times, static ones first."""
    rows = list(_rows(subject_id, events))
    rows.sort(key=lambda row: row[0][1] or datetime.min)  # noqa: DTZ901 - MEDS times have no zone
    return iter(rows)


def _rows(subject_id: int, events: Iterable[Event]) -> Iterator[tuple[Row, Meaning]]:
    is_born = False
    for event in events:
        if event.kind is EventKind.PATIENT:
            if event.occurred_at is not None and not is_born:
                is_born = True
                yield _row(subject_id, event, BIRTH, _start(event.occurred_at))
            if event.code.system == CodeSystem.GENDER:
                sex = _SEXES.get(event.code.value, event.code.value.upper())
                yield _row(subject_id, event, f"GENDER//{sex}", None)
            continue
        when = event.occurred_at
        moment = _start(when) if when is not None else _plain(event.available_at)
        yield _row(subject_id, event, _code(event), moment)


def _row(subject_id: int, event: Event, code: str, moment: datetime | None) -> tuple[Row, Meaning]:
    number, text, value_type, value_system, unit, comparator = _valued(event.value)
    # MEDS_BIRTH is the date alone; the sex, which the same event says, has a row of its own.
    name = Code(CodeSystem.MEDS, BIRTH, "Birth") if code == BIRTH else event.code
    row = (
        subject_id,
        moment,
        code,
        number,
        text,
        event.kind.value,
        event.phase.value,
        event.standing.value,
        event.origin.value,
        unit,
        comparator,
        event.source.site,
        str(name.system),
        name.value,
        value_type,
        value_system,
        event.status or None,
        event.category or None,
        event.absent_reason or None,
        event.occurred_at.precision.value if event.occurred_at is not None else None,
        _plain(event.available_at),
    )
    return row, Meaning(name.display or None, _parents(name))


def _code(event: Event) -> str:
    """`KIND//SYSTEM//VALUE`, then the end of a lasting fact and the standing, where there is one to tell."""
    if event.kind is EventKind.DEATH and event.standing is Standing.ASSERTED:
        return DEATH
    parts = [event.kind.value.upper(), _prefix(event.code.system), event.code.value]
    if event.phase is not Phase.POINT:
        parts.append(event.phase.value.upper())
    if event.standing is not Standing.ASSERTED:
        parts.append(event.standing.value.upper())
    return "//".join(parts)


def _prefix(system: str) -> str:
    known = _KNOWN.get(system)
    if known is None:
        return system
    return _PREFIXES.get(known) or known.value.upper()


def _parents(name: Code) -> list[str]:
    """`LOINC/718-7`, as vocabularies are linked to; words, and codes of the site's own, link to nothing."""
    if _KNOWN.get(name.system) in {None, CodeSystem.TEXT, CodeSystem.MEDS}:
        return []
    return [f"{_prefix(name.system)}/{name.value}"]


_Valued = tuple[float | None, str | None, str | None, str | None, str | None, str | None]


def _valued(value: EventValue) -> _Valued:
    """Number, text, type, system of a coded value, unit, comparator."""
    match value:
        case None:
            return None, None, None, None, None, None
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
    comparator = amount.comparator.value if amount.comparator else None
    if amount.is_computable and abs(amount.value) < _MOST:
        return float(amount.value), None, "quantity", None, unit, comparator
    text = f"{comparator or ''}{amount.value}"
    return None, text, "quantity", None, unit, comparator


def _unit(amount: Quantity | None) -> str | None:
    return (amount.unit or amount.unit_text or None) if amount is not None else None


def _stretch(stated: QuantityRange) -> str:
    low, high = (str(end.value) if end is not None else "" for end in (stated.low, stated.high))
    return f"{low}..{high}"


def _start(when: ClinicalTime) -> datetime:
    """The first moment of what was stated, as it was written: a date is its midnight."""
    is_date = when.precision is not Precision.INSTANT and "T" not in when.text.partition("/")[0]
    return _plain(when.earliest + _WIDEST_ZONE if is_date else when.earliest)


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
