"""Port Outbox: work owed is remembered, shared out without overlap, and never forgotten."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from adapters.db.doorbell import open_doorbell
from clinical.audit.entry import AuditKind
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import OpenUnitOfWork
from clinical.services.quarantine import NotGivenUpError, QuarantineService
from tests.fakes import NOON, SeededIdentities, SettableClock
from tests.ports.together import together

pytestmark = pytest.mark.integration

LEASE = timedelta(minutes=2)
MOMENT = timedelta(microseconds=1)


def _message(number: int, key: str = "") -> Message:
    return Message(
        message_id=UUID(int=number),
        kind=MessageKind.PREDICT,
        subject_id=UUID(int=100 + number),
        created_at=NOON,
        coalesce_key=key or str(number),
        parameters={"purpose": "review", "as_of": ""},
    )


def _owe(open_unit_of_work: OpenUnitOfWork, *messages: Message) -> list[bool]:
    with open_unit_of_work() as uow:
        added = [uow.outbox.add(message) for message in messages]
        uow.commit()
    return added


def _claim(
    open_unit_of_work: OpenUnitOfWork, limit: int = 10, after: timedelta = MOMENT * 0
) -> list[Message]:
    with open_unit_of_work() as uow:
        claimed = uow.outbox.claim(limit, NOON + after, LEASE)
        uow.commit()
    return claimed


def _start(open_unit_of_work: OpenUnitOfWork, number: int = 1) -> Message | None:
    with open_unit_of_work() as uow:
        started = uow.outbox.start(UUID(int=number), NOON, LEASE)
        uow.commit()
    return started


def _retry(open_unit_of_work: OpenUnitOfWork, after: timedelta, *, spends: bool = True) -> None:
    with open_unit_of_work() as uow:
        uow.outbox.retry(UUID(int=1), NOON + after, "model.busy", spends_attempt=spends)
        uow.commit()


def test_a_message_comes_back_as_it_was(open_unit_of_work: OpenUnitOfWork) -> None:
    assert _owe(open_unit_of_work, _message(1)) == [True]
    assert _claim(open_unit_of_work) == [_message(1)]


def test_what_was_rolled_back_is_not_owed(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        uow.outbox.add(_message(1))
    assert _claim(open_unit_of_work) == []


def test_while_one_waits_unstarted_another_of_its_key_adds_nothing(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    # More often than a statement is run before the driver prepares it.
    copies = [_message(number, "same") for number in range(1, 13)]
    assert _owe(open_unit_of_work, *copies) == [True] + [False] * 11
    _claim(open_unit_of_work)
    assert _owe(open_unit_of_work, _message(20, "same")) == [False]
    _start(open_unit_of_work)
    assert _owe(open_unit_of_work, _message(20, "same"), _message(21, "same")) == [True, False]
    with open_unit_of_work() as uow:
        assert uow.outbox.pending() == 2


def test_eight_threads_that_owe_the_same_work_owe_it_once(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    tasks = [partial(_owe, open_unit_of_work, _message(n, "same")) for n in range(1, 9)]
    assert sorted(together(tasks), key=str) == [[False]] * 7 + [[True]]


def test_what_is_claimed_is_not_claimed_again_before_its_lease_ran_out(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    assert len(_claim(open_unit_of_work)) == 1
    assert _claim(open_unit_of_work, after=LEASE - MOMENT) == []
    assert _claim(open_unit_of_work, after=LEASE) == [_message(1)]


def test_what_was_started_and_left_is_claimed_again_and_its_attempt_stays_counted(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    _claim(open_unit_of_work)
    assert _start(open_unit_of_work) == replace(_message(1), attempts=1)
    assert _claim(open_unit_of_work, after=LEASE - MOMENT) == []
    assert _claim(open_unit_of_work, after=LEASE) == [replace(_message(1), attempts=1)]
    assert _start(open_unit_of_work) == replace(_message(1), attempts=2)


def test_an_attempt_counts_with_the_transaction_of_its_caller(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    with open_unit_of_work() as uow:
        uow.outbox.start(UUID(int=1), NOON, LEASE)
    assert _start(open_unit_of_work) == replace(_message(1), attempts=1)


@pytest.mark.parametrize("end", ["done", "give_up"])
def test_what_is_done_or_given_up_is_neither_claimed_nor_started(
    open_unit_of_work: OpenUnitOfWork, end: str
) -> None:
    _owe(open_unit_of_work, _message(1))
    with open_unit_of_work() as uow:
        if end == "done":
            uow.outbox.done(UUID(int=1), NOON)
        else:
            uow.outbox.give_up(UUID(int=1), NOON, "some.code")
        uow.commit()
    assert _claim(open_unit_of_work, after=10 * LEASE) == []
    assert _start(open_unit_of_work) is None
    _retry(open_unit_of_work, timedelta(0))
    assert _claim(open_unit_of_work, after=10 * LEASE) == []
    with open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0
    assert _owe(open_unit_of_work, replace(_message(2), coalesce_key="1")) == [True]


def test_a_retry_waits_until_it_is_due(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(open_unit_of_work, _message(1))
    _start(open_unit_of_work)
    _retry(open_unit_of_work, timedelta(hours=1))
    assert _claim(open_unit_of_work, after=timedelta(hours=1) - MOMENT) == []
    assert _claim(open_unit_of_work, after=timedelta(hours=1)) == [replace(_message(1), attempts=1)]


def test_waiting_for_an_outside_system_spends_no_attempt(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(open_unit_of_work, _message(1))
    for _ in range(3):
        assert _start(open_unit_of_work) == replace(_message(1), attempts=1)
        _retry(open_unit_of_work, timedelta(0), spends=False)


def test_a_retry_beside_newer_work_of_its_key_harms_neither(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1, "same"))
    _start(open_unit_of_work)
    assert _owe(open_unit_of_work, _message(2, "same")) == [True]
    _retry(open_unit_of_work, timedelta(0))
    assert UUID(int=2) in {message.message_id for message in _claim(open_unit_of_work)}


def test_two_workers_that_claim_at_once_never_share_a_message(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    identities = SeededIdentities()
    owed = [replace(_message(n), message_id=identities.new()) for n in range(200)]
    _owe(open_unit_of_work, *owed)

    def work() -> list[Message]:
        mine: list[Message] = []
        while claimed := _claim(open_unit_of_work, limit=7):
            mine += claimed
        return mine

    shares = together([work] * 4)
    claimed = [
        message.message_id for share in shares if isinstance(share, list) for message in share
    ]
    assert sorted(claimed) == sorted(message.message_id for message in owed)


def test_a_claimer_does_not_wait_for_another_that_has_not_committed(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1), _message(2))
    with open_unit_of_work() as slow:
        assert len(slow.outbox.claim(1, NOON, LEASE)) == 1
        assert len(_claim(open_unit_of_work)) == 1
    assert len(_claim(open_unit_of_work)) == 1  # the slow one was rolled back


def test_the_bell_rings_once_the_work_can_be_seen_and_only_then(
    open_unit_of_work: OpenUnitOfWork, database_url: str
) -> None:
    with open_doorbell(database_url) as bell:
        with open_unit_of_work() as uow:
            uow.outbox.add(_message(1))
            assert not bell.wait(0.2)
            uow.commit()
        assert bell.wait(10)
        _owe(open_unit_of_work, _message(1 + 1, "1"))
        assert not bell.wait(0.2)


def test_what_was_given_up_is_told_and_is_owed_again_once(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1), _message(2), _message(3))
    for number in (1, 2):
        _claim(open_unit_of_work)
        _start(open_unit_of_work, number)
        with open_unit_of_work() as uow:
            uow.outbox.give_up(UUID(int=number), NOON + number * MOMENT, "model.nonsense")
            uow.commit()
    service = QuarantineService(
        open_unit_of_work=open_unit_of_work,
        clock=SettableClock(NOON + timedelta(hours=80)),
        identities=SeededIdentities(0),
    )
    assert [each.message_id.int for each in service.given_up(10)] == [2, 1]
    told = service.given_up(1)[0]
    assert (told.kind, told.attempts, told.error_code) == (MessageKind.PREDICT, 1, "model.nonsense")

    service.redrive(UUID(int=1), "operator-a")
    with pytest.raises(NotGivenUpError):
        service.redrive(UUID(int=1), "operator-a")
    for number in (3, 99):  # one that is owed, and one that never was
        with pytest.raises(NotGivenUpError):
            service.redrive(UUID(int=number), "operator-a")

    assert [each.message_id.int for each in service.given_up(10)] == [2]
    claimed = _claim(open_unit_of_work, after=timedelta(hours=81))
    assert [
        (each.message_id.int, each.attempts) for each in claimed if each.message_id.int == 1
    ] == [(1, 0)]
    # It waits from now on: else it would be given up again for its age at the first outage.
    assert next(e for e in claimed if e.message_id.int == 1).created_at == NOON + timedelta(
        hours=80
    )
    with open_unit_of_work() as uow:
        (entry,) = uow.audit_log.history(message=str(UUID(int=1)))
    assert (entry.kind, entry.actor) == (AuditKind.MESSAGE_REDRIVEN, "operator-a")
