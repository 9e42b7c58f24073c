"""What is told of a group of similar patients: right where it is told, and nobody's secret."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.prediction.horizon import Horizon
from clinical.prediction.outcome import Risk
from clinical.prediction.similar import (
    SMALLEST_CELL,
    SMALLEST_GROUP,
    Neighbour,
    SimilarPatients,
    Untold,
    summarised,
    wilson,
)
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import START, event, hours

MONTH = Horizon(timedelta(0), timedelta(days=30))
EMERGENCY = Code(CodeSystem.ACT, "EMER", "emergency")
Group = list[tuple[Neighbour, Timeline]]


def member(
    number: int, *, born: int = 1950, has_it: bool = False, days: float = 40, distance: float = 1.0
) -> tuple[Neighbour, Timeline]:
    """One of a group: born, seen at hour 0, perhaps an emergency on day 10, last heard of on `days`."""
    patient_id = UUID(int=number + 1)

    def fact(name: str, at: float, **changes: Any) -> Event:
        return event(f"{number}-{name}", at=at, patient_id=patient_id, **changes)

    birth = {"kind": EventKind.PATIENT, "occurred_at": ClinicalTime.day(born, 1, 1)}
    events = [fact("birth", 0, **birth), fact("seen", 0), fact("last", 24 * days)]
    if has_it:
        events.append(fact("visit", 240, kind=EventKind.ENCOUNTER, code=EMERGENCY))
    return Neighbour(patient_id, hours(1), distance), Timeline.of(patient_id, events)


def told(group: Group) -> SimilarPatients:
    return summarised(group, [(Risk.EMERGENCY, MONTH)], 2.0)


def test_the_share_is_of_those_followed_to_the_end_whether_or_not_it_happened() -> None:
    group = [member(n, has_it=n < 15) for n in range(40)]
    lost = [member(n, has_it=n < 60, days=20) for n in range(50, 70)]
    [outcome] = told([*group, *lost]).outcomes
    assert (outcome.num_followed, outcome.share) == (40, 15 / 40)
    assert (outcome.low, outcome.high) == wilson(15, 40)
    assert outcome.untold is None


def test_the_interval_is_wilsons() -> None:
    """Worked by hand for 10 of 20: 0.5 +- 1.96 sqrt(0.25/20 + 0.0024) / 1.192."""
    assert wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson(0, 30) == pytest.approx((0.0, 0.1135), abs=1e-4)


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_interval_holds_the_share_and_stays_within_bounds(total: int, part: float) -> None:
    num = round(part * total)
    low, high = wilson(num, total)
    assert -1e-12 <= low <= num / total + 1e-12
    assert num / total - 1e-12 <= high <= 1 + 1e-12


def test_of_fewer_than_the_smallest_group_nothing_is_told() -> None:
    group = [member(n) for n in range(SMALLEST_GROUP - 1)]
    assert told(group) == SimilarPatients(untold=Untold.TOO_FEW_PATIENTS)
    assert told([*group, member(99)]).untold is None


@pytest.mark.parametrize(
    ("num", "untold"),
    [
        (0, Untold.FEW_HAD_IT),
        (SMALLEST_CELL - 1, Untold.FEW_HAD_IT),
        (SMALLEST_CELL, None),
        (40 - SMALLEST_CELL, None),
        (41 - SMALLEST_CELL, Untold.FEW_WERE_SPARED),
        (40, Untold.FEW_WERE_SPARED),
    ],
)
def test_a_small_cell_is_not_told_on_either_side(num: int, untold: Untold | None) -> None:
    [outcome] = told([member(n, has_it=n < num) for n in range(40)]).outcomes
    assert outcome.untold is untold
    assert (outcome.share is None) == (untold is not None)
    assert (outcome.low is None) == (outcome.high is None) == (untold is not None)


def test_where_too_few_were_followed_not_even_their_number_is_told() -> None:
    group = [member(n, days=40 if n < 19 else 5) for n in range(40)]
    [outcome] = told(group).outcomes
    assert (outcome.untold, outcome.num_followed) == (Untold.TOO_FEW_FOLLOWED, None)


def _ages(group: Group) -> dict[str, int | None]:
    return {band.label: band.count for band in told(group).ages}


def test_ages_are_told_in_bands_and_none_can_be_subtracted() -> None:
    group = [member(n, born=1950) for n in range(30)]
    middle = [member(n, born=1980) for n in range(100, 112)]
    one = [member(200, born=2015)]
    assert _ages([*group, *middle]) == {"40-59": 12, "60-79": 30}
    # A single hidden band would be what is missing from the total: the next smallest hides too.
    assert _ages([*group, *middle, *one]) == {"0-17": None, "40-59": None, "60-79": 30}
    assert _ages([*group[:20], *one]) == {"0-17": None, "60-79": None}


def test_an_unknown_age_is_a_band_of_its_own() -> None:
    group = [member(n) for n in range(20)]
    ageless = []
    for neighbour, timeline in (member(n) for n in range(100, 120)):
        kept = [e for e in timeline if e.kind is not EventKind.PATIENT]
        ageless.append((neighbour, Timeline.of(timeline.patient_id, kept)))
    assert _ages([*group, *ageless]) == {"60-79": 20, "unknown": 20}


def test_distances_are_the_median_of_the_group_and_the_usual_one() -> None:
    found = told([member(n, distance=n / 10) for n in range(21)])
    assert (found.median_distance, found.typical_distance) == (1.0, 2.0)
    assert found.num_patients == 21


def test_nothing_told_names_a_patient_or_a_moment() -> None:
    text = repr(told([member(n, has_it=n % 2 == 0) for n in range(40)]))
    assert "UUID" not in text
    assert str(START.year) not in text
