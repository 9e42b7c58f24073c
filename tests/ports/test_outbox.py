"""Port Outbox: work owed is remembered, shared out without overlap, and never forgotten."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine

from adapters.db.doorbell import open_doorbell
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.audit.entry import AuditKind
from clinical.services.messages import Backlog, Message, MessageKind, TakenOverError, Urgency
from clinical.services.ports import OpenUnitOfWork, Outbox
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


_CLOCK = SettableClock()  # what tests put in the place of the database's clock


@pytest.fixture
def open_unit_of_work(engine: Engine) -> OpenUnitOfWork:
    _CLOCK.moment = NOON
    return unit_of_work_factory(engine, moment=_CLOCK.now)


def _claim(
    open_unit_of_work: OpenUnitOfWork,
    limit: int = 10,
    after: timedelta = MOMENT * 0,
    least: Urgency = Urgency.BACKFILL,
) -> list[Message]:
    _CLOCK.moment = NOON + after
    with open_unit_of_work() as uow:
        claimed = uow.outbox.claim(limit, LEASE, least=least)
        uow.commit()
    _CLOCK.moment = NOON
    return claimed


def _begin(open_unit_of_work: OpenUnitOfWork, number: int = 1) -> Message:
    started = _start(open_unit_of_work, number)
    assert started is not None
    return started


def _start(
    open_unit_of_work: OpenUnitOfWork, number: int = 1, *, takes_over: bool = True
) -> Message | None:
    with open_unit_of_work() as uow:
        started = uow.outbox.start(UUID(int=number), LEASE, takes_over=takes_over)
        uow.commit()
    return started


def _retry(
    open_unit_of_work: OpenUnitOfWork, message: Message, after: timedelta, *, spends: bool = True
) -> None:
    with open_unit_of_work() as uow:
        uow.outbox.retry(message, after, "model.busy", spends_attempt=spends)
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
        uow.outbox.start(UUID(int=1), LEASE)
    assert _start(open_unit_of_work) == replace(_message(1), attempts=1)


@pytest.mark.parametrize("end", ["done", "give_up"])
def test_what_is_done_or_given_up_is_neither_claimed_nor_started(
    open_unit_of_work: OpenUnitOfWork, end: str
) -> None:
    _owe(open_unit_of_work, _message(1))
    message = _begin(open_unit_of_work)
    with open_unit_of_work() as uow:
        if end == "done":
            uow.outbox.done(message)
        else:
            uow.outbox.give_up(message, "some.code")
        uow.commit()
    assert _claim(open_unit_of_work, after=10 * LEASE) == []
    assert _start(open_unit_of_work) is None
    with pytest.raises(TakenOverError):
        _retry(open_unit_of_work, message, timedelta(0))
    assert _claim(open_unit_of_work, after=10 * LEASE) == []
    with open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0
    assert _owe(open_unit_of_work, replace(_message(2), coalesce_key="1")) == [True]


def test_a_retry_waits_until_it_is_due(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(open_unit_of_work, _message(1))
    _retry(open_unit_of_work, _begin(open_unit_of_work), timedelta(hours=1))
    assert _claim(open_unit_of_work, after=timedelta(hours=1) - MOMENT) == []
    assert _claim(open_unit_of_work, after=timedelta(hours=1)) == [replace(_message(1), attempts=1)]


def test_waiting_for_an_outside_system_spends_no_attempt(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(open_unit_of_work, _message(1))
    for _ in range(3):
        started = _begin(open_unit_of_work)
        assert started == replace(_message(1), attempts=1)
        _retry(open_unit_of_work, started, timedelta(0), spends=False)


def test_a_retry_beside_newer_work_of_its_key_harms_neither(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1, "same"))
    started = _begin(open_unit_of_work)
    assert _owe(open_unit_of_work, _message(2, "same")) == [True]
    _retry(open_unit_of_work, started, timedelta(0))
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
        assert len(slow.outbox.claim(1, LEASE)) == 1
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
        started = _begin(open_unit_of_work, number)
        _CLOCK.moment = NOON + number * MOMENT
        with open_unit_of_work() as uow:
            uow.outbox.give_up(started, "model.nonsense")
            uow.commit()
    service = QuarantineService(
        open_unit_of_work=open_unit_of_work,
        clock=SettableClock(NOON + timedelta(hours=80)),
        identities=SeededIdentities(0),
    )
    assert [each.message_id.int for each in service.given_up(10)] == [2, 1]
    told = service.given_up(1)[0]
    assert (told.kind, told.attempts, told.error_code) == (MessageKind.PREDICT, 1, "model.nonsense")

    _CLOCK.moment = NOON + timedelta(hours=80)
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


def test_whoever_lost_a_message_settles_nothing_and_keeps_nothing(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1), _message(2))
    ghost = _begin(open_unit_of_work)
    assert _claim(open_unit_of_work, after=LEASE) != []  # the lease ran out
    mine = _begin(open_unit_of_work)
    settlements: list[Callable[[Outbox], None]] = [
        lambda outbox: outbox.done(ghost),
        lambda outbox: outbox.give_up(ghost, "some.code"),
        lambda outbox: outbox.retry(ghost, MOMENT, "some.code"),
    ]
    for settle in settlements:
        with open_unit_of_work() as uow:
            uow.outbox.add(_message(3))
            with pytest.raises(TakenOverError):
                settle(uow.outbox)
    with open_unit_of_work() as uow:
        assert not uow.outbox.extend(ghost, LEASE)
        uow.outbox.done(mine)
        uow.commit()
        assert uow.outbox.pending() == 1


def test_a_late_commit_is_refused_also_when_both_commit_at_once(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    ghost, mine = _begin(open_unit_of_work), _begin(open_unit_of_work)

    def settle(message: Message) -> None:
        with open_unit_of_work() as uow:
            uow.outbox.done(message)
            uow.commit()

    ended = together([partial(settle, ghost), partial(settle, mine)])
    assert [type(each) for each in ended] == [TakenOverError, type(None)]


def test_a_second_copy_of_an_id_leaves_whoever_is_at_it_alone(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    _claim(open_unit_of_work)
    assert _start(open_unit_of_work, takes_over=False) is not None  # claimed is not yet begun
    assert _start(open_unit_of_work, takes_over=False) is None
    _CLOCK.moment = NOON + LEASE
    assert _start(open_unit_of_work, takes_over=False) is not None  # nobody is at it any more
    assert _start(open_unit_of_work, takes_over=True) is not None


def test_a_lease_is_extended_while_the_work_goes_on_and_not_after(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1))
    message = _begin(open_unit_of_work)
    _CLOCK.moment = NOON + LEASE / 2
    with open_unit_of_work() as uow:
        assert uow.outbox.extend(message, LEASE)
        uow.commit()
    assert _claim(open_unit_of_work, after=LEASE) == []
    _retry(open_unit_of_work, message, timedelta(0))
    with open_unit_of_work() as uow:
        assert not uow.outbox.extend(message, LEASE)
    assert len(_claim(open_unit_of_work)) == 1


def test_the_urgent_go_first_and_the_rest_may_be_left(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(
        open_unit_of_work,
        replace(_message(1), urgency=Urgency.BACKFILL),
        replace(_message(2), urgency=Urgency.REFRESH),
        _message(3),
    )
    assert [m.message_id.int for m in _claim(open_unit_of_work, limit=1)] == [3]
    assert _claim(open_unit_of_work, least=Urgency.LIVE) == []
    assert [m.message_id.int for m in _claim(open_unit_of_work, least=Urgency.REFRESH)] == [2]
    assert [m.message_id.int for m in _claim(open_unit_of_work)] == [1]


def test_news_make_work_that_waits_as_urgent_as_they_are(open_unit_of_work: OpenUnitOfWork) -> None:
    _owe(open_unit_of_work, replace(_message(1, "same"), urgency=Urgency.BACKFILL))
    assert _owe(open_unit_of_work, _message(2, "same")) == [False]
    assert _owe(open_unit_of_work, replace(_message(3, "same"), urgency=Urgency.REFRESH)) == [False]
    claimed = _claim(open_unit_of_work, least=Urgency.LIVE)
    assert [(m.message_id.int, m.urgency) for m in claimed] == [(1, Urgency.LIVE)]


def test_what_was_handed_to_the_broker_and_never_begun_is_let_go_of(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, _message(1), _message(2))
    _claim(open_unit_of_work)
    _begin(open_unit_of_work, 2)
    patience = timedelta(seconds=10)

    def release(after: timedelta) -> int:
        _CLOCK.moment = NOON + after
        with open_unit_of_work() as uow:
            count = uow.outbox.release_unbegun(LEASE, patience)
            uow.commit()
        return count

    assert release(patience) == 0
    assert release(patience + MOMENT) == 1
    assert [m.message_id.int for m in _claim(open_unit_of_work)] == [1]


def test_the_backlog_is_the_live_work_owed_and_how_late_it_is(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _owe(open_unit_of_work, *[_message(n) for n in range(1, 6)])
    _owe(open_unit_of_work, replace(_message(9), urgency=Urgency.BACKFILL))
    _claim(open_unit_of_work, limit=1)
    _CLOCK.moment = NOON + timedelta(seconds=7)
    with open_unit_of_work() as uow:
        assert uow.outbox.backlog(100) == Backlog(num_messages=5, lateness=timedelta(seconds=7))
        assert uow.outbox.backlog(3).num_messages == 3
        _CLOCK.moment = NOON - timedelta(hours=1)
        assert uow.outbox.backlog(100).lateness == timedelta(0)


def test_leases_go_by_the_databases_clock(engine: Engine) -> None:
    """However wrong the clock of a process: it is not asked."""
    open_unit_of_work = unit_of_work_factory(engine)
    _owe(open_unit_of_work, replace(_message(1), created_at=NOON + timedelta(days=9_999)))
    with open_unit_of_work() as uow:
        (message,) = uow.outbox.claim(1, LEASE)
        uow.commit()
    with open_unit_of_work() as uow:
        now = datetime.now(UTC)  # noqa: TID251 - the database runs on this machine
        assert abs(message.created_at - now) < timedelta(minutes=1)
        assert uow.outbox.claim(1, LEASE) == []
