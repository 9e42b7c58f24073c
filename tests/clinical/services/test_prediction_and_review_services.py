"""J2 and J3: a question is answered once, and decided by one clinician, with everything remembered."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.memory import Answered
from clinical.prediction.registry import Concern
from clinical.prediction.request import Purpose
from clinical.review.decision import Reason, Verdict
from clinical.review.review import (
    HeldByAnotherError,
    NotHolderError,
    ReviewState,
    StaleVersionError,
)
from clinical.services.messages import Message, MessageKind, TakenOverError
from clinical.services.ports import ModelUnavailableError, WorklistQuery
from clinical.services.prediction import UnknownPatientError
from clinical.services.recall import RecallService
from clinical.services.replay import ChangedInputError
from clinical.services.writeback import RecalledError, UndecidedError
from tests.clinical.builders import PATIENT, event, hours
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration
ALL = WorklistQuery(states=frozenset(ReviewState))


def recorded(world: World) -> World:
    receipt = world.intake.receive(world.delivery(), world.act(), understand_later=False)
    world.intake.record(receipt.delivery_id, world.act(), predict=False)
    return world


def add(world: World, *events: object) -> None:
    with world.open_unit_of_work() as uow:
        uow.timelines.add(list(events), {})  # type: ignore[arg-type]
        uow.commit()


def test_an_answer_is_stored_with_its_review_and_its_audit_entries(world: World) -> None:
    prediction_id = recorded(world).predictions.make(PATIENT, world.act())
    with world.open_unit_of_work() as uow:
        prediction = uow.predictions.get(prediction_id)
        [review] = uow.reviews.worklist(ALL)
    assert prediction.request.as_of == hours(11)
    assert review.prediction_id == prediction_id
    assert review.priority == max(r.estimate or 0 for r in prediction.forecast.readouts)
    kinds = {e.kind for e in world.history(prediction=str(prediction_id))}
    assert kinds == {AuditKind.PREDICTION_STORED, AuditKind.REVIEW_OPENED}
    of_model = world.history(model=prediction.forecast.capsule.model.manifest_digest)
    assert {e.kind for e in of_model} == {
        AuditKind.MODEL_REGISTERED,
        AuditKind.MODEL_INSTALLED,
        AuditKind.PREDICTION_STORED,
    }


def test_an_answer_that_was_overtaken_on_the_way_takes_nothing_away(world: World) -> None:
    recorded(world)
    answer, newer = world.models.answer, list[UUID]()

    def answer_late(*asked: Any) -> Answered:
        if not newer:
            world.models.answer = answer  # type: ignore[method-assign]
            world.clock.advance(timedelta(hours=1))
            add(world, event("news", at=12, received=12))
            newer.append(world.predictions.make(PATIENT, world.act()))
        return answer(*asked)

    world.models.answer = answer_late  # type: ignore[method-assign]
    older = world.predictions.make(PATIENT, world.act())
    with world.open_unit_of_work() as uow:
        [review] = uow.reviews.open_for(PATIENT)
        assert {each.request.prediction_id for each in uow.predictions.all()} == {older, *newer}
    assert review.prediction_id == newer[0]


def test_the_same_question_is_answered_once(world: World) -> None:
    first = recorded(world).predictions.make(PATIENT, world.act())
    world.clock.advance(timedelta(hours=1))
    assert world.predictions.make(PATIENT, world.act()) == first
    with world.open_unit_of_work() as uow:
        assert len(list(uow.predictions.all())) == 1
        assert uow.reviews.count(ALL) == 1


def test_a_retrospective_question_sees_only_what_was_known_and_opens_no_review(
    world: World,
) -> None:
    prediction_id = recorded(world).predictions.make(
        PATIENT, world.act(), purpose=Purpose.RETROSPECTIVE, as_of=hours(4)
    )
    with world.open_unit_of_work() as uow:
        assert uow.predictions.get(prediction_id).forecast.capsule.num_events == 5
        assert uow.reviews.count(ALL) == 0


def test_news_supersede_the_open_review(world: World) -> None:
    recorded(world).predictions.make(PATIENT, world.act())
    add(world, event("new", at=20, received=20))
    second = world.predictions.make(PATIENT, world.act())
    with world.open_unit_of_work() as uow:
        states = {r.prediction_id == second: r for r in uow.reviews.worklist(ALL)}
    assert states[True].state is ReviewState.QUEUED
    assert states[False].state is ReviewState.SUPERSEDED
    history = world.history(review=str(states[False].review_id))
    assert history[-1].refs["by"] == str(states[True].review_id)


def test_a_patient_of_whom_nothing_is_known_is_refused(world: World) -> None:
    with pytest.raises(UnknownPatientError):
        world.predictions.make(PATIENT, world.act())


def test_a_model_that_is_away_leaves_no_trace(world: World) -> None:
    recorded(world).models.is_away = True
    with pytest.raises(ModelUnavailableError):
        world.predictions.make(PATIENT, world.act())
    with world.open_unit_of_work() as uow:
        assert list(uow.predictions.all()) == []


def test_a_prediction_is_recomputed_from_what_had_come_by_then(world: World) -> None:
    prediction_id = recorded(world).predictions.make(PATIENT, world.act())
    late = world.clock.now() + timedelta(hours=1)
    add(world, event("late", at=3, received_at=late))
    prediction, again = world.replays.recompute(prediction_id)
    assert again.output_digest == prediction.forecast.output_digest


def test_a_prediction_whose_events_are_gone_is_not_recomputed(world: World) -> None:
    prediction_id = recorded(world).predictions.make(PATIENT, world.act())
    with world.open_unit_of_work() as uow:
        before = uow.predictions.get(prediction_id).request.received_by
    add(world, event("smuggled", at=3, received_at=before))
    with pytest.raises(ChangedInputError):
        world.replays.recompute(prediction_id)


@pytest.fixture
def review_id(world: World) -> UUID:
    recorded(world).predictions.make(PATIENT, world.act("service"))
    with world.open_unit_of_work() as uow:
        [review] = uow.reviews.worklist(ALL)
    return review.review_id


def test_a_clinician_claims_decides_and_the_ehr_is_told_once(world: World, review_id: UUID) -> None:
    claimed = world.reviews.claim(review_id, world.act(), expected_version=1)
    signed, decision = world.reviews.sign(
        review_id,
        world.act(),
        expected_version=claimed.version,
        verdict=Verdict.AGREE,
        reasons=(Reason.ACKNOWLEDGED,),
        note="seen",
    )
    assert signed.state is ReviewState.SIGNED
    with world.open_unit_of_work() as uow:
        assert uow.reviews.decision(review_id) == decision
        [message] = [
            m for m in uow.outbox.claim(9, timedelta(1)) if m.kind is MessageKind.WRITE_BACK
        ]
        uow.commit()
    world.write_back.tell(review_id, world.act("service"), message=message)
    with pytest.raises(TakenOverError):
        world.write_back.tell(review_id, world.act("service"), message=message)
    assert list(world.ehr.told) == [decision.decision_id]
    kinds = [e.kind for e in world.history(review=str(review_id))]
    assert kinds[:2] == [AuditKind.REVIEW_OPENED, AuditKind.REVIEW_CLAIMED]
    assert {AuditKind.REVIEW_SIGNED, AuditKind.WRITEBACK_QUEUED, AuditKind.WRITEBACK_DONE} <= set(
        kinds
    )


def _signed_and_told(world: World, review_id: UUID) -> None:
    world.reviews.claim(review_id, world.act(), expected_version=1)
    world.reviews.sign(review_id, world.act(), expected_version=2, verdict=Verdict.AGREE)
    world.write_back.tell(review_id, world.act("service"), message=_owed(world, "WRITE_BACK"))


def _owed(world: World, kind: str) -> Message:
    with world.open_unit_of_work() as uow:
        owed = [m for m in uow.outbox.claim(9, timedelta(1)) if m.kind is MessageKind[kind]]
        uow.commit()
    return owed[0]


def _recall_model(world: World) -> None:
    recalls = RecallService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )
    digest = world.models.fingerprint().manifest_digest
    recalls.recall(recalls.of_model(digest), by="anna", concern=Concern.SAFETY)


def test_what_the_ehr_was_told_is_taken_back_when_it_is_recalled(
    world: World, review_id: UUID
) -> None:
    _signed_and_told(world, review_id)
    _recall_model(world)
    message = _owed(world, "TAKE_BACK")
    world.write_back.take_back(review_id, world.act("service"), message=message)
    assert len(world.ehr.taken_back) == 1
    kinds = [entry.kind for entry in world.history(review=str(review_id))]
    assert kinds.count(AuditKind.WRITEBACK_TAKEN_BACK) == 1


def test_what_was_recalled_before_the_ehr_was_told_is_not_told(
    world: World, review_id: UUID
) -> None:
    world.reviews.claim(review_id, world.act(), expected_version=1)
    world.reviews.sign(review_id, world.act(), expected_version=2, verdict=Verdict.AGREE)
    _recall_model(world)
    with pytest.raises(RecalledError):
        world.write_back.tell(review_id, world.act(), message=_owed(world, "WRITE_BACK"))
    assert world.ehr.num_calls == 0


def test_nothing_is_owed_to_an_ehr_whose_site_did_not_turn_write_back_on(
    world: World, review_id: UUID
) -> None:
    elsewhere = replace(world.reviews, writes_back={"south"})
    elsewhere.claim(review_id, world.act(), expected_version=1)
    elsewhere.sign(review_id, world.act(), expected_version=2, verdict=Verdict.AGREE)
    with world.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_write_back_needs_agreement(world: World, review_id: UUID) -> None:
    world.reviews.claim(review_id, world.act(), expected_version=1)
    world.reviews.sign(review_id, world.act(), expected_version=2, verdict=Verdict.DISAGREE)
    with world.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_nothing_is_told_before_a_decision(world: World, review_id: UUID) -> None:
    message = Message(
        message_id=world.identities.new(),
        kind=MessageKind.WRITE_BACK,
        subject_id=review_id,
        created_at=world.clock.now(),
        coalesce_key="early",
    )
    with pytest.raises(UndecidedError):
        world.write_back.tell(review_id, world.act(), message=message)
    assert world.ehr.num_calls == 0


def test_a_stale_reader_changes_nothing(world: World, review_id: UUID) -> None:
    world.reviews.claim(review_id, world.act(), expected_version=1)
    with pytest.raises(StaleVersionError):
        world.reviews.claim(review_id, world.act("ben"), expected_version=1)
    with pytest.raises(HeldByAnotherError):
        world.reviews.claim(review_id, world.act("ben"), expected_version=2)


def test_a_released_review_can_be_taken_by_another(world: World, review_id: UUID) -> None:
    world.reviews.claim(review_id, world.act(), expected_version=1)
    with pytest.raises(NotHolderError):
        world.reviews.release(review_id, world.act("ben"), expected_version=2)
    world.reviews.release(review_id, world.act(), expected_version=2)
    taken = world.reviews.claim(review_id, world.act("ben"), expected_version=3)
    assert taken.claimed_by == "ben"


def test_opening_an_item_is_remembered(world: World, review_id: UUID) -> None:
    world.reviews.note_read(review_id, world.act("ben"))
    assert world.history(review=str(review_id))[-1].kind is AuditKind.REVIEW_READ


def test_an_unknown_review_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.reviews.claim(UUID(int=7), world.act(), expected_version=1)


def test_the_log_is_sequenced_and_sound(world: World, review_id: UUID) -> None:
    unsequenced = world.audit.verify()
    assert (unsequenced.num_entries, unsequenced.is_sound) == (0, True)
    count = world.audit.sequence()
    report = world.audit.verify()
    assert count == report.num_entries == unsequenced.num_unsequenced > 3
    assert report.is_sound
    assert world.audit.sequence() == 0
