"""The test is tested: the checker finds each bug that was put in, and nothing where none is."""

import pytest
from sqlalchemy import Engine

from tests.chaos.checker import Wrong
from tests.chaos.seeded_bugs import SCENARIOS, run

pytestmark = pytest.mark.integration

EXPECTED = {
    "no unique key on deliveries": {Wrong.DUPLICATE, Wrong.CHANGED_ANSWER},
    "answered before the commit": {Wrong.LOST},
    "claims that do not look at leases": {Wrong.TWO_HOLDERS},
    "an outbox read by position": {Wrong.LOST},
    "a redelivery applied again": {Wrong.DUPLICATE},
    "a review stored without its version": {Wrong.LOST_UPDATE, Wrong.TWO_HOLDERS, Wrong.FENCE_FELL},
    "an audit entry after the commit": {Wrong.AUDIT_GAP},
    "a ledger that is rewritten": {Wrong.FORKED},
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_checker_finds_the_bug(engine: Engine, name: str) -> None:
    assert {each.wrong for each in run(engine, name, is_broken=True)} == EXPECTED[name]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_checker_finds_nothing_in_the_code_as_it_is(engine: Engine, name: str) -> None:
    assert run(engine, name, is_broken=False) == []
