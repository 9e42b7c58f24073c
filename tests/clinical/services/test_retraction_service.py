"""What a delivery takes back is withdrawn and never erased; what rested on it is marked and asked again."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.inbox import AlreadyRecordedError
from clinical.audit.entry import AuditKind
from clinical.prediction.replay import Replay
from clinical.prediction.staleness import StaleReason
from clinical.review.decision import Verdict
from clinical.review.recall import RecordName
from clinical.review.review import Review, ReviewState
from clinical.services.delivery import Delivery, Door, Merged, Reading, Withdrawn
from clinical.services.erasure import ErasureService
from clinical.services.messages import MessageKind
from clinical.services.recall import RecallService
from clinical.timeline.event import Event, EventKind, Source, Standing
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import event
from tests.clinical.services.conftest import World
from tests.fakes import NOON
from tests.ports.together import together

pytestmark = pytest.mark.integration

ADA, BEN, CY = (PatientRef("north", name) for name in ("ada", "ben", "cy"))


class Ehr:
    """What the EHR sends, one delivery at a time, each a minute after the one before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.num_sent = 0

    def send(
        self,
        events: Iterable[Event] = (),
        *,
        withdrawn: Iterable[Source] = (),
        merged: Iterable[Merged] = (),
        door: Door = Door.FHIR,
        predict: bool = True,
    ) -> UUID:
        world = self.world
        world.clock.advance(timedelta(minutes=1))
        self.num_sent += 1
        name = f"sent {self.num_sent}"
        delivery = replace(world.delivery(name.encode(), sender_id=name), door=door)
        given = [
            replace(
                each,
                received_at=delivery.received_at,
                source=replace(each.source, delivery_id=delivery.delivery_id),
            )
            for each in events
        ]
        refs = {ref.patient_id: ref for ref in (ADA, BEN, CY)}
        world.reader.reading = Reading(
            events=given,
            patients={each.patient_id: refs[each.patient_id] for each in given},
            withdrawn=[Withdrawn(source=each) for each in withdrawn],
            merged=list(merged),
        )
        world.intake.readers[door] = world.reader  # type: ignore[index]
        world.intake.receive(delivery, world.act("ehr"))
        world.intake.record(delivery.delivery_id, world.act("worker"), predict=predict)
        return delivery.delivery_id

    def asked(self) -> list[UUID]:
        """Who is to be predicted; after that nothing is owed."""
        with self.world.open_unit_of_work() as uow:
            owed = uow.outbox.claim(100, timedelta(1))
            for each in owed:
                started = uow.outbox.start(each.message_id, timedelta(1))
                if started is not None:
                    uow.outbox.done(started)
            uow.commit()
        return [each.subject_id for each in owed if each.kind is MessageKind.PREDICT]

    def answer(self) -> None:
        """Predict whoever is to be predicted."""
        for patient_id in self.asked():
            self.world.clock.advance(timedelta(seconds=1))
            self.world.predictions.make(patient_id, self.world.act("worker"))


@pytest.fixture
def ehr(world: World) -> Ehr:
    return Ehr(world)


def result(
    patient: PatientRef, number: int, *, updated: float | None = None, **changes: object
) -> Event:
    """A laboratory value, one an hour."""
    record_id = f"{patient.record_id}-{number}"
    return event(
        record_id,
        at=number,
        updated=number if updated is None else updated,
        patient_id=patient.patient_id,
        content=f"{updated}{changes}",
        **{"value": str(90 + number), **changes},
    )


def results(patient: PatientRef, count: int = 3) -> list[Event]:
    return [result(patient, number) for number in range(count)]


def deletion(record_id: str, *, record_type: str = "Observation") -> Source:
    made = event(record_id, content=f"deleted {record_type}", updated=500).source
    return replace(made, record_type=record_type)


def merge(gone: PatientRef, kept: PatientRef, number: int = 1, **changes: bool) -> Merged:
    source = event(f"message-{number}", updated=400 + number).source
    source = replace(source, record_type="ADT")
    return Merged(gone=gone.record_id, kept=kept.record_id, source=source, **changes)


def opened(world: World, patient: PatientRef) -> Review:
    with world.open_unit_of_work() as uow:
        [review] = uow.reviews.open_for(patient.patient_id)
    return review


def stands(world: World, review: Review) -> Review:
    with world.open_unit_of_work() as uow:
        return uow.reviews.get(review.review_id)


def sign(world: World, review: Review) -> None:
    claimed = world.reviews.claim(review.review_id, world.act(), expected_version=review.version)
    world.reviews.sign(
        review.review_id,
        world.act(),
        expected_version=claimed.version,
        verdict=Verdict.AGREE,
    )


def reasons(world: World, *reviews: Review) -> list[StaleReason | None]:
    with world.open_unit_of_work() as uow:
        marks = uow.retractions.stale([review.prediction_id for review in reviews])
    found = [marks.get(review.prediction_id) for review in reviews]
    return [mark and mark.reason for mark in found]


def values(world: World, patient: PatientRef) -> list[str]:
    with world.open_unit_of_work() as uow:
        timeline = uow.timelines.of(patient.patient_id)
    return [str(e.value.value) for e in timeline if e.value is not None]  # type: ignore[union-attr]


def replays(world: World, review: Review) -> bool:
    return world.replays.replay(review.prediction_id).recomputed.replay is Replay.EQUAL


def to_look_at(world: World) -> int:
    with world.open_unit_of_work() as uow:
        return uow.recalls.num_to_look_at()


def test_a_deleted_record_leaves_the_timeline_and_what_read_it_is_marked_and_asked_again(
    world: World, ehr: Ehr
) -> None:
    ehr.send(results(ADA))
    ehr.answer()
    review = opened(world, ADA)
    delivery_id = ehr.send(withdrawn=[deletion("ada-2")])
    assert values(world, ADA) == ["90", "91"]
    assert reasons(world, review) == [StaleReason.WITHDRAWN]
    assert stands(world, review).state is ReviewState.QUEUED
    [told] = [
        e
        for e in world.history(prediction=str(review.prediction_id))
        if e.kind is AuditKind.PREDICTION_STALE
    ]
    assert (told.refs["why"], told.refs["delivery"]) == ("withdrawn", str(delivery_id))
    ehr.answer()
    assert stands(world, review).state is ReviewState.SUPERSEDED
    again = opened(world, ADA)
    assert again.prediction_id != review.prediction_id
    assert reasons(world, again) == [None]
    assert replays(world, review)
    assert replays(world, again)
    with world.open_unit_of_work() as uow:
        assert len(uow.timelines.of(ADA.patient_id).versions) == 4


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        ({"value": "700"}, StaleReason.CORRECTED),
        ({"standing": Standing.RETRACTED}, StaleReason.WITHDRAWN),
        ({"value": "92", "display": "no model reads this"}, None),
    ],
)
def test_a_newer_version_counts_where_it_changes_what_a_model_reads(
    world: World, ehr: Ehr, newer: dict[str, object], reason: StaleReason | None
) -> None:
    ehr.send(results(ADA))
    ehr.answer()
    review = opened(world, ADA)
    changes = {name: value for name, value in newer.items() if name != "display"}
    ehr.send([result(ADA, 2, updated=600, **changes)])
    assert reasons(world, review) == [reason]


def test_news_makes_nothing_stale(world: World, ehr: Ehr) -> None:
    ehr.send(results(ADA))
    ehr.answer()
    review = opened(world, ADA)
    ehr.send([result(ADA, 7)])
    assert reasons(world, review) == [None]


def test_a_signed_review_is_to_be_looked_at_again_and_stays_signed(world: World, ehr: Ehr) -> None:
    ehr.send(results(ADA))
    ehr.answer()
    review = opened(world, ADA)
    sign(world, review)
    assert to_look_at(world) == 0
    ehr.send([result(ADA, 1, updated=600, standing=Standing.RETRACTED)])
    assert to_look_at(world) == 1
    assert stands(world, review).state is ReviewState.SIGNED
    kinds = [entry.kind for entry in world.history(review=str(review.review_id))]
    assert kinds[-1] is AuditKind.REVIEW_RELOOK


def test_what_did_not_read_the_record_is_left_alone(world: World, ehr: Ehr) -> None:
    ehr.send(results(ADA))
    ehr.send(results(BEN))
    ehr.answer()
    before, other = opened(world, ADA), opened(world, BEN)
    ehr.send([result(ADA, 8)])
    ehr.answer()
    after = opened(world, ADA)
    ehr.send(withdrawn=[deletion("ada-8")])
    assert reasons(world, before, after, other) == [None, StaleReason.WITHDRAWN, None]
    assert ehr.asked() == [ADA.patient_id]


def test_what_is_left_was_answered_before_so_that_answer_is_under_review_again(
    world: World, ehr: Ehr
) -> None:
    """The timeline without the withdrawn record is one that was asked about: nothing new is stored."""
    ehr.send(results(ADA))
    ehr.answer()
    first = opened(world, ADA)
    ehr.send([result(ADA, 8)])
    ehr.answer()
    second = opened(world, ADA)
    ehr.send(withdrawn=[deletion("ada-8")])
    ehr.answer()
    assert stands(world, second).state is ReviewState.SUPERSEDED
    third = opened(world, ADA)
    assert third.review_id != first.review_id
    assert third.prediction_id == first.prediction_id


def test_a_deletion_of_what_is_not_held_is_kept_and_acts_if_the_record_comes(
    world: World, ehr: Ehr
) -> None:
    ehr.send(withdrawn=[deletion("ada-2")])
    assert ehr.asked() == []
    ehr.send(results(ADA))
    assert values(world, ADA) == ["90", "91"]
    ehr.send([result(ADA, 2, updated=501, value="5")])
    assert sorted(values(world, ADA)) == ["5", "90", "91"]


def test_a_record_that_turns_out_to_be_of_another_patient_is_withdrawn_from_the_first(
    world: World, ehr: Ehr
) -> None:
    ehr.send(results(ADA))
    ehr.answer()
    review = opened(world, ADA)
    moved = replace(result(ADA, 2, updated=600), patient_id=BEN.patient_id)
    ehr.send([moved])
    assert (values(world, ADA), values(world, BEN)) == (["90", "91"], ["92"])
    assert reasons(world, review) == [StaleReason.WITHDRAWN]
    assert sorted(ehr.asked()) == sorted([ADA.patient_id, BEN.patient_id])


def test_of_a_deleted_patient_everything_is_to_be_looked_at_and_only_their_own_record_is_withdrawn(
    world: World, ehr: Ehr
) -> None:
    born = replace(
        event("ada", patient_id=ADA.patient_id, kind=EventKind.PATIENT),
        source=replace(event("ada", updated=1).source, record_type="Patient"),
    )
    ehr.send([born, *results(ADA)])
    ehr.answer()
    review = opened(world, ADA)
    sign(world, review)
    ehr.send(withdrawn=[deletion("ada", record_type="Patient")])
    assert values(world, ADA) == ["90", "91", "92"]
    with world.open_unit_of_work() as uow:
        kinds = {e.kind for e in uow.timelines.of(ADA.patient_id)}
    assert kinds == {EventKind.OBSERVATION}
    assert reasons(world, review) == [StaleReason.PATIENT_DELETED]
    assert to_look_at(world) == 1


def test_a_file_without_questions_asks_again_what_it_made_stale_and_at_once(
    world: World, ehr: Ehr
) -> None:
    ehr.send(results(ADA))
    ehr.send(results(BEN))
    ehr.answer()
    ehr.send(
        [result(ADA, 0, updated=600, value="1"), result(BEN, 9)], door=Door.FHIR_BULK, predict=False
    )
    assert ehr.asked() == [ADA.patient_id]


def test_a_merged_patient_is_asked_about_under_the_record_that_is_kept(
    world: World, ehr: Ehr
) -> None:
    ehr.send(results(ADA))
    ehr.send(results(BEN, 2))
    ehr.answer()
    gone, kept = opened(world, ADA), opened(world, BEN)
    ehr.send(merged=[merge(ADA, BEN)])
    closed = stands(world, gone)
    assert (closed.state, closed.closed_reason) == (ReviewState.WITHDRAWN, "merged")
    assert reasons(world, gone, kept) == [StaleReason.MERGED, None]
    assert ehr.asked() == [BEN.patient_id]
    prediction_id = world.predictions.make(ADA.patient_id, world.act("worker"))
    now = opened(world, BEN)
    assert now.prediction_id == prediction_id
    assert stands(world, kept).state is ReviewState.SUPERSEDED
    assert len(values(world, BEN)) == 5
    assert all(replays(world, review) for review in (gone, kept, now))
    ehr.send([result(ADA, 7)])
    assert ehr.asked() == [BEN.patient_id]
    assert len(values(world, BEN)) == 6


def test_separated_again_each_is_asked_about_alone_and_the_old_answer_stands_again(
    world: World, ehr: Ehr
) -> None:
    ehr.send(results(ADA))
    ehr.send(results(BEN, 2))
    ehr.answer()
    gone = opened(world, ADA)
    ehr.send(merged=[merge(ADA, BEN)])
    ehr.answer()
    joint = opened(world, BEN)
    sign(world, joint)
    ehr.send(merged=[merge(ADA, BEN, 2, is_undone=True)])
    assert reasons(world, gone, joint) == [None, StaleReason.SEPARATED]
    assert to_look_at(world) == 1
    assert sorted(ehr.asked()) == sorted([ADA.patient_id, BEN.patient_id])
    assert (len(values(world, ADA)), len(values(world, BEN))) == (3, 2)
    assert replays(world, gone)
    assert replays(world, joint)


def test_a_correction_of_what_came_under_the_gone_record_strikes_answers_about_the_kept_one(
    world: World, ehr: Ehr
) -> None:
    ehr.send([*results(ADA), *results(BEN)])
    ehr.answer()
    alone = opened(world, BEN)
    ehr.send(merged=[merge(ADA, BEN)])
    ehr.answer()
    joint = opened(world, BEN)
    ehr.send([result(ADA, 1, updated=600, value="1")])
    assert reasons(world, alone, joint) == [None, StaleReason.CORRECTED]
    assert ehr.asked() == [BEN.patient_id]


def test_a_patient_record_that_no_longer_says_that_it_was_replaced_stands_by_itself(
    world: World, ehr: Ehr
) -> None:
    def said(updated: float) -> Event:
        made = event("ada", patient_id=ADA.patient_id, kind=EventKind.PATIENT, updated=updated)
        source = replace(made.source, record_type="Patient", digest=f"{updated:064}")
        return replace(made, source=source)

    ehr.send([*results(ADA), *results(BEN)])
    replaced = said(400)
    link = Merged(gone="ada", kept="ben", source=replaced.source, lapses=True)
    ehr.send([said(500)])  # the newer version overtook the older one
    ehr.send([replaced], merged=[link])
    assert len(values(world, BEN)) == 3
    link = replace(link, source=replace(said(600).source))
    ehr.send([said(600)], merged=[link])
    assert len(values(world, BEN)) == 6
    ehr.send([said(700)])
    assert len(values(world, BEN)) == 3


def test_merged_into_a_record_of_which_nothing_is_known_the_events_are_known_there(
    world: World, ehr: Ehr
) -> None:
    ehr.send(merged=[merge(BEN, CY)])
    assert ehr.asked() == []
    ehr.send(results(ADA))
    ehr.answer()
    ehr.send(merged=[merge(ADA, BEN, 2)])
    assert ehr.asked() == [CY.patient_id]
    assert len(values(world, CY)) == 3


def test_a_prediction_that_was_on_its_way_while_the_patient_was_merged_opens_no_review(
    world: World, ehr: Ehr
) -> None:
    ehr.send([*results(ADA), *results(BEN)])
    ehr.asked()
    forecast = world.models.forecast

    def merge_meanwhile(*asked: object) -> object:
        world.models.forecast = forecast  # type: ignore[method-assign]
        ehr.send(merged=[merge(ADA, BEN)])
        return forecast(*asked)  # type: ignore[arg-type]

    world.models.forecast = merge_meanwhile  # type: ignore[method-assign,assignment]
    world.predictions.make(ADA.patient_id, world.act("worker"))
    with world.open_unit_of_work() as uow:
        assert uow.reviews.open_for(ADA.patient_id) == []


def test_erasing_either_record_of_a_person_erases_both(
    world: World, ehr: Ehr, engine: Engine
) -> None:
    ehr.send(results(ADA))
    ehr.send(results(BEN))
    ehr.send(results(CY))
    ehr.answer()
    sign(world, opened(world, ADA))
    ehr.send(withdrawn=[deletion("ada-2"), deletion("cy-2")])
    ehr.send(merged=[merge(ADA, BEN)])
    erasing = ErasureService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )
    done = erasing.erase(ADA, "privacy officer").erased
    assert (done.num_merged, done.num_predictions) == (1, 2)
    assert done.num_events == 7
    for patient in (ADA, BEN):
        assert values(world, patient) == []
        assert list(_tables_with(engine, str(patient.patient_id))) == []
    assert list(_tables_with(engine, "ada-")) == list(_tables_with(engine, "ben-")) == []
    assert values(world, CY) == ["90", "91"]
    world.audit.sequence()
    assert world.audit.verify().is_sound


def _tables_with(engine: Engine, needle: str) -> Iterable[str]:
    with engine.connect() as connection:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for table in connection.execute(text(tables)).scalars().all():
            query = text(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE :needle")
            if connection.execute(query, {"needle": f"%{needle}%"}).scalar():
                yield table


def test_the_clock_of_the_story_is_after_all_that_it_tells() -> None:
    assert event(at=700).available_at < NOON


def test_a_recall_by_record_finds_what_read_it_under_the_record_that_was_kept(
    world: World, ehr: Ehr
) -> None:
    ehr.send([*results(ADA), *results(BEN)])
    ehr.answer()
    gone, alone = opened(world, ADA), opened(world, BEN)
    ehr.send(merged=[merge(ADA, BEN)])
    ehr.answer()
    joint = opened(world, BEN)
    ehr.send(merged=[merge(ADA, BEN, 2, is_undone=True)])
    recalls = RecallService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )
    found = recalls.of_record(RecordName(record_type="Observation", record_id="ada-1"))
    assert set(found.touched.prediction_ids) == {gone.prediction_id, joint.prediction_id}
    assert alone.prediction_id not in found.touched.prediction_ids


class ByDelivery:
    """Understands each delivery as the test prepared it, whichever thread asks."""

    def __init__(self) -> None:
        self.readings: dict[UUID, Reading] = {}

    def read(self, delivery: Delivery) -> Reading:
        reading = self.readings[delivery.delivery_id]
        return replace(reading, events=list(reading.events), counts=reading.counts.copy())


def test_a_record_and_its_deletion_that_are_recorded_at_once_do_not_miss_each_other(
    world: World,
) -> None:
    reader = ByDelivery()
    world.intake.readers[Door.FHIR] = reader  # type: ignore[index]
    for number in range(6):
        create, delete = (world.delivery(sender_id=f"{sort} {number}") for sort in ("put", "gone"))
        made = result(ADA, number)
        reader.readings = {
            create.delivery_id: Reading(events=[made], patients={ADA.patient_id: ADA}),
            delete.delivery_id: Reading(
                withdrawn=[Withdrawn(source=deletion(made.source.record_id))]
            ),
        }
        acts = [world.act("worker"), world.act("worker"), world.act("worker")]
        for each in (create, delete):
            world.intake.receive(each, world.act("ehr"))
        done = together(
            [
                partial(world.intake.record, each.delivery_id, act)
                for each, act in zip((create, delete, delete), acts, strict=True)
            ]
        )
        errors = [each for each in done if isinstance(each, Exception)]
        assert all(isinstance(each, AlreadyRecordedError) for each in errors), errors
    assert values(world, ADA) == []
