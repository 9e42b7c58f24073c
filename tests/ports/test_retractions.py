"""Port Retractions, and what Timelines say of records and merged patients: kept once, found by whoever asks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event as Flag
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.errors import BrokenStorageError
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import PredictionRequest
from clinical.prediction.staleness import StaleMark, StaleReason
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.event import Event
from clinical.timeline.merge import MergeStatement, Says
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from clinical.timeline.versions import record_of
from clinical.timeline.withdrawal import Deletion
from tests.clinical.builders import DELIVERY, event, hours
from tests.fakes import NOON, FakeModelServer
from tests.ports.together import together

pytestmark = pytest.mark.integration

ADA, BEN, CY, DOT = (PatientRef("north", name).patient_id for name in ("ada", "ben", "cy", "dot"))


def deletion(record_id: str = "o1", content: str = "", received: float = 9) -> Deletion:
    source = event(record_id, content=f"deleted {content}", updated=5).source
    return Deletion(source=source, received_at=hours(received))


def said(gone: UUID, kept: UUID, says: Says = Says.MERGED, digest: str = "d") -> MergeStatement:
    return MergeStatement(
        gone_id=gone,
        kept_id=kept,
        says=says,
        said_by="Patient/x",
        lapses=True,
        digest=digest,
        updated_at=None,
        received_at=hours(30),
        delivery_id=DELIVERY,
    )


def know(open_unit_of_work: OpenUnitOfWork, *events: Event) -> None:
    with open_unit_of_work() as uow:
        uow.timelines.add(events, {})
        uow.commit()


def of(patient_id: UUID, record_id: str = "o1", content: str = "", **changes: object) -> Event:
    return event(record_id, patient_id=patient_id, content=f"{patient_id}{content}", **changes)


def test_a_deletion_is_kept_once_and_found_by_its_record(open_unit_of_work: OpenUnitOfWork) -> None:
    first, again = deletion(), deletion(content="again")
    with open_unit_of_work() as uow:
        assert uow.retractions.deletions([first.record]) == []
        uow.retractions.add_deletions([])
        uow.retractions.add_deletions([first, again, deletion("o2")])
        uow.retractions.add_deletions([replace(first, received_at=hours(99))])
        found = uow.retractions.deletions([first.record, ("north", "Condition", "o1")])
        assert sorted(found, key=lambda d: d.source.digest) == sorted(
            [first, again], key=lambda d: d.source.digest
        )
        many = [("north", "Observation", f"o{number}") for number in range(12_000)]
        assert len(uow.retractions.deletions(many)) == 3


def test_versions_are_found_by_record_whoever_they_are_about(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    mine, moved = of(ADA), of(BEN, updated=3)
    parts = [of(ADA, "o2", part=f"component/{n}") for n in range(2)]
    elsewhere = replace(of(CY), source=replace(of(CY).source, site="south"))
    know(open_unit_of_work, mine, moved, *parts, elsewhere)
    with open_unit_of_work() as uow:
        assert uow.timelines.versions(set()) == []
        found = uow.timelines.versions({record_of(mine)})
        assert {e.event_id: e for e in found} == {e.event_id: e for e in (mine, moved)}
        found = uow.timelines.versions({record_of(mine), record_of(parts[0]), ("x", "y", "z")})
        assert len(found) == 4


def test_who_is_known_is_told_without_reading_timelines(open_unit_of_work: OpenUnitOfWork) -> None:
    know(open_unit_of_work, of(ADA), of(BEN, "o2"))
    with open_unit_of_work() as uow:
        assert uow.timelines.known([ADA, CY]) == {ADA}
        assert uow.timelines.known([]) == frozenset()


def test_statements_are_kept_once_and_found_over_any_number_of_others(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    chain = [said(ADA, BEN), said(CY, BEN, Says.SEPARATED), said(CY, DOT, Says.SILENT)]
    with open_unit_of_work() as uow:
        assert uow.retractions.add_statements([]) == []
        assert set(uow.retractions.add_statements([*chain, chain[0]])) == set(chain)
        assert uow.retractions.add_statements([replace(chain[0], received_at=hours(99))]) == []
        for patient_id in (ADA, BEN, CY, DOT):
            assert set(uow.retractions.merges([patient_id]).statements) == set(chain)
        assert uow.retractions.merges([UUID(int=5)]).statements == ()
        assert uow.retractions.merges([]).statements == ()


def test_a_timeline_holds_what_is_under_merged_records(open_unit_of_work: OpenUnitOfWork) -> None:
    of_ada, of_ben, of_cy = of(ADA), of(BEN, "o2"), of(CY, "o3")
    know(open_unit_of_work, of_ada, of_ben, of_cy)
    statements = [said(ADA, BEN), said(CY, DOT)]
    with open_unit_of_work() as uow:
        alone = uow.timelines.of(BEN)
        uow.retractions.add_statements(statements)
        uow.commit()
        together_ = uow.timelines.of(BEN)
        assert together_ == Timeline.of_person(
            BEN, {ADA: [of_ada], BEN: [of_ben]}, uow.retractions.merges([BEN])
        )
        assert [e.event_id for e in together_] == [of_ben.event_id, of_ada.event_id]
        before = together_.cut(hours(2_000), received_by=hours(29))
        assert before.input_digest == alone.cut(hours(2_000), received_by=hours(29)).input_digest
        assert [e.event_id for e in uow.timelines.of(DOT)] == [of_cy.event_id]
        assert [e.event_id for e in uow.timelines.of(ADA)] == [of_ada.event_id]


def predicted(open_unit_of_work: OpenUnitOfWork, number: int) -> UUID:
    request = PredictionRequest(
        prediction_id=UUID(int=number), patient_id=UUID(int=number), as_of=NOON, received_by=NOON
    )
    timeline = Timeline.of(request.patient_id, [event(patient_id=request.patient_id)])
    forecast = FakeModelServer().forecast(request, timeline)
    with open_unit_of_work() as uow:
        uow.predictions.ensure_model(forecast.capsule.model, NOON)
        uow.predictions.add(Prediction(request=request, forecast=forecast, made_at=NOON))
        uow.commit()
    return request.prediction_id


@pytest.fixture
def mark() -> Callable[[UUID, StaleReason, int], StaleMark]:
    def made(prediction_id: UUID, reason: StaleReason, number: int = 0) -> StaleMark:
        return StaleMark(
            prediction_id=prediction_id,
            delivery_id=UUID(int=100 + number),
            reason=reason,
            since=NOON + timedelta(hours=number),
        )

    return made


@pytest.mark.usefixtures("unaudited")
def test_the_newest_mark_tells_and_what_was_restored_is_not_stale(
    open_unit_of_work: OpenUnitOfWork, mark: Callable[..., StaleMark]
) -> None:
    one, other, third = (predicted(open_unit_of_work, number) for number in (1, 2, 3))
    marks = [
        mark(one, StaleReason.WITHDRAWN),
        mark(one, StaleReason.CORRECTED, 1),
        mark(other, StaleReason.MERGED),
        mark(other, StaleReason.RESTORED, 1),
    ]
    with open_unit_of_work() as uow:
        assert uow.retractions.mark([]) == []
        assert set(uow.retractions.mark(marks)) == set(marks)
        assert uow.retractions.mark(marks[:1]) == []
        assert uow.retractions.stale([one, other, third]) == {one: marks[1]}
        assert uow.retractions.stale([]) == {}
        uow.retractions.mark([mark(other, StaleReason.MERGED, 2)])
        assert uow.retractions.stale([other])[other].since == NOON + timedelta(hours=2)


def test_a_mark_without_its_audit_entry_is_refused(
    open_unit_of_work: OpenUnitOfWork, engine: Engine, mark: Callable[..., StaleMark]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER are_audited ON predictions"))
        connection.execute(text("DROP TRIGGER are_audited ON model_versions"))
    one = predicted(open_unit_of_work, 1)
    with open_unit_of_work() as uow:
        uow.retractions.mark([mark(one, StaleReason.WITHDRAWN)])
        with pytest.raises(BrokenStorageError):
            uow.commit()


@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET delivery_id = delivery_id"])
@pytest.mark.parametrize("table", ["deleted_records", "patient_merges", "stale_marks"])
def test_nothing_of_it_is_changed_or_deleted(
    open_unit_of_work: OpenUnitOfWork, engine: Engine, table: str, change: str
) -> None:
    with open_unit_of_work() as uow:
        uow.retractions.add_deletions([deletion()])
        uow.retractions.add_statements([said(ADA, BEN)])
        uow.commit()
    with engine.connect() as connection, pytest.raises(Exception, match="append-only"):
        connection.execute(text(change.format(table)))


def test_many_record_together_and_who_takes_back_does_so_alone(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    is_first_in, is_over = Flag(), Flag()
    order: list[str] = []

    def share() -> None:
        with open_unit_of_work() as uow:
            uow.retractions.lock(alone=False)
            is_first_in.set()
            assert is_over.wait(30)
            order.append("shared")
            uow.commit()

    def also_share() -> None:
        assert is_first_in.wait(30)
        with open_unit_of_work() as uow:
            uow.retractions.lock(alone=False)
            order.append("at once")
        is_over.set()

    def alone() -> None:
        assert is_over.wait(30)
        with open_unit_of_work() as uow:
            uow.retractions.lock(alone=True)
            order.append("alone")

    tasks = [partial(task) for task in (share, also_share, alone)]
    assert [done for done in together(tasks) if done is not None] == []
    assert order == ["at once", "shared", "alone"]
