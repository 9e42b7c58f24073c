"""FHIR date, dateTime and instant (R4 section 2.24.0.1) to the timeline's time, never completed by guessing.

Knows FHIR's grammar of times. Does not know which element means what.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from clinical.timeline.time import ClinicalTime, ImpossibleTimeError, Precision

_LENGTH_OF_SECONDS = len("2024-02-03T10:00:00")


@lru_cache(maxsize=16384)
def clinical_time(text: str) -> ClinicalTime:
    """The time that `text` states, as precise as it states it.

    Fractions finer than a microsecond stay in the text only. A leap second (`23:59:60` UTC) is the instant at which the next day begins, as POSIX counts.

    Raises:
        ImpossibleTimeError: no calendar or clock shows it, or it has a time of day but no zone.
    """
    match len(text):
        case 4:
            return ClinicalTime.year(_number(text))
        case 7 if text[4] == "-":
            return ClinicalTime.month(_number(text[:4]), _number(text[5:]))
        case 10:
            return _day(text)
        case _:
            return ClinicalTime.instant(_moment(text), text)


def latest(text: str) -> datetime:
    """The last moment that `text` may mean: from then on what it dates was surely known."""
    return clinical_time(text).latest


def interval(start: str | None, end: str | None) -> ClinicalTime | None:
    """The stretch from `start` to `end`, as precise as the coarser of the two; None if neither is stated.

    Where one end is missing the other stands alone.

    Raises:
        ImpossibleTimeError: either is impossible, or the end lies before the start.
    """
    if start is None or end is None:
        only = start or end
        return None if only is None else clinical_time(only)
    first, last = clinical_time(start), clinical_time(end)
    if last.latest < first.earliest:
        raise ImpossibleTimeError("a period ends before it starts")
    coarser = min(first.precision, last.precision, key=_COARSENESS.__getitem__)
    return ClinicalTime(
        first.earliest, max(first.latest, last.latest), coarser, f"{first.text}/{last.text}"
    )


_COARSENESS = {precision: rank for rank, precision in enumerate(Precision)}


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise ImpossibleTimeError("a date is written in digits")
    return int(digits)


def _day(text: str) -> ClinicalTime:
    if text[4] != "-" or text[7] != "-":
        raise ImpossibleTimeError("a day is written YYYY-MM-DD")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ImpossibleTimeError("no calendar has this day") from error
    return ClinicalTime.day(day.year, day.month, day.day)


def _moment(text: str) -> datetime:
    if (
        len(text) <= _LENGTH_OF_SECONDS
        or (text[4], text[7], text[10], text[13], text[16]) != ("-", "-", "T", ":", ":")
        or "," in text
    ):
        raise ImpossibleTimeError("a time of day needs its seconds and its zone")
    if text[-1] != "Z" and not (text[-6] in "+-" and text[-3] == ":"):
        raise ImpossibleTimeError("a time of day needs its zone")
    if text[17:19] == "60":
        return _leap_second(text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ImpossibleTimeError("no calendar or clock shows this moment") from error


def _leap_second(text: str) -> datetime:
    moment = _moment(f"{text[:17]}59{text[19:]}")
    if (moment.hour, moment.minute) != (23, 59):
        raise ImpossibleTimeError("a leap second is the last of a UTC day")
    return moment.replace(microsecond=0) + timedelta(seconds=1)
