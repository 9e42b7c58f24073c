"""From rows of a MEDS table to events.

MEDS has no zones: its times are read as UTC, and the `text` of each says so. Rows have no ids, so a
row is named by its own content: the same row twice is one fact. Rows without a time hold always;
they are dated with the birth where the delivery holds it, and else known from when they came.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.meds.codes import Meaning, meaning
from adapters.meds.errors import IncompleteRowError, NotMedsError, NotReadableError
from adapters.meds.files import PARQUET
from adapters.meds.own import Own, own_rows
from adapters.units import ucum_code
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Quarantined, Reading
from clinical.timeline.code import CodeSystem
from clinical.timeline.event import Event, EventValue, Flag, Source
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime

_BIRTH = "MEDS_BIRTH"
_MAX_EXPONENT = 30


class _Row(NamedTuple):
    number: int
    subject: str | None
    time: datetime | None
    code: str | None
    value: str | None
    own: Own | None = None


class MedsReader:
    """Door.MEDS: one delivery of rows, as an Arrow stream or a Parquet file."""

    def read(self, delivery: Delivery) -> Reading:
        """Understand each row; one without a subject or a code is quarantined."""
        reading = Reading()
        try:
            rows = list(_rows(_table(delivery)))
        except RejectedError as error:
            reading.quarantined.append(_refused(delivery, "", delivery.body, error))
            return reading
        births = {row.subject: _when(row) for row in rows if row.code == _BIRTH and row.time}
        refs = {subject: PatientRef(delivery.site, subject) for subject in _subjects(rows)}
        ids = {subject: ref.patient_id for subject, ref in refs.items()}
        reading.patients = {ids[subject]: ref for subject, ref in refs.items()}
        for row in rows:
            try:
                patient_id = ids.get(row.subject or "")
                event = _event(row, patient_id, births.get(row.subject), delivery, reading)
                reading.events.append(event)
            except IncompleteRowError as error:
                text = _text(row)
                position = f"row {row.number}"
                reading.quarantined.append(_refused(delivery, position, text, error))
        reading.counts["record:MEDS"] += len(reading.events)
        return reading


def _table(delivery: Delivery) -> Any:
    if "problem" in delivery.context:
        raise NotReadableError("the file is no whole Parquet file")
    source = pa.BufferReader(delivery.body)
    try:
        if delivery.content_type == PARQUET:
            table = pq.read_table(source)
        else:
            table = pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError) as error:
        raise NotReadableError("neither an Arrow stream nor a whole Parquet file") from error
    missing = [name for name in ("subject_id", "time", "code") if name not in table.column_names]
    if missing:
        raise NotMedsError(f"columns that MEDS requires are missing: {', '.join(missing)}")
    return table


def _rows(table: Any) -> Iterator[_Row]:
    """The rows as plain values, with what either layout calls the value."""
    try:
        times = table.column("time").cast(pa.timestamp("us"), safe=False).to_pylist()
        codes = table.column("code").cast(pa.string()).to_pylist()
        subjects = table.column("subject_id").cast(pa.string()).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise NotMedsError("subject_id, time or code has a type that MEDS does not have") from error
    values = _values(table)
    columns = zip(subjects, times, codes, values, strict=True)
    own = own_rows(table)
    for number, (subject, time, code, value) in enumerate(columns):
        yield _Row(number, subject, time, code, value, next(own) if own is not None else None)


def _values(table: Any) -> list[str | None]:
    """Each value as text: of a number the fewest digits that name it in the column's own width."""
    stated: list[str | None] = [None] * table.num_rows
    for name in ("numeric_value", "value", "text_value"):
        if name in table.column_names:
            column = _as_text(table.column(name))
            stated = [new if old is None else old for old, new in zip(stated, column, strict=True)]
    return stated


def _as_text(column: Any) -> list[str | None]:
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy()  # nulls become NaN
        return [None if number != number else str(number) for number in numbers]  # noqa: PLR0124
    if pa.types.is_null(column.type):
        return [None] * len(column)
    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]


def _text(row: _Row) -> bytes:
    """The content of a row in one line: what names it."""
    time = row.time.isoformat() if row.time else ""
    own = (str(each) for each in row.own or ())
    return "\t".join((row.subject or "", time, row.code or "", row.value or "", *own)).encode()


def _subjects(rows: list[_Row]) -> set[str]:
    return {row.subject for row in rows if row.subject and row.code}


def _event(
    row: _Row,
    patient_id: UUID | None,
    birth: ClinicalTime | None,
    delivery: Delivery,
    reading: Reading,
) -> Event:
    if patient_id is None or not row.code:
        raise IncompleteRowError("the row names no subject or no code")
    own = row.own
    if b"\0" in _text(row):
        raise IncompleteRowError("the row holds the character NUL")
    said = meaning(row.code) if own is None else own.meaning
    digest = hashlib.sha256(_text(row)).hexdigest()
    if own is None:
        value, flags = _value(row.value, said, reading)
    else:
        value, flags = _flagged(own.value(row.value), reading)
    system = said.code.system
    if not isinstance(system, CodeSystem):
        flags |= {Flag.UNMAPPED_CODE}
        reading.counts[f"unmapped_system:{system or '(none)'}"] += 1
    return Event(
        patient_id=patient_id,
        kind=said.kind,
        code=said.code,
        source=Source(
            site=delivery.site,
            record_type="MEDS",
            record_id=digest[:32],
            digest=digest,
            delivery_id=delivery.delivery_id,
        ),
        received_at=delivery.received_at,
        occurred_at=birth if row.time is None else _when(row),
        recorded_at=None if own is None else own.known_from,
        phase=said.phase,
        standing=said.standing,
        value=value,
        status=said.status,
        flags=flags,
        **({} if own is None else _told(own)),
    )


def _told(own: Own) -> dict[str, Any]:
    """What only our own data sets tell."""
    return {
        "origin": own.whose_word,
        "category": own.category or "",
        "absent_reason": own.absent_reason or "",
    }


def _when(row: _Row) -> ClinicalTime | None:
    if row.own is not None:
        return row.own.when(row.time)
    return None if row.time is None else _clinical_time(row.time)


def _flagged(value: EventValue, reading: Reading) -> tuple[EventValue, frozenset[Flag]]:
    """A value of our own data sets with what a reader must know of it."""
    if not isinstance(value, Quantity) or value.unit is not None:
        return value, _NO_FLAGS
    reading.counts[f"unmapped_unit:{value.unit_text or '(none)'}"] += 1
    return value, _UNKNOWN_UNIT


def _clinical_time(moment: datetime) -> ClinicalTime:
    return ClinicalTime.instant(
        moment.replace(tzinfo=UTC), f"{moment.isoformat()} (no zone stated)"
    )


def _value(text: str | None, said: Meaning, reading: Reading) -> tuple[EventValue, frozenset[Flag]]:
    if text is None:
        return None, _NO_FLAGS
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text, _NO_FLAGS
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        return text, _NO_FLAGS
    unit = ucum_code(said.unit) if said.unit else None
    if unit is None:
        reading.counts[f"unmapped_unit:{said.unit or '(none)'}"] += 1
        return Quantity(number, None, said.unit or ""), _UNKNOWN_UNIT
    return Quantity(number, unit, said.unit or ""), _NO_FLAGS


_NO_FLAGS: frozenset[Flag] = frozenset()
_UNKNOWN_UNIT = frozenset({Flag.UNKNOWN_UNIT})


def _refused(
    delivery: Delivery, position: str, content: bytes, error: RejectedError
) -> Quarantined:
    return Quarantined(
        position=position,
        record_type="MEDS",
        record_id="",
        digest=hashlib.sha256(content).hexdigest() if position else delivery.digest,
        reason_code=error.code,
        detail=str(error),
    )
