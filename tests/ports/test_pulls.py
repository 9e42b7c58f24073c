"""Port Pulls: one job for each question, checkpoints as they were noted, one turn at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from clinical.services.messages import TakenOverError
from clinical.services.ports import (
    BulkFile,
    BulkJob,
    FileKind,
    JobState,
    OpenUnitOfWork,
    PollTurn,
)
from tests.fakes import NOON
from tests.ports.together import together

pytestmark = pytest.mark.integration

LEASE = timedelta(minutes=5)
JOB = BulkJob(
    job_id=UUID(int=1),
    site="north",
    scope="Patient/$export",
    status_url="https://ehr.example/status/1",
    since="",
    begun_at=NOON,
)
FILE = BulkFile(
    job_id=JOB.job_id,
    number=0,
    kind=FileKind.OUTPUT,
    record_type="Patient",
    url="https://ehr.example/file?signature=secret",
    count=2**40,
)


def _begin(open_unit_of_work: OpenUnitOfWork, job: BulkJob) -> bool:
    with open_unit_of_work() as uow:
        begun = uow.pulls.begin(job)
        uow.commit()
    return begun


def _end(open_unit_of_work: OpenUnitOfWork, job: BulkJob, state: JobState) -> None:
    with open_unit_of_work() as uow:
        uow.pulls.end(job.job_id, state)
        uow.commit()


def test_a_job_comes_back_as_it_was_noted(open_unit_of_work: OpenUnitOfWork) -> None:
    assert _begin(open_unit_of_work, JOB)
    listed = replace(
        JOB,
        state=JobState.LISTED,
        transaction_time="2026-03-01T10:00:00.1234567+01:00",
        needs_token=False,
        expires_at=NOON,
    )
    with open_unit_of_work() as uow:
        assert uow.pulls.under_way("north", JOB.scope) == JOB
        uow.pulls.list_files(
            listed, [FILE, replace(FILE, number=1, kind=FileKind.ERROR, count=None)]
        )
        uow.pulls.advance(replace(FILE, num_lines=7, prefix_digest="ab"))
        uow.commit()
    with open_unit_of_work() as uow:
        assert uow.pulls.under_way("north", JOB.scope) == listed
        first, second = uow.pulls.files(JOB.job_id)
    assert first == replace(FILE, num_lines=7, prefix_digest="ab")
    assert second.kind is FileKind.ERROR


def test_of_those_who_begin_the_same_at_once_one_does(open_unit_of_work: OpenUnitOfWork) -> None:
    jobs = [replace(JOB, job_id=UUID(int=number)) for number in range(1, 7)]
    begun = together([partial(_begin, open_unit_of_work, job) for job in jobs])
    assert sorted(map(bool, begun)) == [False] * 5 + [True]
    other = replace(JOB, job_id=UUID(int=9), scope="Group/1/$export")
    assert _begin(open_unit_of_work, other)


def test_only_a_complete_job_says_from_where_to_go_on(open_unit_of_work: OpenUnitOfWork) -> None:
    states = [JobState.DONE, JobState.SHORT, JobState.FAILED, JobState.EXPIRED]
    for number, state in enumerate(states, start=1):
        job = replace(JOB, job_id=UUID(int=number), transaction_time=f"moment {number}")
        assert _begin(open_unit_of_work, job)
        _end(open_unit_of_work, job, state)
    with open_unit_of_work() as uow:
        assert uow.pulls.completed_until("north", JOB.scope) == "moment 1"
        assert uow.pulls.completed_until("south", JOB.scope) == ""


def test_an_ended_job_keeps_no_address_that_may_open_a_door(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _begin(open_unit_of_work, JOB)
    with open_unit_of_work() as uow:
        uow.pulls.list_files(JOB, [FILE])
        uow.pulls.end(JOB.job_id, JobState.DONE)
        assert [each.url for each in uow.pulls.files(JOB.job_id)] == [""]


def _take(open_unit_of_work: OpenUnitOfWork, every: timedelta | None = None) -> PollTurn | None:
    with open_unit_of_work() as uow:
        turn = uow.pulls.take_turn("north", "Observation", LEASE, every)
        uow.commit()
    return turn


def test_of_those_who_take_a_turn_at_once_one_has_it(open_unit_of_work: OpenUnitOfWork) -> None:
    turns = together([partial(_take, open_unit_of_work)] * 6)
    assert sum(turn is not None for turn in turns) == 1


def test_a_watermark_moves_forward_and_never_back(open_unit_of_work: OpenUnitOfWork) -> None:
    turn = _take(open_unit_of_work)
    assert turn is not None
    assert turn.watermark is None
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    with open_unit_of_work() as uow:
        for moment in (late, early, None):
            uow.pulls.move(turn, moment, LEASE)
        uow.pulls.end_turn(turn, "", None)
        uow.commit()
    again = _take(open_unit_of_work)
    assert again is not None
    assert again.watermark == late


def test_who_lost_the_turn_can_neither_move_nor_end_it(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    lost = _take(open_unit_of_work)
    assert lost is not None
    with engine.begin() as connection:
        connection.execute(text("UPDATE polls SET leased_until = now() - interval '1 second'"))
    assert _take(open_unit_of_work) is not None
    with open_unit_of_work() as uow, pytest.raises(TakenOverError):
        uow.pulls.move(lost, NOON, LEASE)
    with open_unit_of_work() as uow, pytest.raises(TakenOverError):
        uow.pulls.end_turn(lost, "", None)


def test_a_turn_is_due_after_its_interval_and_after_what_the_ehr_asked_for(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    turn = _take(open_unit_of_work, timedelta(hours=1))
    assert turn is not None
    with open_unit_of_work() as uow:
        uow.pulls.end_turn(turn, "peer.busy", timedelta(hours=2))
        uow.commit()
    assert _take(open_unit_of_work, timedelta(hours=1)) is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE polls SET begun_at = now() - interval '61 minutes'"))
    assert _take(open_unit_of_work, timedelta(hours=1)) is None  # the EHR wants to be left alone
    with engine.begin() as connection:
        connection.execute(text("UPDATE polls SET due_at = now()"))
    assert _take(open_unit_of_work, timedelta(hours=1)) is not None
