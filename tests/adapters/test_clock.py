"""Fresh identities: RFC 9562 version 7, in the order of their making, from any thread."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest

from adapters import clock
from adapters.clock import SystemClock, TimeOrderedIdentities


def test_identities_of_one_millisecond_sort_by_when_they_were_made() -> None:
    identities = TimeOrderedIdentities()
    made = [identities.new() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_get_the_same_identity_and_each_sees_its_own_grow() -> None:
    identities = TimeOrderedIdentities()
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda _: [identities.new() for _ in range(3_000)], range(4)))
    assert all(made == sorted(made) for made in threads)
    assert len({identity for made in threads for identity in made}) == 12_000


def test_they_are_of_version_seven_and_name_the_time() -> None:
    before = SystemClock().now()
    identity = TimeOrderedIdentities().new()
    assert (identity.version, identity.variant) == (7, RFC_4122)
    made_at = datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)
    assert abs(made_at - before) < timedelta(seconds=5)


def test_a_clock_set_back_does_not_put_later_identities_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([datetime(2030, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)])

    class Jumping:
        def now(self) -> datetime:
            return next(moments)

    monkeypatch.setattr(clock, "SystemClock", Jumping)
    identities = TimeOrderedIdentities()
    first, second = identities.new(), identities.new()
    assert isinstance(first, UUID)
    assert first < second
