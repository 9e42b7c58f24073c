"""Lanes: every event is in a mark or counted, corrections act, and the number of marks is bounded."""

from datetime import timedelta
from typing import Any

import pytest

from adapters.http.lanes import lanes_of
from adapters.http.schemas import TimelineShape
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Origin, Phase, Standing
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import PATIENT, event, hours

FAR = hours(10_000)
CONDITION = Code(CodeSystem.SNOMED_CT, "38341003", "Hypertension")


def shape(*events: Any, max_marks: int = 2100, days: int | None = None) -> TimelineShape:
    timeline = Timeline.of(PATIENT, events).cut(FAR)
    since = None if days is None else FAR - timedelta(days=days)
    return lanes_of(timeline, FAR, max_marks=max_marks, since=since)


def counted(lanes: TimelineShape) -> int:
    marks = sum(mark.count for lane in lanes.lanes for mark in lane.marks)
    return marks + lanes.num_static + lanes.num_earlier


def lasting(record_id: str, start: float, end: float | None) -> list[Any]:
    both = [
        event(
            record_id,
            at=start,
            kind=EventKind.CONDITION,
            code=CONDITION,
            part="start",
            phase=Phase.START,
        )
    ]
    if end is not None:
        both.append(
            event(
                record_id,
                at=end,
                kind=EventKind.CONDITION,
                code=CONDITION,
                part="end",
                phase=Phase.END,
            )
        )
    return both


def test_each_sort_has_its_lane() -> None:
    lanes = shape(
        event("a", category="vital-signs"),
        event("b", category="laboratory"),
        event("c"),
        event("d", kind=EventKind.MEDICATION_REQUEST),
        event("e", kind=EventKind.DOCUMENT, origin=Origin.AI_FROM_NOTE),
    )
    assert [lane.name for lane in lanes.lanes] == [
        "Vitals",
        "Labs",
        "Other observations",
        "Medications",
        "Documents",
    ]
    assert lanes.lanes[-1].marks[0].fact.origin is Origin.AI_FROM_NOTE


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.PATIENT])
def test_no_kind_is_without_a_lane(kind: EventKind) -> None:
    assert counted(shape(event("x", kind=kind))) == 1


def test_the_end_of_a_lasting_fact_joins_its_start() -> None:
    lanes = shape(*lasting("c1", 0, 48), *lasting("c2", 24, None))
    first, second = lanes.lanes[0].marks
    assert (first.at, first.until, first.count) == (hours(0), hours(48), 2)
    assert (second.until, second.phase) == (None, Phase.START)
    assert counted(lanes) == lanes.num_events == 3


def test_a_visit_whose_start_and_end_are_two_records_is_one_mark() -> None:
    visit = {"kind": EventKind.ENCOUNTER, "encounter": "V2Visit/v1"}
    start = event("v1", at=0, part="start", phase=Phase.START, **visit)
    lanes = shape(start, event("d1", at=5, part="end", phase=Phase.END, **visit))
    (mark,) = [mark for lane in lanes.lanes for mark in lane.marks]
    assert (mark.at, mark.until, mark.count) == (hours(0), hours(5), 2)


def test_an_end_without_a_start_is_a_mark_of_its_own() -> None:
    lanes = shape(lasting("c1", 0, 48)[1])
    assert counted(lanes) == lanes.num_events == 1


def test_what_ended_before_the_range_is_counted_and_what_lasts_is_drawn() -> None:
    lanes = shape(
        *lasting("old", 0, 1), *lasting("lasting", 0, None), event("new", at=9990), days=30
    )
    assert lanes.num_earlier == 2
    assert sorted(mark.fact.source.reference for lane in lanes.lanes for mark in lane.marks) == [
        "Observation/lasting",
        "Observation/new",
    ]
    assert counted(lanes) == lanes.num_events == 4


def test_a_retracted_record_is_not_drawn() -> None:
    lanes = shape(
        event("o1", updated=1),
        event("o1", updated=2, content="v2", standing=Standing.RETRACTED),
        event("o2"),
    )
    assert [mark.fact.source.reference for lane in lanes.lanes for mark in lane.marks] == [
        "Observation/o2"
    ]


def test_an_unstated_time_is_drawn_where_it_became_known_and_says_so() -> None:
    (mark,) = shape(event("o1", occurred_at=None, recorded=5)).lanes[0].marks
    assert (mark.at, mark.is_time_stated, mark.fact.occurred) == (hours(5), False, None)


@pytest.mark.parametrize("max_marks", [12, 100, 2100])
def test_many_events_keep_to_the_limit_and_lose_none(max_marks: int) -> None:
    events = [
        event(
            f"o{i}",
            at=i / 10,
            category=("vital-signs", "laboratory", "")[i % 3],
            kind=EventKind.ENCOUNTER if i % 500 == 0 else EventKind.OBSERVATION,
        )
        for i in range(6000)
    ]
    lanes = shape(*events, max_marks=max_marks)
    assert lanes.num_marks == sum(len(lane.marks) for lane in lanes.lanes) <= max_marks
    assert counted(lanes) == lanes.num_events == 6000
    assert len(lanes.lanes) == 4
    for lane in lanes.lanes:
        assert [mark.at for mark in lane.marks] == sorted(mark.at for mark in lane.marks)
    joined = lanes.lanes[-1].marks[0]
    assert joined.count == 1 or joined.until is not None
