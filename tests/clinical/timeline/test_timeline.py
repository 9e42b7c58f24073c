"""A timeline shows what was known at a moment: ordered, de-duplicated, corrected, never ahead of itself."""

import random
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, Phase, Role, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import ForeignEventError, Timeline
from tests.clinical.builders import PATIENT, event, hours


def values(timeline: Timeline) -> list[str]:
    return [str(e.value.value) for e in timeline if isinstance(e.value, Quantity)]


def test_order_and_repetition_of_delivery_do_not_matter() -> None:
    events = [event(f"o{n}", at=n % 7, recorded=n % 5 + 7, value=str(n)) for n in range(40)]
    shuffled = events * 3
    random.Random(3).shuffle(shuffled)
    assert Timeline.of(PATIENT, shuffled) == Timeline.of(PATIENT, events)
    assert len(Timeline.of(PATIENT, shuffled)) == 40


def test_events_are_in_the_order_in_which_they_became_known() -> None:
    late = event("late", at=0, recorded=9, value="1")
    early = event("early", at=5, recorded=6, value="2")
    assert values(Timeline.of(PATIENT, [late, early])) == ["2", "1"]


def test_a_cut_goes_by_availability_not_by_occurrence() -> None:
    drawn_early_reported_late = event("lab", at=1, recorded=10)
    timeline = Timeline.of(PATIENT, [drawn_early_reported_late])
    assert len(timeline.cut(hours(9))) == 0
    assert len(timeline.cut(hours(10))) == 1


def test_a_fact_without_a_recorded_time_is_known_once_it_has_surely_happened() -> None:
    dated = event("d", occurred_at=ClinicalTime.day(2024, 3, 5))
    timeline = Timeline.of(PATIENT, [dated])
    assert dated.available_at == ClinicalTime.day(2024, 3, 5).latest
    assert len(timeline.cut(ClinicalTime.day(2024, 3, 5).latest - timedelta(seconds=1))) == 0


def test_an_undated_fact_is_known_from_when_it_was_received() -> None:
    assert event("u", occurred_at=None, received=50).available_at == hours(50)


def test_a_redelivery_keeps_the_first_receipt() -> None:
    first, again = event("o", received=5), event("o", received=9)
    timeline = Timeline.of(PATIENT, [again, first])
    assert [e.received_at for e in timeline] == [hours(5)]


def test_a_correction_replaces_the_value_only_from_when_it_was_made() -> None:
    wrong = event("o", at=0, recorded=1, updated=1, value="500", content="v1")
    right = event("o", at=0, recorded=1, updated=20, value="50", content="v2")
    timeline = Timeline.of(PATIENT, [right, wrong])
    assert values(timeline) == ["50"]
    assert values(timeline.cut(hours(19))) == ["500"]
    assert values(timeline.cut(hours(20))) == ["50"]


def test_versions_that_arrive_out_of_order_end_in_the_newest() -> None:
    old = event("o", updated=1, received=90, value="1", content="v1")
    new = event("o", updated=2, received=80, value="2", content="v2")
    assert values(Timeline.of(PATIENT, [new, old])) == ["2"]


def test_a_part_that_a_new_version_no_longer_has_is_gone() -> None:
    parts = [event("o", updated=1, part=f"component/{n}", content="v1") for n in range(2)]
    corrected = event("o", updated=2, part="component/0", content="v2")
    timeline = Timeline.of(PATIENT, [*parts, corrected])
    assert [e.source.digest for e in timeline] == [corrected.source.digest]


def test_a_retraction_withdraws_every_part_from_then_on_and_erases_nothing() -> None:
    parts = [event("o", at=1, updated=1, part=f"component/{n}", content="v1") for n in range(2)]
    retraction = event("o", at=1, updated=30, standing=Standing.RETRACTED, content="v2")
    timeline = Timeline.of(PATIENT, [retraction, *parts])
    assert len(timeline) == 0
    assert len(timeline.versions) == 3
    assert len(timeline.cut(hours(29))) == 2


def test_a_record_asserted_again_after_a_retraction_stands() -> None:
    first = event("o", updated=1, content="v1")
    retracted = event("o", updated=2, standing=Standing.RETRACTED, content="v2")
    again = event("o", updated=3, content="v3")
    assert Timeline.of(PATIENT, [again, first, retracted]).events == (again,)


def test_the_end_of_an_encounter_is_not_known_before_it() -> None:
    begin = event("e", at=0, kind=EventKind.ENCOUNTER, phase=Phase.START, part="start")
    end = event("e", at=48, kind=EventKind.ENCOUNTER, phase=Phase.END, part="end")
    timeline = Timeline.of(PATIENT, [begin, end])
    assert timeline.cut(hours(47)).events == (begin,)


def test_what_had_not_reached_us_can_be_left_out() -> None:
    timeline = Timeline.of(PATIENT, [event("a", received=10), event("b", received=20)])
    assert len(timeline.cut(hours(100), received_by=hours(15))) == 1


def test_an_older_version_that_arrives_late_does_not_change_what_was_asked_before() -> None:
    newer = event("o", at=0, recorded=1, updated=5, received=10, value="2", content="v2")
    older = event("o", at=0, recorded=1, updated=2, received=99, value="1", content="v1")
    asked = Timeline.of(PATIENT, [newer]).cut(hours(50), received_by=hours(20))
    asked_again = Timeline.of(PATIENT, [newer, older]).cut(hours(50), received_by=hours(20))
    assert asked.digest == asked_again.digest


def test_an_event_of_another_patient_is_refused() -> None:
    with pytest.raises(ForeignEventError):
        Timeline.of(UUID(int=9), [event()])


def test_an_empty_timeline_knows_nothing() -> None:
    empty = Timeline.of(PATIENT, [])
    assert (len(empty), empty.known_until) == (0, None)


@given(
    moments=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=25),
    as_of=st.integers(-1, 51),
    later=st.integers(0, 50),
)
def test_nothing_recorded_after_the_cut_changes_the_cut(
    moments: list[tuple[int, int]], as_of: int, later: int
) -> None:
    events = [event(f"o{n}", at=at, recorded=rec) for n, (at, rec) in enumerate(moments)]
    future = event("new", at=later, recorded=as_of + 1)
    before = Timeline.of(PATIENT, events).cut(hours(as_of))
    after = Timeline.of(PATIENT, [*events, future]).cut(hours(as_of))
    assert before == after
    assert before.digest == after.digest


@given(cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_cutting_twice_is_cutting_at_the_earlier(cuts: tuple[int, int]) -> None:
    events = [event(f"o{n % 9}", at=n, updated=n * 2, content=str(n)) for n in range(27)]
    timeline = Timeline.of(PATIENT, events)
    first, second = (hours(cut) for cut in cuts)
    assert timeline.cut(first).cut(second) == timeline.cut(min(first, second))


@pytest.mark.parametrize(
    "changed",
    [
        event("o", value="1.0"),
        event("o", value="2"),
        event("o", code=Code("LOINC", "1")),
        event("o", at=2),
        event("o", recorded=3),
        event("o", value=None),
    ],
)
def test_the_digest_sees_every_change_that_a_model_could_read(changed: Event) -> None:
    base = Timeline.of(PATIENT, [event("o", value="1")])
    assert Timeline.of(PATIENT, [changed]).digest != base.digest


def test_each_sort_of_value_has_a_canonical_form_of_its_own() -> None:
    one = Quantity(Decimal(1), "mg")
    bound = Quantity(one.value, "mg", comparator=Comparator.LESS)
    kinds = [
        None,
        True,
        False,
        "1",
        Code("a", "1"),
        one,
        bound,
        QuantityRange(one, None),
        QuantityRange(None, one),
        Quantity(one.value, None, "furlong"),
    ]
    lines = {event("o").__class__(**{**_fields(event("o")), "value": v}).canonical() for v in kinds}
    assert len(lines) == len(kinds)


def _fields(e: Event) -> dict[str, object]:
    return {name: getattr(e, name) for name in e.__dataclass_fields__}


def test_roles_follow_from_the_kind() -> None:
    roles = {kind: event("o", kind=kind).role for kind in EventKind}
    assert roles[EventKind.PATIENT] is Role.STATIC
    assert roles[EventKind.MEDICATION_REQUEST] is Role.ACTION
    assert roles[EventKind.CONDITION] is Role.OBSERVATION


def test_a_bound_or_an_unknown_unit_is_not_computed_with() -> None:
    ten = Decimal(10)
    assert Quantity(ten, "mg").is_computable
    assert not Quantity(ten, None, "furlong").is_computable
    assert not Quantity(ten, "mg", comparator=Comparator.GREATER).is_computable


def test_a_source_names_its_version_where_it_has_one() -> None:
    assert event("o").source.reference == "Observation/o"
