"""HL7 v2 times (data types TS, DTM, DT: section 2A.3) to the timeline's, as precise as they are stated.

Knows the grammar `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+/-ZZZZ]`. Never completes a time by guessing.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from clinical.timeline.time import ClinicalTime, ImpossibleTimeError, Precision

_GRAMMAR = re.compile(
    r"(?P<year>\d{4})(?:(?P<month>\d\d)(?:(?P<day>\d\d)(?:(?P<hour>\d\d)"
    r"(?:(?P<minute>\d\d)(?:(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?)?)?)?)?"
    r"(?P<zone>[+-]\d{4})?"
)
_LENGTHS = {
    Precision.HOUR: timedelta(hours=1),
    Precision.MINUTE: timedelta(minutes=1),
    Precision.INSTANT: timedelta(0),
}
_TICK = timedelta(microseconds=1)
# Somewhere on earth, as for calendar days (clinical/timeline/time.py).
_EARLIEST_ZONE, _LATEST_ZONE = timedelta(hours=14), timedelta(hours=12)


def clinical_time(text: str, zone: ZoneInfo | None) -> ClinicalTime:
    """The time that `text` states. One of day without its own zone is in `zone`, or anywhere on earth.

    An hour that a clock shows twice (the end of summer time) has both for its bounds.

    Raises:
        ImpossibleTimeError: no calendar or clock shows it, or `zone` skips it.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise ImpossibleTimeError("a time is written YYYYMMDDHHMMSS, or the first digits of it")
    year, month, day = (int(found[part] or 0) for part in ("year", "month", "day"))
    if found["month"] is None:
        return replace(ClinicalTime.year(year), text=text)
    if found["day"] is None:
        return replace(ClinicalTime.month(year, month), text=text)
    if found["hour"] is None:
        return replace(ClinicalTime.day(year, month, day), text=text)
    return _of_day(found, text, zone)


def _of_day(found: re.Match[str], text: str, zone: ZoneInfo | None) -> ClinicalTime:
    precision = Precision.INSTANT
    if found["second"] is None:
        precision = Precision.MINUTE if found["minute"] else Precision.HOUR
    try:
        first, last = _bounds(_naive(found), found["zone"], zone)
    except (ValueError, OverflowError) as error:
        raise ImpossibleTimeError("no calendar or clock shows this moment") from error
    length = _LENGTHS[precision]
    return ClinicalTime(first, last + max(length - _TICK, timedelta(0)), precision, text)


def _naive(found: re.Match[str]) -> datetime:
    """As a clock on the wall shows it; a leap second is the first of the next minute."""
    year, month, day, hour, minute, second = (
        int(found[part] or 0) for part in ("year", "month", "day", "hour", "minute", "second")
    )
    microsecond = int((found["fraction"] or "")[:6].ljust(6, "0"))
    is_leap = second == 60
    shown = datetime(  # noqa: DTZ001 - its zone is looked at next
        year, month, day, hour, minute, 59 if is_leap else second, 0 if is_leap else microsecond
    )
    return shown + timedelta(seconds=1) if is_leap else shown


def _bounds(
    naive: datetime, stated: str | None, zone: ZoneInfo | None
) -> tuple[datetime, datetime]:
    if stated is not None:
        offset = timedelta(hours=int(stated[1:3]), minutes=int(stated[3:]))
        own = timezone(-offset if stated[0] == "-" else offset)
        moment = naive.replace(tzinfo=own).astimezone(UTC)
        return moment, moment
    if zone is None:
        utc = naive.replace(tzinfo=UTC)
        return utc - _EARLIEST_ZONE, utc + _LATEST_ZONE
    either = [naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    if either[0].astimezone(zone).replace(tzinfo=None) != naive:
        raise ImpossibleTimeError("the clocks of the site skipped this moment")
    return min(either), max(either)


def known_by(stated: ClinicalTime, received_at: datetime) -> datetime:
    """The moment by which what was written then was surely written: no later than it came."""
    if stated.earliest > received_at:
        return stated.latest  # a clock is wrong, and told to be
    return min(stated.latest, received_at)
