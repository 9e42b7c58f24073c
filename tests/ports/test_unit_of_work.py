"""Port UnitOfWork: all or nothing, and no error of the database leaves with what it quotes."""

import threading
import traceback
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.engine import UnsupportedDatabaseError, create_engine
from adapters.db.errors import BrokenStorageError, StorageConflictError, StorageUnavailableError
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.review.review import Review
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import event
from tests.fakes import NOON

pytestmark = pytest.mark.integration

ADA = PatientRef("north", "Ada Canary")

_CUT_ALL_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def _num_patients(open_unit_of_work: OpenUnitOfWork) -> int:
    with open_unit_of_work() as uow:
        return len(list(uow.timelines.patient_ids()))


def test_leaving_without_a_commit_keeps_nothing(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        uow.timelines.add([], {ADA.patient_id: ADA})
    assert _num_patients(open_unit_of_work) == 0


def test_an_error_on_the_way_keeps_nothing_and_passes_through(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    def stumble() -> None:
        with open_unit_of_work() as uow:
            uow.timelines.add([], {ADA.patient_id: ADA})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert _num_patients(open_unit_of_work) == 0


def test_what_comes_after_a_commit_needs_its_own(open_unit_of_work: OpenUnitOfWork) -> None:
    ben = PatientRef("north", "ben")
    with open_unit_of_work() as uow:
        uow.timelines.add([], {ADA.patient_id: ADA})
        uow.commit()
        uow.timelines.add([event(patient_id=ben.patient_id)], {ben.patient_id: ben})
    assert _num_patients(open_unit_of_work) == 1
    with open_unit_of_work() as uow:
        assert len(uow.timelines.of(ben.patient_id)) == 0


def test_a_database_that_is_not_there_is_unavailable() -> None:
    engine = create_engine("postgresql://nobody@/nothing?host=/nowhere")
    with pytest.raises(StorageUnavailableError), unit_of_work_factory(engine)():
        pytest.fail("it connected")
    engine.dispose()


def test_a_connection_cut_in_the_middle_is_unavailable_and_the_next_one_works(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    def be_cut_off() -> None:
        with open_unit_of_work() as uow:
            uow.timelines.add([], {ADA.patient_id: ADA})
            with engine.connect() as killer:
                killer.execute(_CUT_ALL_OTHERS)
            uow.commit()

    with pytest.raises(StorageUnavailableError):
        be_cut_off()
    assert _num_patients(open_unit_of_work) == 0


def test_two_that_wait_for_each_other_are_told_to_try_again(engine: Engine) -> None:
    open_unit_of_work = unit_of_work_factory(engine)
    ben = PatientRef("north", "ben")
    both_hold_one = threading.Barrier(2)
    outcomes: list[type[BaseException] | None] = []

    def add(first: PatientRef, second: PatientRef) -> None:
        try:
            with open_unit_of_work() as uow:
                uow.timelines.add([], {first.patient_id: first})
                both_hold_one.wait(30)
                uow.timelines.add([], {second.patient_id: second})
                uow.commit()
            outcomes.append(None)
        except StorageConflictError as error:
            outcomes.append(type(error))

    threads = [
        threading.Thread(target=add, args=(ADA, ben)),
        threading.Thread(target=add, args=(ben, ADA)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [StorageConflictError, None]


def test_no_error_quotes_what_was_stored(open_unit_of_work: OpenUnitOfWork) -> None:
    review = Review(
        review_id=UUID(int=1),
        prediction_id=UUID(int=2),
        patient_id=ADA.patient_id,
        priority=0.1,
        opened_at=NOON,
    )
    with pytest.raises(BrokenStorageError) as refusal, open_unit_of_work() as uow:
        uow.reviews.add(review)
    told = "".join(traceback.format_exception(refusal.value))
    assert "fk_reviews_prediction_id" in told
    assert str(review.prediction_id) not in told
    assert str(review.patient_id) not in told


def test_only_postgresql_is_spoken() -> None:
    with pytest.raises(UnsupportedDatabaseError):
        create_engine("sqlite://")


def test_the_pool_says_when_it_is_exhausted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(database_url, pool_size=1, max_overflow=0)
    monkeypatch.setattr(engine.pool, "_timeout", 0.1)
    open_unit_of_work = unit_of_work_factory(engine)
    with open_unit_of_work(), pytest.raises(StorageUnavailableError), open_unit_of_work():
        pytest.fail("there was one connection only")
    engine.dispose()
