"""Work that nothing owes any more is found, owed again once, and said so in the log."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.clock import SystemClock
from clinical.audit.entry import AuditKind
from clinical.review.decision import Verdict
from clinical.review.review import ReviewState
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import WorklistQuery
from clinical.services.reaping import ReapingService
from tests.clinical.builders import PATIENT
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration


@pytest.fixture
def reaping(world: World) -> ReapingService:
    return ReapingService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )


def _lose_messages(engine: Engine) -> None:
    """As a database of which half was restored."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM messages"))


def _owed(world: World) -> list[Message]:
    with world.open_unit_of_work() as uow:
        return uow.outbox.claim(100, timedelta(minutes=1))


def test_a_delivery_that_nothing_owes_is_owed_again_once(
    world: World, reaping: ReapingService, engine: Engine
) -> None:
    receipt = world.intake.receive(world.delivery(), world.act())
    assert reaping.reap() == 0
    _lose_messages(engine)
    assert reaping.reap() == 1
    assert reaping.reap() == 0
    [message] = _owed(world)
    assert (message.kind, message.subject_id) == (MessageKind.RECORD_DELIVERY, receipt.delivery_id)
    said = {(e.kind, e.actor) for e in world.history(delivery=str(receipt.delivery_id))}
    assert (AuditKind.MESSAGE_REOWED, "reaper") in said


def test_what_was_given_up_understood_or_has_only_just_come_is_left_alone(
    world: World, reaping: ReapingService, engine: Engine
) -> None:
    world.intake.receive(world.delivery(b"one", "d1"), world.act())
    [message] = _owed(world)
    with world.open_unit_of_work() as uow:
        started = uow.outbox.start(message.message_id, timedelta(minutes=1))
        assert started is not None
        uow.outbox.give_up(started, "some.code")
        uow.commit()
    understood = world.intake.receive(world.delivery(b"two", "d2"), world.act())
    world.intake.record(understood.delivery_id, world.act(), predict=False)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM messages WHERE state = 'waiting'"))
    world.clock.moment = SystemClock().now()
    world.intake.receive(world.delivery(b"three", "d3"), world.act(), understand_later=False)
    assert reaping.reap() == 0


def test_a_decision_that_the_ehr_was_to_be_told_is_owed_again(
    world: World, reaping: ReapingService, engine: Engine
) -> None:
    world.clock.moment = SystemClock().now()
    receipt = world.intake.receive(world.delivery(), world.act(), understand_later=False)
    world.intake.record(receipt.delivery_id, world.act(), predict=False)
    world.predictions.make(PATIENT, world.act())
    [review_id] = _reviews(world)
    world.reviews.claim(review_id, world.act(), expected_version=1)
    world.reviews.sign(review_id, world.act(), expected_version=2, verdict=Verdict.AGREE)
    assert reaping.reap() == 0
    _lose_messages(engine)
    assert reaping.reap() == 1
    [message] = _owed(world)
    assert (message.kind, message.subject_id) == (MessageKind.WRITE_BACK, review_id)
    world.reviews.note_read(review_id, world.act())
    assert reaping.reap() == 0


def _reviews(world: World) -> list[UUID]:
    with world.open_unit_of_work() as uow:
        found = uow.reviews.worklist(WorklistQuery(states=frozenset(ReviewState)))
    return [review.review_id for review in found]
