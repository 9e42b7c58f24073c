"""Port Timelines: every event as it was sent, once, and read as a timeline."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from adapters.db.errors import UnstorableValueError
from clinical.errors import NotFoundError
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import event
from tests.ports import strategies
from tests.ports.together import together

pytestmark = pytest.mark.integration

ADA = PatientRef("north", "ada")
BEN = PatientRef("north", "ben")


def _many(count: int, patient: PatientRef = ADA, first: int = 0) -> list[Event]:
    return [
        event(f"o{number}", at=number, value=f"{number}.50", patient_id=patient.patient_id)
        for number in range(first, first + count)
    ]


def _add(open_unit_of_work: OpenUnitOfWork, events: list[Event]) -> int:
    with open_unit_of_work() as uow:
        num_new = uow.timelines.add(events, {ADA.patient_id: ADA})
        uow.commit()
    return num_new


def _read(open_unit_of_work: OpenUnitOfWork, patient: PatientRef = ADA) -> Timeline:
    with open_unit_of_work() as uow:
        return uow.timelines.of(patient.patient_id)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(strategies.events, min_size=1, max_size=6), st.booleans())
def test_every_event_comes_back_as_it_was(
    open_unit_of_work: OpenUnitOfWork, events: list[Event], by_copy: bool
) -> None:
    filler = _many(20) if by_copy else []
    with open_unit_of_work() as uow:  # never committed: each example finds an empty table
        uow.timelines.add([*events, *filler], {})
        held = uow.timelines.of(strategies.PATIENT)
    expected = Timeline.of(strategies.PATIENT, {e.event_id: e for e in reversed(events)}.values())
    assert held == expected
    assert held.digest == expected.digest


@pytest.mark.parametrize(
    "number", ["72.50", "0.00", "-0.0", "1E+5", "0E-7", "0E+3", "NaN", "-Infinity", "1E-1200"]
)
def test_a_decimal_keeps_its_digits(open_unit_of_work: OpenUnitOfWork, number: str) -> None:
    sent = event(value=number, patient_id=ADA.patient_id)
    _add(open_unit_of_work, [sent])
    (held,) = _read(open_unit_of_work).events
    assert isinstance(held.value, Quantity)
    assert format(held.value.value, "f") == format(Decimal(number), "f")
    assert held.canonical() == sent.canonical()


@pytest.mark.parametrize("count", [1, 3, 500])
def test_adding_the_same_events_again_changes_nothing(
    open_unit_of_work: OpenUnitOfWork, count: int
) -> None:
    events = _many(count)
    assert _add(open_unit_of_work, events) == count
    before = _read(open_unit_of_work)
    assert _add(open_unit_of_work, events) == 0
    assert _read(open_unit_of_work) == before
    assert _add(open_unit_of_work, [*events, *_many(2, first=count)]) == 2


@pytest.mark.parametrize("count", [2, 40])
def test_the_same_event_twice_in_one_reading_is_one(
    open_unit_of_work: OpenUnitOfWork, count: int
) -> None:
    assert _add(open_unit_of_work, _many(count) + _many(count)) == count


def test_the_first_receipt_of_a_fact_stays(open_unit_of_work: OpenUnitOfWork) -> None:
    first = event("o1", received=5, patient_id=ADA.patient_id)
    _add(open_unit_of_work, [first])
    _add(open_unit_of_work, [event("o1", received=6, patient_id=ADA.patient_id)])
    assert _read(open_unit_of_work).events == (first,)


@pytest.mark.parametrize("count", [10, 1000])
def test_events_without_a_patient_beside_them_are_stored_all_the_same(
    open_unit_of_work: OpenUnitOfWork, count: int
) -> None:
    with open_unit_of_work() as uow:
        assert uow.timelines.add(_many(count), {}) == count
        uow.commit()
    assert len(_read(open_unit_of_work)) == count


@pytest.mark.parametrize("count", [10, 1000])
def test_what_was_not_committed_is_not_there(open_unit_of_work: OpenUnitOfWork, count: int) -> None:
    with open_unit_of_work() as uow:
        uow.timelines.add(_many(count), {ADA.patient_id: ADA})
    assert len(_read(open_unit_of_work)) == 0
    with open_unit_of_work() as uow, pytest.raises(NotFoundError):
        uow.timelines.patient(ADA.patient_id)


def test_eight_threads_that_add_the_same_events_store_each_once(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    events = _many(300) + _many(300, BEN, first=1000)
    orders = [events, events[::-1]] * 4
    counts = together([partial(_add, open_unit_of_work, order) for order in orders])
    assert sorted(counts, key=str) == [0] * 7 + [600]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == 600


def test_threads_whose_events_overlap_store_their_union(open_unit_of_work: OpenUnitOfWork) -> None:
    shares = [_many(200, first=100 * number) for number in range(6)]
    counts = together([partial(_add, open_unit_of_work, share) for share in shares])
    assert sum(count for count in counts if isinstance(count, int)) == 700
    assert len(_read(open_unit_of_work)) == 700


def test_a_patient_is_known_by_the_name_that_the_site_uses(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    for _ in range(2):
        with open_unit_of_work() as uow:
            uow.timelines.add([], {ADA.patient_id: ADA, BEN.patient_id: BEN})
            uow.commit()
    with open_unit_of_work() as uow:
        assert uow.timelines.patient(ADA.patient_id) == ADA
        assert list(uow.timelines.patient_ids()) == sorted([ADA.patient_id, BEN.patient_id])
        with pytest.raises(NotFoundError):
            uow.timelines.patient(UUID(int=1))


def test_of_nobody_nothing_is_known(open_unit_of_work: OpenUnitOfWork) -> None:
    assert _read(open_unit_of_work, BEN) == Timeline.of(BEN.patient_id, [])


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("bad", ["nul\x00", "surrogate\ud800"])
def test_what_no_text_column_holds_is_refused_by_name_and_stores_nothing(
    open_unit_of_work: OpenUnitOfWork, bad: str, count: int
) -> None:
    events = [*_many(count), event("bad", status=bad, patient_id=ADA.patient_id)]
    with pytest.raises(UnstorableValueError):
        _add(open_unit_of_work, events)
    assert len(_read(open_unit_of_work)) == 0


def test_moments_of_any_zone_come_back_as_the_same_moments(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    zoned = datetime.fromisoformat("2024-03-01T08:00:00.123456-11:00")
    sent = event("o1", patient_id=ADA.patient_id, recorded_at=zoned)
    _add(open_unit_of_work, [sent])
    (held,) = _read(open_unit_of_work).events
    assert held == sent
    assert held.recorded_at is not None
    assert held.recorded_at.utcoffset() == timedelta(0)
    assert held.recorded_at == datetime(2024, 3, 1, 19, 0, 0, 123456, tzinfo=UTC)


def test_fifty_thousand_events_of_one_patient_are_stored_and_read(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    events = _many(50_000)
    assert _add(open_unit_of_work, events) == 50_000
    assert _read(open_unit_of_work).events == tuple(events)
