"""A recall finds exactly what rested on its target, marks all of it, deletes nothing, and may be repeated."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.registry import Concern
from clinical.prediction.request import Purpose
from clinical.review.decision import Verdict
from clinical.review.recall import AmbiguousRecordError, NotToLookAtError, RecordName
from clinical.review.review import ClosedError, Review, ReviewState
from clinical.services.ports import WorklistQuery
from clinical.services.recall import RecallService
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import event
from tests.clinical.services.conftest import World
from tests.fakes import MODEL, NOON

pytestmark = pytest.mark.integration
ADA, BO = PatientRef("north", "ada"), PatientRef("north", "bo")


@pytest.fixture
def recalls(world: World) -> RecallService:
    return RecallService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )


def know(world: World, patient: PatientRef, *events: Event) -> None:
    with world.open_unit_of_work() as uow:
        uow.timelines.add(
            [replace(each, patient_id=patient.patient_id) for each in events],
            {patient.patient_id: patient},
        )
        uow.commit()


def ask(world: World, patient: PatientRef) -> Review:
    """A prediction about the patient; the review that it opened."""
    world.predictions.make(patient.patient_id, world.act("worker"))
    with world.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(patient.patient_id)
    return review


def sign(world: World, review: Review, who: str = "anna") -> None:
    world.reviews.note_read(review.review_id, world.act(who))
    world.reviews.claim(review.review_id, world.act(who), expected_version=review.version)
    world.reviews.sign(
        review.review_id,
        world.act(who),
        expected_version=review.version + 1,
        verdict=Verdict.AGREE,
    )


def sourced(made: Event, **changes: Any) -> Event:
    """The same event, read from another version of the record, or at another site."""
    return replace(made, source=replace(made.source, **changes))


def stands(world: World, review: Review) -> Review:
    with world.open_unit_of_work() as uow:
        return uow.reviews.get(review.review_id)


def to_look_at(world: World) -> list[UUID]:
    query = WorklistQuery(states=frozenset({ReviewState.SIGNED}), needs_relook=True)
    with world.open_unit_of_work() as uow:
        assert uow.reviews.count(query) == uow.recalls.num_to_look_at()
        return [review.review_id for review in uow.reviews.worklist(query)]


def test_a_recalled_model_loses_its_open_reviews_and_its_signed_ones_are_looked_at_again(
    world: World, recalls: RecallService
) -> None:
    for patient in (ADA, BO):
        know(world, patient, *[event(f"{patient.record_id}-{n}", at=n) for n in range(3)])
    signed, held = ask(world, ADA), ask(world, BO)
    sign(world, signed)
    world.reviews.note_read(held.review_id, world.act("ben"))
    world.reviews.claim(held.review_id, world.act("ben"), expected_version=1)
    target = recalls.of_model("fake")

    before = recalls.findings(target)
    assert (before.num_predictions, before.num_patients) == (2, 2)
    assert before.reviews_by_state == {"signed": 1, "claimed": 1}
    assert before.signers == {"anna": 1}
    assert before.readers == {"anna": 1, "ben": 1}
    assert to_look_at(world) == []

    done = recalls.recall(target, "eva", Concern.PERFORMANCE, "worse than chance")
    assert (done.is_new, done.num_withdrawn, done.num_to_look_at) == (True, 1, 1)
    withdrawn = stands(world, held)
    assert withdrawn.state is ReviewState.WITHDRAWN
    assert withdrawn.closed_reason == f"recall {done.recall.recall_id}"
    assert stands(world, signed).state is ReviewState.SIGNED
    assert to_look_at(world) == [signed.review_id]
    with pytest.raises(ClosedError):
        world.reviews.sign(
            held.review_id, world.act("ben"), expected_version=3, verdict=Verdict.AGREE
        )
    told = world.history(recall=str(done.recall.recall_id))
    assert {entry.kind for entry in told} == {
        AuditKind.MODEL_RECALLED,
        AuditKind.REVIEW_WITHDRAWN,
        AuditKind.REVIEW_RELOOK,
    }
    assert all("chance" not in str(entry.refs) for entry in told)
    assert recalls.findings(target).num_predictions == 2
    [listed] = recalls.signed(target, 9)
    assert (listed.review_id, listed.signed_by, listed.readers) == (
        signed.review_id,
        "anna",
        ("anna",),
    )
    assert {row.review_state for row in recalls.all_touched(target)} == {"signed", "withdrawn"}


def test_recalling_again_marks_only_what_came_since(world: World, recalls: RecallService) -> None:
    know(world, ADA, event("a", at=1))
    first = ask(world, ADA)
    sign(world, first)
    target = recalls.of_model(MODEL.manifest_digest)
    recall = recalls.recall(target, "eva", Concern.DRIFT).recall
    num_entries = len(world.history(recall=str(recall.recall_id)))
    again = recalls.recall(target, "ben", Concern.OTHER)
    assert (again.is_new, again.num_withdrawn, again.num_to_look_at) == (False, 0, 0)
    assert again.recall == recall
    assert len(world.history(recall=str(recall.recall_id))) == num_entries
    know(world, ADA, event("b", at=2))
    second = ask(world, ADA)
    later = recalls.recall(target, "ben", Concern.OTHER)
    assert (later.num_withdrawn, later.num_to_look_at) == (1, 0)
    assert stands(world, second).state is ReviewState.WITHDRAWN


def test_looking_again_answers_the_mark_once_and_leaves_the_decision(
    world: World, recalls: RecallService
) -> None:
    know(world, ADA, event("a", at=1))
    review = ask(world, ADA)
    with pytest.raises(NotToLookAtError):
        recalls.look_again(review.review_id, world.act("ben"))
    sign(world, review)
    recalls.recall(recalls.of_model("fake"), "eva", Concern.DATA)
    recalls.look_again(review.review_id, world.act("ben"))
    assert to_look_at(world) == []
    with world.open_unit_of_work() as uow:
        [mark] = uow.recalls.relooks([review.review_id])
        decision = uow.reviews.decision(review.review_id)
    assert mark.looked_by == "ben"
    assert decision is not None
    assert decision.decided_by == "anna"
    assert world.history(review=str(review.review_id))[-1].kind is AuditKind.REVIEW_LOOKED_AGAIN
    with pytest.raises(NotToLookAtError):
        recalls.look_again(review.review_id, world.act("eva"))
    with pytest.raises(NotFoundError):
        recalls.look_again(UUID(int=1), world.act("eva"))


def test_a_record_touches_the_predictions_at_whose_cut_it_stood_and_no_others(
    world: World, recalls: RecallService
) -> None:
    """Asked before it came, while its first version stood, and after it was corrected."""
    know(world, ADA, event("other", at=0))
    know(world, BO, event("another", at=0))
    before = ask(world, ADA).prediction_id
    world.clock.advance(timedelta(hours=1))
    first = sourced(event("o1", at=1, received_at=world.clock.now()), version="1")
    know(world, ADA, first)
    with_first = ask(world, ADA).prediction_id
    world.clock.advance(timedelta(hours=1))
    now = world.clock.now()
    corrected = sourced(
        event("o1", at=1, received_at=now, content="corrected"), version="2", updated_at=now
    )
    know(world, ADA, corrected)
    with_second = ask(world, ADA).prediction_id
    ask(world, BO)

    def rested_on(version: str) -> set[UUID]:
        record = RecordName(record_type="Observation", record_id="o1", version=version)
        return set(recalls.of_record(record).touched.prediction_ids)

    assert rested_on("1") == {with_first}
    assert rested_on("2") == {with_second}
    assert rested_on("") == {with_first, with_second}
    assert before not in rested_on("")


def test_a_recalled_record_withdraws_its_patients_review_alone_and_is_named_in_no_entry(
    world: World, recalls: RecallService
) -> None:
    know(world, ADA, event("secret-1", at=1))
    know(world, BO, event("o2", at=1))
    touched, untouched = ask(world, ADA), ask(world, BO)
    target = recalls.of_record(RecordName(record_type="Observation", record_id="secret-1"))
    done = recalls.recall(target, "eva", Concern.DATA)
    assert stands(world, touched).state is ReviewState.WITHDRAWN
    assert stands(world, untouched).state is ReviewState.QUEUED
    assert done.recall.target == "north Observation/secret-1"
    assert done.recall.patient_id == ADA.patient_id
    for entry in world.history(recall=str(done.recall.recall_id)):
        assert "secret" not in entry.canonical().decode()


def test_a_record_of_several_sites_or_of_none_is_refused(
    world: World, recalls: RecallService
) -> None:
    know(world, ADA, event("o1", at=1))
    know(world, PatientRef("south", "cy"), sourced(event("o1", at=1), site="south"))
    record = RecordName(record_type="Observation", record_id="o1")
    with pytest.raises(AmbiguousRecordError):
        recalls.of_record(record)
    assert recalls.of_record(replace(record, site="south")).name == "south Observation/o1"
    for nothing in (replace(record, record_id="o9"), replace(record, version="7")):
        with pytest.raises(NotFoundError):
            recalls.of_record(nothing)
    with pytest.raises(NotFoundError):
        recalls.of_model("nobody")


def test_questions_of_the_past_are_found_too_and_have_no_review(
    world: World, recalls: RecallService
) -> None:
    know(world, ADA, event("a", at=1))
    world.predictions.make(ADA.patient_id, world.act(), purpose=Purpose.RETROSPECTIVE, as_of=NOON)
    target = recalls.of_model(recalls_model(world))
    assert recalls.findings(target).reviews_by_state == {}
    [row] = recalls.all_touched(target)
    assert (row.purpose, row.review_id, row.readers) == ("retrospective", None, ())


def recalls_model(world: World) -> str:
    with world.open_unit_of_work() as uow:
        [model] = uow.models.all()
    return model.fingerprint.name
