"""When something happened, with the precision that the sender stated."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clinical.errors import RejectedError


class ImpossibleTimeError(RejectedError):
    """The text is not a date or time that exists, or an instant without its zone."""

    code = "timeline.impossible_time"


class Precision(StrEnum):
    """The finest unit that was stated."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    INSTANT = "instant"


# A calendar date without a zone begins first at UTC+14 and ends last at UTC-12.
_EARLIEST_ZONE = timedelta(hours=14)
_LATEST_ZONE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class ClinicalTime:
    """A moment known to lie in `[earliest, latest]`, both in UTC; `text` is what was sent.

    An instant has `earliest == latest`, unless its sender named no zone. A partial date is never completed by guessing: its bounds
    are those of the calendar period, widened by the zones it may have been written in.
    """

    earliest: datetime
    latest: datetime
    precision: Precision
    text: str

    @classmethod
    def instant(cls, moment: datetime, text: str | None = None) -> "ClinicalTime":
        """An exact moment.

        Raises:
            ImpossibleTimeError: `moment` has no zone.
        """
        if moment.tzinfo is None:
            raise ImpossibleTimeError("an instant needs its zone")
        moment = moment.astimezone(UTC)
        return cls(moment, moment, Precision.INSTANT, text or moment.isoformat())

    @classmethod
    def day(cls, year: int, month: int, day: int) -> "ClinicalTime":
        """A calendar day; raises ImpossibleTimeError for days that no calendar has."""
        start = _midnight(year, month, day)
        return cls._period(
            start, start + timedelta(days=1), Precision.DAY, start.strftime("%Y-%m-%d")
        )

    @classmethod
    def month(cls, year: int, month: int) -> "ClinicalTime":
        """A calendar month."""
        start = _midnight(year, month, 1)
        end = _midnight(year + month // 12, month % 12 + 1, 1)
        return cls._period(start, end, Precision.MONTH, start.strftime("%Y-%m"))

    @classmethod
    def year(cls, year: int) -> "ClinicalTime":
        """A calendar year."""
        start = _midnight(year, 1, 1)
        return cls._period(start, _midnight(year + 1, 1, 1), Precision.YEAR, start.strftime("%Y"))

    @classmethod
    def _period(
        cls, start: datetime, end: datetime, precision: Precision, text: str
    ) -> "ClinicalTime":
        last = end - timedelta(microseconds=1)
        return cls(start - _EARLIEST_ZONE, last + _LATEST_ZONE, precision, text)


def _midnight(year: int, month: int, day: int) -> datetime:
    # Years 1 and 9999 have no room for the zones around them.
    if not 2 <= year <= 9997:
        raise ImpossibleTimeError("the year is out of range")
    try:
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError as error:
        raise ImpossibleTimeError("no calendar has this day") from error
