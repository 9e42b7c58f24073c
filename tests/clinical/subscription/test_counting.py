"""Numbers of events: what is missing is exactly what was not heard, in whatever order it came."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from clinical.subscription.counting import MAX_GAPS, Count, Gap, ranges_of

NOON = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def _missing(count: Count) -> set[int]:
    return {n for gap in count.gaps for n in range(gap.first, gap.last + 1)}


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)))
def test_missing_is_what_was_not_heard_below_the_highest(order: list[int], lost: set[int]) -> None:
    count = Count(highest=0)
    heard: set[int] = set()
    for number in order:
        if number in lost:
            continue
        count = count.heard([number], None, NOON)
        heard.add(number)
    assert count.highest == max(heard, default=0)
    assert _missing(count) == set(range(1, count.highest + 1)) - heard


@given(st.lists(st.sets(st.integers(1, 40), max_size=8), max_size=10))
def test_hearing_a_notification_again_changes_nothing(batches: list[set[int]]) -> None:
    count = Count(highest=0)
    for batch in batches:
        count = count.heard(batch, None, NOON)
        assert count.heard(batch, None, LATER) == count


@given(st.lists(st.sets(st.integers(1, 500), max_size=60), max_size=8), st.integers(0, 600))
def test_gaps_are_ascending_never_overlap_and_never_exceed_the_highest(
    batches: list[set[int]], total: int
) -> None:
    count = Count(highest=0)
    for batch in batches:
        count = count.heard(batch, total, NOON)
    edges = [edge for gap in count.gaps for edge in (gap.first, gap.last)]
    assert edges == sorted(edges)
    assert all(gap.first <= gap.last for gap in count.gaps)
    assert all(a.last < b.first for a, b in zip(count.gaps, count.gaps[1:], strict=False))
    assert count.highest is not None
    assert not edges or edges[-1] <= count.highest


@given(st.permutations(range(1, 30)))
def test_when_all_have_come_nothing_is_missing(order: list[int]) -> None:
    count = Count(highest=0)
    for number in order:
        count = count.heard([number], None, NOON)
    assert count == Count(highest=29)


def test_a_total_above_the_numbers_heard_is_a_gap() -> None:
    """A heartbeat tells of events whose notifications were lost."""
    count = Count(highest=3).heard([], 5, NOON)
    assert count.gaps == (Gap(first=4, last=5, found_at=NOON),)


def test_a_late_total_of_the_past_takes_nothing_back() -> None:
    assert Count(highest=7).heard([], 5, NOON) == Count(highest=7)


def test_where_nothing_was_heard_before_counting_begins_with_the_first_word() -> None:
    assert Count().heard([41], 41, NOON) == Count(highest=41)
    assert Count().heard([], 12, NOON) == Count(highest=12)


def test_a_word_without_any_number_begins_no_count() -> None:
    assert Count().heard([], None, NOON) == Count()


def test_a_gap_keeps_the_moment_when_it_was_found_while_it_shrinks() -> None:
    count = Count(highest=0).heard([5], None, NOON).heard([2], None, LATER)
    assert [(gap.first, gap.last) for gap in count.gaps] == [(1, 1), (3, 4)]
    assert {gap.found_at for gap in count.gaps} == {NOON}


def test_so_many_holes_that_they_are_told_as_one_still_close() -> None:
    odd = range(1, 4 * MAX_GAPS, 2)
    count = Count(highest=0).heard(odd, None, NOON)
    assert len(count.gaps) == 1
    assert set(range(2, 4 * MAX_GAPS - 1, 2)) <= _missing(count)
    assert count.covered(NOON).gaps == ()


def test_a_number_larger_than_any_counter_makes_no_list() -> None:
    count = Count(highest=0).heard([2**63 - 1], None, NOON)
    assert [gap.num_missing for gap in count.gaps] == [2**63 - 2]


def test_what_is_given_up_is_still_told_but_sought_no_more() -> None:
    count = Count(highest=0).heard([3], None, NOON).given_up(NOON, LATER)
    assert count.sought == ()
    assert [gap.given_up_at for gap in count.gaps] == [LATER]
    assert count.heard([1, 2], None, LATER).gaps == ()


@given(st.sets(st.integers(1, 200)), st.integers(1, 60), st.integers(1, 20))
def test_what_is_asked_for_is_missing_in_order_and_no_more_than_the_most(
    seen: set[int], most: int, at_once: int
) -> None:
    count = Count(highest=0).heard(seen, 200, NOON)
    ranges = list(ranges_of(count.gaps, most=most, at_once=at_once))
    asked = [n for first, last in ranges for n in range(first, last + 1)]
    assert asked == sorted(_missing(count))[:most]
    assert all(last - first < at_once for first, last in ranges)
