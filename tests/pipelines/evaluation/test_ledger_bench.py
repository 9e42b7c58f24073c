"""The bench of the ledger measures what it says, on a log of its own; how fast that is, is no matter here."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from pipelines.evaluation.ledger import arriving, bench
from pipelines.evaluation.ledger.arriving import Load
from tests.clinical.builders import PATIENT
from tests.clinical.services.conftest import World, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def test_the_ledgers_costs_proofs_verification_and_delay_are_measured_on_a_real_log() -> None:
    size = bench.Size(
        num_rounds=2,
        round_seconds=0.5,
        num_leaves=1_500,
        num_proofs=20,
        entries_per_second=20,
        delay_seconds=1,
    )
    rows = {row.id: row for row in bench.run(size, say=lambda _: None)}
    assert sorted(rows) == [
        "ledger.commit_cost",
        "ledger.merge_delay_p99_ms",
        "ledger.proof_p99_ms",
        "ledger.proofs_per_s",
        "ledger.verify_entries_per_s",
    ]
    assert rows["ledger.verify_entries_per_s"].n >= 1_500
    assert rows["ledger.merge_delay_p99_ms"].n == 20
    for row in rows.values():
        assert math.isfinite(row.value)
        assert all(value > 0 for value in row.baselines.values())


def test_an_event_is_followed_to_the_first_prediction_that_had_it(
    world: World, engine: Engine
) -> None:
    began = world.clock.now()
    receipt = world.intake.receive(world.delivery(), world.act())
    load = Load(per_second=1)
    world.reader.reading.events = [
        replace(event, source=replace(event.source, delivery_id=receipt.delivery_id))
        for event in world.reader.reading.events
    ]
    world.intake.record(receipt.delivery_id, world.act())
    arriving.follow(engine, load, began)
    assert (load.stored, load.num_without_prediction) == ([], 1)
    world.clock.advance(timedelta(seconds=5))
    world.predictions.make(PATIENT, world.act())
    load = Load(per_second=1)
    arriving.follow(engine, load, began)
    assert load.num_without_prediction == 0
    assert len(load.stored) == 1
    assert 5 < load.stored[0] < 10
