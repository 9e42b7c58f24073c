"""Ports Clock and Identities: the moment in UTC, and identities of which no two are the same."""

import time
from datetime import timedelta

import pytest

from adapters.clock import SystemClock, TimeOrderedIdentities
from clinical.services.ports import Clock, Identities
from tests.fakes import SeededIdentities, SettableClock


@pytest.mark.parametrize("clock", [SystemClock(), SettableClock()])
def test_a_clock_tells_utc_in_whatever_zone_the_process_runs(clock: Clock) -> None:
    assert time.timezone == -(12 * 3600 + 45 * 60)
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now() <= clock.now()


def test_the_systems_clock_goes_by_itself_and_the_settable_one_does_not() -> None:
    system, settable = SystemClock(), SettableClock()
    before = (system.now(), settable.now())
    time.sleep(0.002)
    assert system.now() > before[0]
    assert settable.now() == before[1]
    assert settable.advance(timedelta(days=1)) == settable.now() == before[1] + timedelta(days=1)


@pytest.mark.parametrize("identities", [TimeOrderedIdentities(), SeededIdentities()])
def test_no_identity_is_given_twice(identities: Identities) -> None:
    assert len({identities.new() for _ in range(10_000)}) == 10_000


def test_seeded_identities_are_the_same_in_every_run_and_others_are_not() -> None:
    assert SeededIdentities(3).new() == SeededIdentities(3).new()
    assert SeededIdentities(3).new() != SeededIdentities(4).new()
    assert TimeOrderedIdentities().new() != TimeOrderedIdentities().new()
