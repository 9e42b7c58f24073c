"""J2 with long records: answers go on from what the model remembers, and stay bitwise what they were."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from clinical.prediction.replay import Replay
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from pipelines.evaluation.recomputation import replay
from tests.clinical.builders import PATIENT, event, hours
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration
LONG = 1600


def _events(start: int, end: int) -> list[Event]:
    return [event(f"o{n}", at=n / 4, received=n / 4) for n in range(start, end)]


def add(world: World, *events: Event) -> None:
    with world.open_unit_of_work() as uow:
        uow.timelines.add(list(events), {PATIENT: PatientRef("north", "p1")})
        uow.commit()


def make(world: World) -> UUID:
    world.clock.moment = max(world.clock.moment, hours(2000))
    return world.predictions.make(PATIENT, world.act())


def replays(world: World, *prediction_ids: UUID) -> set[Replay]:
    return {each.replay for each in replay(world.replays, prediction_ids)}


def test_the_next_answer_reads_only_what_is_new(world: World) -> None:
    add(world, *_events(0, LONG))
    first = make(world)
    assert world.models.num_read == LONG
    add(world, *_events(LONG, LONG + 20))
    second = make(world)
    assert world.models.num_read < 800
    assert second != first
    assert replays(world, first, second) == {Replay.EQUAL}


def test_a_late_event_is_replayed_from_the_last_memory_before_it(world: World) -> None:
    add(world, *_events(0, LONG))
    first = make(world)
    add(world, event("late", at=700 / 4, received_at=world.clock.advance(timedelta(hours=1))))
    second = make(world)
    assert world.models.num_read == LONG + 1 - 512  # from the end of the second block
    assert replays(world, first, second) == {Replay.EQUAL}
    add(world, event("later", at=1, received_at=world.clock.advance(timedelta(hours=1))))
    third = make(world)
    assert world.models.num_read == LONG + 2
    assert replays(world, first, second, third) == {Replay.EQUAL}


def test_a_question_of_the_past_never_goes_on_from_a_memory_of_what_came_after(
    world: World,
) -> None:
    add(world, *_events(0, LONG))
    make(world)
    past = world.predictions.make(PATIENT, world.act(), as_of=hours(1100 / 4))
    assert replays(world, past) == {Replay.EQUAL}
    assert world.replays.resume(past) is not None


def test_a_damaged_memory_costs_a_reading_and_is_found_by_the_audit(
    world: World, engine: Engine
) -> None:
    add(world, *_events(0, LONG))
    first = make(world)
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient_memories SET data = 'x'"))
    [found] = replay(world.replays, [first])
    assert (found.replay, found.what) == (Replay.DIFFERENT, ("damaged memory",))
    add(world, *_events(LONG, LONG + 5))
    second = make(world)
    assert world.models.num_read == LONG + 5
    assert replays(world, second) == {Replay.EQUAL}


def test_predictions_of_the_first_digest_are_still_recomputed(world: World, engine: Engine) -> None:
    add(world, *_events(0, 900))
    first = make(world)
    with world.open_unit_of_work() as uow:
        request = uow.predictions.get(first).request
        timeline = uow.timelines.of(PATIENT).cut(request.as_of, received_by=request.received_by)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE predictions DISABLE TRIGGER USER"))
        change = text("UPDATE predictions SET input_digest = :digest")
        connection.execute(change, {"digest": timeline.digest})
    prediction, _ = world.replays.recompute(first)
    assert prediction.forecast.capsule.input_digest == timeline.digest
