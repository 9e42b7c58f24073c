"""Load is shed in a fixed order, taken on again only some way below, and measured on what is live."""

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from clinical.services.messages import Message, MessageKind, Urgency
from clinical.services.ports import OpenUnitOfWork
from clinical.services.shedding import (
    AuditDeferredError,
    LoadLimits,
    OverloadedError,
    Shed,
    SheddingService,
    next_shed,
)
from tests.fakes import NOON, SeededIdentities

ORDER = [Shed.NOTHING, Shed.AUDITS, Shed.BACKFILL, Shed.REFRESH, Shed.DELIVERIES]


def test_the_order_is_audits_backfill_refreshed_predictions_and_deliveries_last() -> None:
    shed = [next_shed(Shed.NOTHING, pressure) for pressure in (0.0, 0.3, 0.6, 0.8, 1.0)]
    assert shed == ORDER
    assert [each.least for each in ORDER] == [
        Urgency.BACKFILL,
        Urgency.BACKFILL,
        Urgency.REFRESH,
        Urgency.LIVE,
        Urgency.LIVE,
    ]


def test_what_was_shed_stays_so_until_the_pressure_is_well_below() -> None:
    assert next_shed(Shed.NOTHING, 0.99) is Shed.REFRESH
    assert next_shed(Shed.DELIVERIES, 0.99) is Shed.DELIVERIES
    assert next_shed(Shed.DELIVERIES, 0.81) is Shed.DELIVERIES
    assert next_shed(Shed.DELIVERIES, 0.79) is Shed.REFRESH
    assert next_shed(Shed.DELIVERIES, 0.1) is Shed.NOTHING


def _service(
    open_unit_of_work: OpenUnitOfWork,
    *,
    max_backlog: int = 1000,
    free_bytes: Callable[[], int | None] = lambda: None,
    step: float = 10.0,
) -> SheddingService:
    seconds = itertools.count(0.0, step)
    return SheddingService(
        open_unit_of_work=open_unit_of_work,
        limits=LoadLimits(
            max_backlog=max_backlog, max_lateness=timedelta(hours=1), min_free_bytes=100
        ),
        elapsed=lambda: next(seconds),
        free_bytes=free_bytes,
    )


def _owe(open_unit_of_work: OpenUnitOfWork, count: int, urgency: Urgency) -> None:
    identities = SeededIdentities(urgency.value)
    with open_unit_of_work() as uow:
        for _ in range(count):
            subject_id = identities.new()
            uow.outbox.add(
                Message(
                    message_id=identities.new(),
                    kind=MessageKind.PREDICT,
                    subject_id=subject_id,
                    created_at=NOON,
                    coalesce_key=str(subject_id),
                    urgency=urgency,
                )
            )
        uow.commit()


@pytest.mark.integration
def test_a_backlog_of_live_work_is_pressure_and_one_of_files_is_not(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    service = _service(open_unit_of_work, max_backlog=10)
    _owe(open_unit_of_work, 50, Urgency.BACKFILL)
    assert service.now() is Shed.NOTHING
    service.require_calm()
    _owe(open_unit_of_work, 3, Urgency.LIVE)
    with pytest.raises(AuditDeferredError):
        service.require_calm()
    service.require_room()
    _owe(open_unit_of_work, 10, Urgency.LIVE)
    assert service.now() is Shed.DELIVERIES
    with pytest.raises(OverloadedError):
        service.require_room()


@pytest.mark.integration
def test_a_disk_that_runs_full_is_pressure(open_unit_of_work: OpenUnitOfWork) -> None:
    free = [10_000]
    service = _service(open_unit_of_work, free_bytes=lambda: free[0])
    assert service.now() is Shed.NOTHING
    free[0] = 100
    assert service.now() is Shed.DELIVERIES
    free[0] = 10_000
    assert service.now() is Shed.NOTHING


@pytest.mark.integration
def test_it_is_measured_once_a_second(open_unit_of_work: OpenUnitOfWork) -> None:
    asked: list[int] = []

    def free_bytes() -> int:
        asked.append(1)
        return 10_000

    service = _service(open_unit_of_work, free_bytes=free_bytes, step=0.01)
    for _ in range(20):
        service.now()
    assert len(asked) == 1
