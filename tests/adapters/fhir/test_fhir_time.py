"""FHIR times to clinical times: as precise as stated, never completed, impossible ones named."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.time import clinical_time, interval
from clinical.timeline.time import ImpossibleTimeError, Precision


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("1950", Precision.YEAR),
        ("1950-03", Precision.MONTH),
        ("2024-02-29", Precision.DAY),
        ("2024-02-03T10:00:00Z", Precision.INSTANT),
        ("2024-02-03T10:00:00.717+05:30", Precision.INSTANT),
    ],
)
def test_a_time_keeps_its_precision_and_its_words(text: str, precision: Precision) -> None:
    stated = clinical_time(text)
    assert (stated.precision, stated.text) == (precision, text)
    assert (stated.earliest == stated.latest) == (precision is Precision.INSTANT)


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2023-13",
        "0000",
        "2024-W01-1",
        "20240101",
        "24-01-01",
        "2024-02-03T10:00Z",
        "2024-02-03T10:00:00",
        "2024-02-03 10:00:00Z",
        "2024-02-03T10:00:00+0100",
        "2024-02-03T10:00:00+01:00:30",
        "2024-02-03T24:00:00Z",
        "2024-02-03T10:61:00Z",
        "2024-02-03T10:00:00,5Z",
        "2024-02-03T10:00:60Z",
        "0001-01-01T00:00:00+14:00",
        "٢٠٢٤",
        "",
        "yesterday",
    ],
)
def test_a_time_that_no_calendar_or_clock_shows_is_a_named_error(text: str) -> None:
    with pytest.raises(ImpossibleTimeError):
        clinical_time(text)


def test_a_leap_second_is_the_first_instant_of_the_next_day() -> None:
    for text in ("2016-12-31T23:59:60Z", "2017-01-01T00:59:60+01:00"):
        stated = clinical_time(text)
        assert stated.earliest == datetime(2017, 1, 1, tzinfo=UTC)
        assert stated.text == text


def test_an_interval_is_as_precise_as_its_coarser_end() -> None:
    stretch = interval("2024-03-01", "2024-03-02T08:00:00Z")
    assert stretch is not None
    assert stretch.precision is Precision.DAY
    assert stretch.text == "2024-03-01/2024-03-02T08:00:00Z"
    assert interval(None, None) is None
    assert interval("2024", None) == clinical_time("2024")
    with pytest.raises(ImpossibleTimeError):
        interval("2024-03-02", "2024-02-01")


@given(
    st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - the zone is drawn
    st.integers(-14 * 60, 14 * 60),
)
def test_every_instant_comes_back_as_the_moment_that_it_is(naive: datetime, minutes: int) -> None:
    offset = timedelta(minutes=minutes)
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    text = f"{naive.isoformat(timespec='microseconds')}{sign}{hours:02}:{rest:02}"
    assert clinical_time(text).earliest == naive.replace(tzinfo=UTC) - offset


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_named_error(text: str) -> None:
    try:
        stated = clinical_time(text)
    except ImpossibleTimeError:
        return
    assert stated.earliest <= stated.latest
