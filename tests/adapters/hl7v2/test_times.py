"""HL7 v2 times keep the precision and the zone that were stated, and nothing else."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from adapters.hl7v2.times import clinical_time, known_by
from clinical.timeline.time import ImpossibleTimeError, Precision

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("2024", Precision.YEAR),
        ("202402", Precision.MONTH),
        ("20240203", Precision.DAY),
        ("2024020310", Precision.HOUR),
        ("202402031005", Precision.MINUTE),
        ("20240203100501", Precision.INSTANT),
        ("20240203100501.1234-0500", Precision.INSTANT),
    ],
)
def test_the_precision_is_that_which_was_stated(text: str, precision: Precision) -> None:
    found = clinical_time(text, NEW_YORK)
    assert (found.precision, found.text) == (precision, text)


def test_a_stated_zone_wins_over_that_of_the_site() -> None:
    found = clinical_time("20240203100501+0100", NEW_YORK)
    assert found.earliest == found.latest == datetime(2024, 2, 3, 9, 5, 1, tzinfo=UTC)


def test_a_time_without_a_zone_is_in_that_of_the_site() -> None:
    found = clinical_time("20240703100501", NEW_YORK)
    assert found.earliest == found.latest == datetime(2024, 7, 3, 14, 5, 1, tzinfo=UTC)


def test_a_time_without_any_zone_keeps_the_bounds_of_all_zones() -> None:
    found = clinical_time("20240703100501", None)
    stated = datetime(2024, 7, 3, 10, 5, 1, tzinfo=UTC)
    assert (found.earliest, found.latest) == (
        stated - timedelta(hours=14),
        stated + timedelta(hours=12),
    )


def test_a_minute_lasts_to_its_end() -> None:
    found = clinical_time("202402031005+0000", None)
    assert found.earliest == datetime(2024, 2, 3, 10, 5, tzinfo=UTC)
    assert found.latest == datetime(2024, 2, 3, 10, 5, 59, 999999, tzinfo=UTC)


def test_an_hour_that_clocks_show_twice_keeps_both() -> None:
    found = clinical_time("20241103013000", NEW_YORK)
    assert found.latest - found.earliest == timedelta(hours=1)


@pytest.mark.parametrize(
    "text",
    [
        "20240230",
        "2024023",
        "20241301",
        "202402031060",
        "2024020325",
        "yesterday",
        "20240203T10",
        "24",
    ],
)
def test_what_no_calendar_or_clock_shows_is_refused(text: str) -> None:
    with pytest.raises(ImpossibleTimeError):
        clinical_time(text, NEW_YORK)


def test_an_hour_that_the_clocks_of_the_site_skipped_is_refused() -> None:
    with pytest.raises(ImpossibleTimeError):
        clinical_time("20240310023000", NEW_YORK)


def test_what_was_written_was_written_before_it_came() -> None:
    received = datetime(2024, 7, 3, 12, tzinfo=UTC)
    assert known_by(clinical_time("20240703100501", None), received) == received
    late = clinical_time("20240801", None)
    assert known_by(late, received) == late.latest
