"""J1: what is received is stored before it is understood, once, with its audit entry in the same commit."""

from dataclasses import replace
from datetime import timedelta

import pytest

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.request import Purpose
from clinical.services.intake import ConflictingDeliveryError
from clinical.services.messages import Message, MessageKind
from tests.clinical.builders import PATIENT
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration
LEASE = timedelta(minutes=1)


def owed(world: World) -> list[Message]:
    with world.open_unit_of_work() as uow:
        claimed = uow.outbox.claim(100, LEASE)
        uow.commit()
    return claimed


def test_a_delivery_is_stored_raw_and_owes_its_understanding(world: World) -> None:
    receipt = world.intake.receive(world.delivery(b"\xff not json"), world.act())
    with world.open_unit_of_work() as uow:
        assert uow.inbox.get(receipt.delivery_id).body == b"\xff not json"
    assert [(m.kind, m.subject_id) for m in owed(world)] == [
        (MessageKind.RECORD_DELIVERY, receipt.delivery_id)
    ]
    [entry] = world.history(delivery=str(receipt.delivery_id))
    assert (entry.kind, entry.actor) == (AuditKind.DELIVERY_RECEIVED, "anna")
    assert receipt.digest not in entry.canonical().decode()
    assert world.stands_for(entry, digest=receipt.digest)
    assert world.reader.num_asked == 0


def test_a_duplicate_gets_the_same_receipt_and_changes_nothing(world: World) -> None:
    first = world.intake.receive(world.delivery(), world.act())
    again = world.intake.receive(world.delivery(), world.act())
    assert (again.delivery_id, again.digest) == (first.delivery_id, first.digest)
    assert (first.is_new, again.is_new) == (True, False)
    assert len(owed(world)) == 1
    assert len(world.history(delivery=str(first.delivery_id))) == 1


def test_the_same_id_for_other_bytes_is_refused_and_remembered(world: World) -> None:
    first = world.intake.receive(world.delivery(b"one"), world.act())
    with pytest.raises(ConflictingDeliveryError):
        world.intake.receive(world.delivery(b"two"), world.act())
    with world.open_unit_of_work() as uow:
        assert uow.inbox.get(first.delivery_id).body == b"one"
    kinds = [entry.kind for entry in world.history(delivery=str(first.delivery_id))]
    assert kinds == [AuditKind.DELIVERY_RECEIVED, AuditKind.DELIVERY_REFUSED]


def test_understanding_stores_events_quarantine_and_the_next_work_together(world: World) -> None:
    receipt = world.intake.receive(world.delivery(), world.act())
    [message] = owed(world)
    recorded = world.intake.record(receipt.delivery_id, world.act(), message=message)
    assert recorded.num_new_events == 12
    with world.open_unit_of_work() as uow:
        assert len(uow.timelines.of(PATIENT)) == 12
        assert uow.timelines.patient(PATIENT).record_id == "p1"
    [predict] = owed(world)
    assert (predict.kind, predict.subject_id) == (MessageKind.PREDICT, PATIENT)
    entry = world.history(delivery=str(receipt.delivery_id))[-1]
    assert entry.kind is AuditKind.EVENTS_RECORDED
    assert (entry.refs["new_events"], entry.refs["quarantined"]) == ("12", "1")
    assert str(PATIENT) not in entry.canonical().decode()


def test_the_log_says_with_which_code_map_a_delivery_was_read(world: World) -> None:
    receipt = world.intake.receive(world.delivery(), world.act())
    world.reader.reading.code_map = "d" * 64
    world.intake.record(receipt.delivery_id, world.act())
    entry = world.history(delivery=str(receipt.delivery_id))[-1]
    assert (entry.kind, entry.refs["code_map"]) == (AuditKind.EVENTS_RECORDED, "d" * 64)


def test_understanding_again_does_not_read_again_but_settles_the_message(world: World) -> None:
    receipt = world.intake.receive(world.delivery(), world.act())
    [message] = owed(world)
    world.intake.record(receipt.delivery_id, world.act(), predict=False)
    world.intake.record(receipt.delivery_id, world.act(), message=message)
    assert world.reader.num_asked == 1
    with world.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_other_bytes_with_no_news_owe_no_prediction(world: World) -> None:
    for sender_id in ("d1", "d2"):
        receipt = world.intake.receive(
            world.delivery(sender_id.encode(), sender_id), world.act(), understand_later=False
        )
        world.intake.record(receipt.delivery_id, world.act())
    assert len(owed(world)) == 1


def test_a_question_waiting_unstarted_is_not_asked_twice(world: World) -> None:
    for _ in range(3):
        world.intake.request_prediction(PATIENT)
    world.intake.request_prediction(PATIENT, purpose=Purpose.RETROSPECTIVE)
    assert len(owed(world)) == 2


def test_an_act_that_fails_leaves_nothing_behind(world: World) -> None:
    receipt = world.intake.receive(world.delivery(), world.act())
    [message] = owed(world)
    unknown = replace(message, message_id=world.identities.new())
    with pytest.raises(NotFoundError, match="message"):
        world.intake.record(receipt.delivery_id, world.act(), message=unknown)
    with world.open_unit_of_work() as uow:
        assert len(uow.timelines.of(PATIENT)) == 0
        assert not uow.inbox.is_recorded(receipt.delivery_id)
    assert len(world.history(delivery=str(receipt.delivery_id))) == 1
