"""The relay on a real outbox and a real broker folder."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from celery import Celery
from sqlalchemy import make_url

from adapters.assembly.worker import Broker
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.doorbell import open_doorbell
from adapters.notary import Ed25519Notary, is_signature
from clinical.audit.checkpoint import SignatureKind
from clinical.audit.entry import Act, AuditKind
from clinical.services.audit import AuditService
from clinical.services.ledger import LedgerService
from clinical.services.messages import Urgency
from clinical.services.ports import OpenUnitOfWork
from clinical.services.quarantine import QuarantineService
from clinical.services.reaping import ReapingService
from clinical.services.shedding import LoadLimits, SheddingService
from pipelines.tasks.outbox import WINDOW, Relay
from pipelines.tasks.reaper import Reaper
from pipelines.worker import create_app, open_line
from tests.pipelines.tasks.owing import SetClock, message_for, owe

pytestmark = pytest.mark.integration

LEASE = timedelta(seconds=120)
LIMITS = LoadLimits(max_backlog=100, max_lateness=timedelta(hours=9), min_free_bytes=0)


class BrokerDownError(Exception):
    """The broker went away."""


class BrokenLine:
    """A line that breaks after so many ids."""

    def __init__(self, num_good: int) -> None:
        self.num_good = num_good
        self.published: list[UUID] = []

    def depth(self) -> int:
        return 0

    def publish(self, message_id: UUID) -> None:
        if len(self.published) == self.num_good:
            raise BrokerDownError
        self.published.append(message_id)

    def drain(self, _bury: object) -> int:
        return 0


@pytest.fixture
def app(folder: Path) -> Celery:
    def open_parts() -> object:
        raise AssertionError("the relay does no work")

    return create_app(Broker(url=None, folder=folder), open_parts)  # type: ignore[arg-type]


@pytest.fixture
def make_relay(
    app: Celery, url: str, open_unit_of_work: OpenUnitOfWork
) -> Callable[[object], Relay]:
    def make(clock: object) -> Relay:
        return Relay(
            open_unit_of_work=open_unit_of_work,
            clock=clock,  # type: ignore[arg-type]
            audit=AuditService(open_unit_of_work=open_unit_of_work, clock=SystemClock()),
            ledger=LedgerService(
                open_unit_of_work=open_unit_of_work,
                clock=SystemClock(),
                notary=Ed25519Notary.of("log", SignatureKind.LOG, bytes(32)),
                check=is_signature,
            ),
            quarantine=QuarantineService(
                open_unit_of_work=open_unit_of_work,
                clock=SystemClock(),
                identities=TimeOrderedIdentities(),
            ),
            shedding=SheddingService(
                open_unit_of_work=open_unit_of_work,
                limits=LIMITS,
                elapsed=time.monotonic,
                free_bytes=lambda: None,
            ),
            reaper=Reaper(
                ReapingService(
                    open_unit_of_work=open_unit_of_work,
                    clock=SystemClock(),
                    identities=TimeOrderedIdentities(),
                ),
                LEASE,
            ),
            lease=LEASE,
            open_line=lambda: open_line(app),
            open_doorbell=lambda: open_doorbell(url),
        )

    return make


def _published(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted((folder / "messages").iterdir())]


def test_an_id_is_published_once_and_again_only_when_its_lease_has_run_out(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    relay = make_relay(clock)
    owe(open_unit_of_work, message_for(clock))
    with open_line(app) as line:
        relay.publish(line)
        relay.publish(line)
        assert line.depth() == 1
        clock.advance(seconds=LEASE.total_seconds() + 1)
        relay.publish(line)
        assert line.depth() == 2


def test_the_broker_is_told_an_id_and_nothing_else(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    folder: Path,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    message = message_for(clock)
    owe(open_unit_of_work, message)
    with open_line(app) as line:
        make_relay(clock).publish(line)
    (published,) = _published(folder)
    assert str(message.subject_id) not in published
    assert str(message.message_id) not in published  # the body is base64; no header repeats it
    assert "(hidden)" in published


def test_no_more_ids_lie_in_the_broker_than_the_window_has_room_for(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    relay = make_relay(clock)
    for _ in range(WINDOW + 5):
        owe(open_unit_of_work, message_for(clock))
    with open_line(app) as line:
        assert relay.publish(line) is True
        assert line.depth() == WINDOW
        assert relay.publish(line) is True
        assert line.depth() == WINDOW


def test_when_the_broker_breaks_midway_nothing_is_marked_and_all_is_published_later(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    relay = make_relay(clock)
    for _ in range(3):
        owe(open_unit_of_work, message_for(clock))
    with pytest.raises(BrokerDownError):
        relay.publish(BrokenLine(num_good=2))
    with open_line(app) as line:
        relay.publish(line)
        assert line.depth() == 3


def test_under_pressure_only_live_work_is_handed_out_and_the_rest_when_it_is_over(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    relay = make_relay(clock)
    old = replace(message_for(clock), urgency=Urgency.BACKFILL)
    again = replace(message_for(clock), urgency=Urgency.REFRESH)
    live = [message_for(clock) for _ in range(LIMITS.max_backlog * 8 // 10)]
    for message in (old, again, *live):
        owe(open_unit_of_work, message)
    published: list[UUID] = []

    def publish() -> None:
        line = BrokenLine(num_good=1000)
        while relay.publish(line):
            pass
        published.extend(line.published)

    publish()
    assert sorted(published) == sorted(message.message_id for message in live)
    for message_id in published:
        with open_unit_of_work() as uow:
            started = uow.outbox.start(message_id, LEASE)
            assert started is not None
            uow.outbox.done(started)
            uow.commit()
    time.sleep(1.1)  # measured once a second
    publish()
    assert published[len(live) :] == [again.message_id, old.message_id]


def test_what_a_wiped_broker_forgot_is_handed_out_again_before_its_lease_ran_out(
    make_relay: Callable[[object], Relay],
    app: Celery,
    clock: SetClock,
    folder: Path,
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    relay = make_relay(clock)
    owe(open_unit_of_work, message_for(clock))
    with open_line(app) as line:
        relay.publish(line)
        for path in (folder / "messages").iterdir():
            path.unlink()
        relay.reaper.turn(line.depth)
        relay.publish(line)
        assert line.depth() == 0  # a worker may be about to begin
        clock.advance(seconds=11)
        make_relay(clock).reaper.turn(line.depth)
        relay.publish(line)
        assert line.depth() == 1


@pytest.fixture
def running(make_relay: Callable[[object], Relay]) -> Iterator[Relay]:
    relay = make_relay(SystemClock())
    thread = threading.Thread(target=relay.run)
    thread.start()
    yield relay
    relay.stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def _wait_for_files(folder: Path, count: int, seconds: float) -> float:
    began = time.monotonic()
    messages = folder / "messages"
    while len(list(messages.iterdir()) if messages.exists() else []) < count:
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


def _owe_now(open_unit_of_work: OpenUnitOfWork) -> None:
    owe(open_unit_of_work, message_for(SetClock()))


def test_a_new_message_rings_and_is_published_without_waiting_for_the_sweep(
    running: Relay, folder: Path, open_unit_of_work: OpenUnitOfWork
) -> None:
    time.sleep(0.5)  # the relay is listening
    waits = []
    for count in range(1, 6):
        _owe_now(open_unit_of_work)
        waits.append(_wait_for_files(folder, count, seconds=5))
    assert sorted(waits)[2] < 0.3


def test_the_relay_outlives_cut_database_connections(
    running: Relay, folder: Path, url: str, open_unit_of_work: OpenUnitOfWork
) -> None:
    _owe_now(open_unit_of_work)
    _wait_for_files(folder, 1, seconds=5)
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    _owe_now(open_unit_of_work)
    _wait_for_files(folder, 2, seconds=15)
    assert len(set(_published(folder))) == 2


def test_audit_entries_get_their_leaves_within_two_seconds(
    running: Relay, open_unit_of_work: OpenUnitOfWork
) -> None:
    act = Act(actor="test", at=SystemClock().now())
    with open_unit_of_work() as uow:
        uow.audit_log.append(act.entry(TimeOrderedIdentities().new(), AuditKind.AUDIT_RUN))
        uow.commit()
    deadline = time.monotonic() + 2
    while True:
        with open_unit_of_work() as uow:
            if not uow.audit_log.unsequenced() and uow.audit_log.head().size == 1:
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)
