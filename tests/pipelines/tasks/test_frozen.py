"""A worker that is frozen past its lease, in a process of its own: what it commits late is refused."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID

import pytest

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.audit.entry import Act, AuditKind
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import OpenUnitOfWork
from pipelines.tasks.attempt import Bench, Outcome, attempt
from tests.pipelines.tasks.owing import SetClock, message_for, owe
from tests.stack import wait_until

pytestmark = pytest.mark.integration

LEASE = timedelta(seconds=1)


def _bench(open_unit_of_work: OpenUnitOfWork, begun: Path, may_end: Path) -> Bench:
    """Work that says when it has begun, goes on until it may end, and leaves an audit entry."""

    def work(message: Message, act: Act) -> None:
        begun.touch()
        wait_until(may_end.exists)
        with open_unit_of_work() as uow:
            entry_id = TimeOrderedIdentities().new()
            uow.audit_log.append(act.entry(entry_id, AuditKind.AUDIT_RUN, pid=os.getpid()))
            uow.outbox.done(message)
            uow.commit()

    return Bench(
        open_unit_of_work=open_unit_of_work,
        clock=SystemClock(),
        identities=TimeOrderedIdentities(),
        lease=LEASE,
        work={MessageKind.PREDICT: work},
    )


def _work_elsewhere(url: str, message_id: UUID, folder: Path, told: Connection) -> None:
    engine = create_engine(url)
    bench = _bench(unit_of_work_factory(engine), folder / "begun", folder / "may end")
    told.send(attempt(bench, message_id))
    engine.dispose()


@pytest.fixture
def by_the_database(url: str) -> Iterator[OpenUnitOfWork]:
    engine = create_engine(url)
    yield unit_of_work_factory(engine)
    engine.dispose()


def _claimed(open_unit_of_work: OpenUnitOfWork) -> list[UUID]:
    with open_unit_of_work() as uow:
        claimed = uow.outbox.claim(10, LEASE)
        uow.commit()
    return [message.message_id for message in claimed]


def test_what_a_worker_frozen_past_its_lease_commits_late_is_refused(
    by_the_database: OpenUnitOfWork, url: str, tmp_path: Path
) -> None:
    message_id = owe(by_the_database, message_for(SetClock()))
    here, there = multiprocessing.Pipe(duplex=False)
    start = multiprocessing.get_context("spawn").Process(
        target=_work_elsewhere, args=(url, message_id, tmp_path, there)
    )
    start.start()
    assert start.pid is not None
    wait_until((tmp_path / "begun").exists)
    time.sleep(2 * LEASE.total_seconds())
    assert _claimed(by_the_database) == []  # it works on, and says so

    os.kill(start.pid, signal.SIGSTOP)
    wait_until(lambda: _claimed(by_the_database) == [message_id])
    (tmp_path / "may end").touch()
    bench = _bench(by_the_database, tmp_path / "begun", tmp_path / "may end")
    assert attempt(bench, message_id) is Outcome.DONE

    os.kill(start.pid, signal.SIGCONT)
    assert here.poll(30)
    assert here.recv() is Outcome.REFUSED
    start.join(30)
    with by_the_database() as uow:
        entries = uow.audit_log.history()
        assert [entry.refs.get("pid") for entry in entries] == [str(os.getpid())]
        assert uow.outbox.pending() == 0
