"""Port Inbox: bytes are held once for each id of the sender, and understood once."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.errors import UnstorableValueError
from adapters.db.inbox import AlreadyRecordedError
from clinical.errors import NotFoundError
from clinical.services.delivery import Delivery, Door, Quarantined, Reading, Reception
from clinical.services.ports import OpenUnitOfWork
from tests.fakes import NOON
from tests.ports.together import together

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unaudited")]

MOMENT = timedelta(microseconds=1)
DELIVERY = Delivery(
    delivery_id=UUID(int=1),
    site="north",
    door=Door.FHIR,
    sender_id="msg_1",
    body=b'{"resourceType": "Patient"}\x00\xff' + bytes(range(256)) * 100,
    content_type="application/fhir+json",
    received_at=NOON,
    context={"type": "Patient", "id": "é"},
)


def _add(open_unit_of_work: OpenUnitOfWork, delivery: Delivery) -> tuple[Reception, UUID]:
    with open_unit_of_work() as uow:
        result = uow.inbox.add(delivery)
        uow.commit()
    return result


def test_a_delivery_comes_back_byte_for_byte(open_unit_of_work: OpenUnitOfWork) -> None:
    assert _add(open_unit_of_work, DELIVERY) == (Reception.NEW, DELIVERY.delivery_id)
    with open_unit_of_work() as uow:
        assert uow.inbox.get(DELIVERY.delivery_id) == DELIVERY


def test_the_same_bytes_again_are_a_duplicate_and_other_bytes_a_conflict(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _add(open_unit_of_work, DELIVERY)
    again = replace(DELIVERY, delivery_id=UUID(int=2))
    assert _add(open_unit_of_work, again) == (Reception.DUPLICATE, DELIVERY.delivery_id)
    other = replace(again, body=b"other")
    assert _add(open_unit_of_work, other) == (Reception.CONFLICT, DELIVERY.delivery_id)
    with open_unit_of_work() as uow:
        assert uow.inbox.get(DELIVERY.delivery_id).body == DELIVERY.body


def test_bytes_are_hashed_again_and_compared_with_what_was_noted_at_the_door(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    other = replace(DELIVERY, delivery_id=UUID(int=2), sender_id="msg_2", body=b"other")
    ids = [each.delivery_id for each in (DELIVERY, other)]
    for delivery in (DELIVERY, other):
        _add(open_unit_of_work, delivery)
    with open_unit_of_work() as uow:
        asked = {*ids, UUID(int=404)}
        assert uow.inbox.digests(asked) == {ids[0]: DELIVERY.digest, ids[1]: other.digest}
        assert uow.inbox.altered(asked) == []
        assert (uow.inbox.digests([]), uow.inbox.altered([])) == ({}, [])
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE deliveries SET body = 'x' WHERE sender_id = 'msg_2'"))
    with open_unit_of_work() as uow:
        assert uow.inbox.altered(ids[:1]) == []
        assert uow.inbox.altered(ids) == [ids[1]]


@pytest.mark.parametrize("change", [{"site": "south"}, {"door": Door.MEDS}, {"sender_id": "2"}])
def test_another_site_door_or_id_is_another_delivery(
    open_unit_of_work: OpenUnitOfWork, change: dict[str, object]
) -> None:
    _add(open_unit_of_work, DELIVERY)
    other = replace(DELIVERY, delivery_id=UUID(int=2), **change)  # type: ignore[arg-type]
    assert _add(open_unit_of_work, other) == (Reception.NEW, UUID(int=2))


def test_eight_threads_that_add_the_same_delivery_store_one_row(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    copies = [replace(DELIVERY, delivery_id=UUID(int=n)) for n in range(1, 9)]
    results = together([partial(_add, open_unit_of_work, copy) for copy in copies])
    receptions = [result[0] for result in results if isinstance(result, tuple)]
    assert sorted(receptions) == [Reception.DUPLICATE] * 7 + [Reception.NEW]
    assert len({result[1] for result in results if isinstance(result, tuple)}) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 1


def test_an_unknown_delivery_is_not_found(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        with pytest.raises(NotFoundError):
            uow.inbox.get(UUID(int=9))
        with pytest.raises(NotFoundError):
            uow.inbox.is_recorded(UUID(int=9))


def test_what_no_text_column_holds_is_refused_by_name(open_unit_of_work: OpenUnitOfWork) -> None:
    for bad in ("nul\x00", "surrogate\ud800"):
        with pytest.raises(UnstorableValueError) as refusal:
            _add(open_unit_of_work, replace(DELIVERY, sender_id=bad))
        assert "nul" not in str(refusal.value)
        assert "surrogate\ud800" not in str(refusal.value)


def _record(open_unit_of_work: OpenUnitOfWork, at: datetime, reading: Reading) -> None:
    with open_unit_of_work() as uow:
        uow.inbox.quarantine(DELIVERY.delivery_id, at, reading.quarantined)
        uow.inbox.mark_recorded(DELIVERY.delivery_id, at, reading)
        uow.commit()


BROKEN = Quarantined(
    position="entry[12]",
    record_type="Obser\x00vation",
    record_id="\ud800",
    digest="ab",
    reason_code="fhir.invalid",
    detail="id is not an id",
)


def test_a_delivery_is_recorded_once_with_its_counts_and_what_was_not_understood(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    _add(open_unit_of_work, DELIVERY)
    with open_unit_of_work() as uow:
        assert not uow.inbox.is_recorded(DELIVERY.delivery_id)
    reading = Reading(quarantined=[BROKEN, BROKEN, replace(BROKEN, position="entry[13]")])
    reading.counts.update({"record:Patient": 2, "unmapped_unit:\x00\ud800": 1})
    _record(open_unit_of_work, NOON, reading)
    with open_unit_of_work() as uow:
        assert uow.inbox.is_recorded(DELIVERY.delivery_id)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT * FROM quarantine ORDER BY position")).all()
        counts = connection.execute(text("SELECT counts FROM deliveries")).scalar_one()
    assert [row.position for row in kept] == ["entry[12]", "entry[13]"]
    assert (kept[0].record_type, kept[0].record_id) == ("Obser\\x00vation", "\\ud800")
    assert counts == {"record:Patient": 2, "unmapped_unit:\\x00\\ud800": 1}


def test_of_two_workers_that_record_the_same_delivery_one_keeps_nothing(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    _add(open_unit_of_work, DELIVERY)
    first, second = Reading(quarantined=[BROKEN]), Reading(quarantined=[BROKEN])
    outcomes = together(
        [partial(_record, open_unit_of_work, NOON, reading) for reading in (first, second)]
    )
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [
        AlreadyRecordedError
    ]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM quarantine")).scalar_one() == 1


def test_what_was_set_aside_is_told_with_its_reason_and_without_its_content(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    other = replace(DELIVERY, delivery_id=UUID(int=2), sender_id="msg_2", site="south")
    for number, delivery in enumerate((DELIVERY, other)):
        _add(open_unit_of_work, delivery)
        record = Quarantined(
            position=f"entry[{number}]",
            record_type="Observation",
            record_id="secret-id",
            digest="0" * 64,
            reason_code="fhir.malformed",
            detail="`status` is missing",
        )
        with open_unit_of_work() as uow:
            uow.inbox.quarantine(delivery.delivery_id, NOON + number * MOMENT, [record])
            uow.commit()
    with open_unit_of_work() as uow:
        everything, one = uow.inbox.set_aside(10), uow.inbox.set_aside(10, DELIVERY.delivery_id)
        assert uow.inbox.set_aside(1) == everything[:1]
    assert [(each.site, each.position) for each in everything] == [
        ("south", "entry[1]"),
        ("north", "entry[0]"),
    ]
    assert one == everything[1:]
    assert (one[0].reason_code, one[0].detail) == ("fhir.malformed", "`status` is missing")
    assert "secret-id" not in repr(everything)
