"""The chained digest: ends of blocks that later events never move, and a digest that can be continued."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from clinical.timeline.chain import MIN_BLOCK, RECENT, Prefix, chain, is_kept, nothing_of
from clinical.timeline.timeline import Known, Timeline
from tests.clinical.builders import PATIENT, event, hours

BUNDLE = 7  # events that become known at one moment


def _timeline(num_events: int) -> Timeline:
    return Timeline.of(PATIENT, [event(f"o{n}", at=n // BUNDLE) for n in range(num_events)])


LONG = _timeline(2000)


def _moments(standing: Sequence[Known], start: int, end: int) -> set[datetime]:
    return {known.at for known in standing[start:end]}


def test_blocks_are_large_enough_and_never_part_what_became_known_together() -> None:
    prefixes = LONG.chain.prefixes
    assert len(prefixes) > 5
    for before, after in pairwise(prefixes):
        size = after.num_events - before.num_events
        assert MIN_BLOCK <= size < MIN_BLOCK + BUNDLE
        assert after.num_blocks == before.num_blocks + 1
        assert after.known_until == LONG.standing[after.num_events - 1].at
    ends = [0, *(prefix.num_events for prefix in prefixes[1:]), len(LONG)]
    parts = [_moments(LONG.standing, a, b) for a, b in pairwise(ends)]
    assert sum(map(len, parts)) == len(set().union(*parts))


@pytest.mark.parametrize("until", [0, 36, 37, 38, 74, 150, 285])
def test_what_comes_later_moves_no_end_and_changes_no_digest_before_it(until: int) -> None:
    cut = LONG.cut(hours(until)).chain.prefixes
    assert LONG.chain.prefixes[: len(cut)] == cut


def test_the_whole_is_vouched_for_from_any_prefix_and_the_rest() -> None:
    for prefix in LONG.chain.prefixes:
        rest = chain(prefix, LONG.standing[prefix.num_events :])
        assert rest.digest == LONG.input_digest
        assert rest.num_events == len(LONG)
        assert rest.resumable[-1] == LONG.chain.resumable[-1] or prefix.num_events > 1488


def test_a_changed_event_changes_every_digest_after_it_and_none_before() -> None:
    kept = [known for known in LONG.events if known.source.record_id != "o900"]
    other = Timeline.of(PATIENT, [*kept, event("o900", at=900 // BUNDLE, content="other")])
    same = [a == b for a, b in zip(LONG.chain.prefixes, other.chain.prefixes, strict=True)]
    reach = [prefix.num_events <= 900 for prefix in LONG.chain.prefixes]
    assert same == reach
    assert LONG.input_digest != other.input_digest


def test_enough_recent_events_always_remain_to_be_read_again() -> None:
    for num_events in (1, 300, 511, 512, 700, 780, 1300, 2000):
        whole = _timeline(num_events).chain
        last = whole.resumable[-1]
        assert last.num_blocks == 0 or num_events - last.num_events >= RECENT
        assert num_events - last.num_events < RECENT + MIN_BLOCK + BUNDLE


def test_a_digest_is_recognised_in_either_version_and_of_no_other_timeline() -> None:
    assert LONG.input_digest.startswith("2:")
    assert LONG.is_input(LONG.input_digest)
    assert LONG.is_input(LONG.digest)
    other = LONG.cut(hours(200))
    assert not other.is_input(LONG.input_digest)
    assert not other.is_input(LONG.digest)
    assert not LONG.is_input(f"1:{LONG.digest}")


def test_nothing_read_is_another_nothing_for_another_patient() -> None:
    empty = Timeline.of(PATIENT, [])
    assert empty.chain.prefixes == (nothing_of(PATIENT),)
    assert nothing_of(PATIENT) != nothing_of(type(PATIENT)(int=9))
    assert empty.input_digest != f"2:{nothing_of(PATIENT).digest}"
    assert nothing_of(PATIENT) == Prefix(0, 0, None, nothing_of(PATIENT).digest)


def test_few_are_kept_one_lies_near_before_any_late_event_and_none_let_go_is_wanted_again() -> None:
    for newest in range(1, 700):
        kept = [n for n in range(1, newest + 1) if is_kept(n, newest)]
        assert {newest, newest - 1} - {0} <= set(kept)
        assert len(kept) <= 3 * newest.bit_length()
        for distance in range(1, newest):
            before = max((n for n in kept if n <= newest - distance), default=0)
            assert newest - before < 3 * distance or before == 0
        assert all(is_kept(n, newest) for n in range(1, newest + 1) if is_kept(n, newest + 1))
