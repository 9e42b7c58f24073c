"""ClinicalTime keeps the precision that was stated and never invents a finer one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.timeline.time import ClinicalTime, ImpossibleTimeError, Precision


def test_an_instant_is_exact_and_in_utc() -> None:
    paris = timezone(timedelta(hours=2))
    moment = ClinicalTime.instant(
        datetime(2024, 7, 1, 10, tzinfo=paris), "2024-07-01T10:00:00+02:00"
    )
    assert moment.earliest == moment.latest == datetime(2024, 7, 1, 8, tzinfo=UTC)
    assert moment.earliest.tzinfo is UTC
    assert moment.text == "2024-07-01T10:00:00+02:00"


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ImpossibleTimeError):
        ClinicalTime.instant(datetime(2024, 7, 1, 10))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("partial", "precision", "text"),
    [
        (ClinicalTime.year(2023), Precision.YEAR, "2023"),
        (ClinicalTime.month(2023, 12), Precision.MONTH, "2023-12"),
        (ClinicalTime.day(2024, 2, 29), Precision.DAY, "2024-02-29"),
    ],
)
def test_a_partial_date_keeps_its_precision(
    partial: ClinicalTime, precision: Precision, text: str
) -> None:
    assert (partial.precision, partial.text) == (precision, text)


@given(
    day=st.dates(min_value=datetime(1900, 1, 1).date(), max_value=datetime(2100, 1, 1).date()),  # noqa: DTZ001
    offset=st.integers(-12, 14),
    second=st.integers(0, 86_399),
)
def test_every_moment_of_the_day_in_every_zone_lies_within_its_bounds(
    day: datetime, offset: int, second: int
) -> None:
    local = datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=offset)))
    moment = local + timedelta(seconds=second)
    bounds = ClinicalTime.day(day.year, day.month, day.day)
    assert bounds.earliest <= moment <= bounds.latest
    month = ClinicalTime.month(day.year, day.month)
    year = ClinicalTime.year(day.year)
    assert year.earliest <= month.earliest <= bounds.earliest
    assert bounds.latest <= month.latest <= year.latest


@pytest.mark.parametrize(
    ("year", "month", "day"), [(2023, 2, 30), (2023, 13, 1), (0, 1, 1), (9999, 1, 1)]
)
def test_a_day_that_no_calendar_has_is_refused(year: int, month: int, day: int) -> None:
    with pytest.raises(ImpossibleTimeError):
        ClinicalTime.day(year, month, day)
