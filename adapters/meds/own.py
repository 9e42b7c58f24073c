"""Rows of data sets that this service wrote, with the columns that say what their codes cannot.

Knows those columns. Does not know where a row came from or whose it is.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import pyarrow as pa

from adapters.meds.codes import Meaning
from adapters.meds.columns import AVAILABLE, OURS
from adapters.meds.errors import IncompleteRowError, NotMedsError
from adapters.units import ucum_code
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, EventValue, Origin, Phase, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime, ImpossibleTimeError, Precision

_MAX_EXPONENT = 30
_SYSTEMS: dict[str, str] = {system.value: system for system in CodeSystem}


_LENGTHS = {Precision.HOUR: timedelta(hours=1), Precision.MINUTE: timedelta(minutes=1)}


class Own(NamedTuple):
    """What our columns say of a row, in the order of `columns.OURS`."""

    kind: str | None
    phase: str | None
    standing: str | None
    origin: str | None
    unit: str | None
    comparator: str | None
    site: str | None
    code_system: str | None
    code_value: str | None
    value_type: str | None
    value_system: str | None
    status: str | None
    category: str | None
    absent_reason: str | None
    time_precision: str | None
    available_time: datetime | None

    @property
    def meaning(self) -> Meaning:
        """What the row says; raises IncompleteRowError."""
        try:
            return Meaning(
                kind=EventKind(self.kind or ""),
                code=_code(self.code_system, self.code_value),
                phase=Phase(self.phase or ""),
                standing=Standing(self.standing or ""),
                status=self.status or "",
                unit=self.unit,
            )
        except ValueError as error:
            raise IncompleteRowError("kind, phase or standing is none that we know") from error

    @property
    def whose_word(self) -> Origin:
        """Who asserted the fact; raises IncompleteRowError."""
        try:
            return Origin(self.origin or "")
        except ValueError as error:
            raise IncompleteRowError("origin is none that we know") from error

    @property
    def known_from(self) -> datetime | None:
        """From when it was known."""
        return None if self.available_time is None else self.available_time.replace(tzinfo=UTC)

    def when(self, moment: datetime | None) -> ClinicalTime | None:
        """When it happened, as precise as it was stated; None where only known since when it was known.

        Raises:
            IncompleteRowError: no calendar has it.
        """
        if moment is None or self.time_precision is None:
            return None
        try:
            return self._period(moment)
        except (ImpossibleTimeError, OverflowError) as error:
            raise IncompleteRowError("no calendar has this time") from error

    def _period(self, moment: datetime) -> ClinicalTime:
        match self.time_precision:
            case Precision.DAY:
                return ClinicalTime.day(moment.year, moment.month, moment.day)
            case Precision.MONTH:
                return ClinicalTime.month(moment.year, moment.month)
            case Precision.YEAR:
                return ClinicalTime.year(moment.year)
            case Precision.HOUR | Precision.MINUTE:
                precision = Precision(self.time_precision)
                start = moment.replace(tzinfo=UTC)
                end = start + _LENGTHS[precision] - timedelta(microseconds=1)
                return ClinicalTime(start, end, precision, start.isoformat(timespec="minutes"))
            case _:
                return ClinicalTime.instant(moment.replace(tzinfo=UTC))

    def value(self, text: str | None) -> EventValue:
        """The value of which the standard columns hold the text; raises IncompleteRowError."""
        if text is None or self.value_type is None:
            return None
        match self.value_type:
            case "quantity":
                return self._amount(text.removeprefix(self.comparator or ""), self.comparator)
            case "range":
                low, _, high = text.partition("..")
                ends = (self._amount(end, None) if end else None for end in (low, high))
                return QuantityRange(*ends)
            case "code":
                return _code(self.value_system, text)
            case "boolean":
                return text == "true"
            case _:
                return text

    def _amount(self, digits: str, comparator: str | None) -> Quantity:
        unit = ucum_code(self.unit) if self.unit else None
        try:
            stated = Comparator(comparator) if comparator else None
            amount = Quantity(Decimal(digits), unit, self.unit or "", stated)
        except (InvalidOperation, ValueError) as error:
            raise IncompleteRowError("the value is said to be an amount, and is none") from error
        if not amount.value.is_finite() or abs(amount.value.adjusted()) > _MAX_EXPONENT:
            raise IncompleteRowError("the value is out of range")
        return amount


def own_rows(table: Any) -> Iterator[Own] | None:
    """What our columns say of each row; None where the table is not one of ours.

    Raises:
        NotMedsError: a column of ours has another type.
    """
    if not set(OURS) <= set(table.column_names):
        return None
    try:
        columns = [table.column(name).cast(pa.string()).to_pylist() for name in OURS[:-1]]
        times = table.column(AVAILABLE).cast(pa.timestamp("us"), safe=False).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise NotMedsError("a column that this service writes has another type") from error
    return (Own(*row) for row in zip(*columns, times, strict=True))


def _code(system: str | None, value: str | None) -> Code:
    if value is None:
        raise IncompleteRowError("code_value is missing")
    return Code(_SYSTEMS.get(system or "", system or ""), value)
