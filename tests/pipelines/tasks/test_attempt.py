"""One attempt at a message: every way in which it can end, on a real outbox."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from adapters.clock import TimeOrderedIdentities
from adapters.db.engine import create_engine
from adapters.db.errors import StorageUnavailableError
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.audit.entry import Act, AuditEntry, AuditKind
from clinical.errors import RejectedError
from clinical.prediction.registry import ModelNotPromotedError, ModelStoppedError
from clinical.review.review import StaleVersionError
from clinical.services.messages import MAX_ATTEMPTS, Message, MessageKind
from clinical.services.ports import ModelBusyError, ModelUnavailableError, OpenUnitOfWork
from pipelines.tasks.attempt import LONGEST_WAIT, Bench, Outcome, attempt
from tests.pipelines.tasks.owing import SetClock, message_for, owe

pytestmark = pytest.mark.integration

LEASE = timedelta(seconds=120)
Attempt = Callable[[UUID], Outcome]


class Worked:
    """Work that fails as told, or settles its message as a service does in its commit."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, clock: SetClock) -> None:
        self.open_unit_of_work = open_unit_of_work
        self.clock = clock
        self.error: Exception | None = None
        self.acts: list[Act] = []
        self.bench = Bench(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=TimeOrderedIdentities(),
            lease=LEASE,
            work={MessageKind.PREDICT: self},
        )

    def __call__(self, message: Message, act: Act) -> None:
        self.acts.append(act)
        if self.error is not None:
            raise self.error
        with self.open_unit_of_work() as uow:
            uow.outbox.done(message)
            uow.commit()

    def attempt(self, message_id: UUID) -> Outcome:
        return attempt(self.bench, message_id)

    def claimable(self) -> list[Message]:
        """What a relay would find now; looked at and left."""
        with self.open_unit_of_work() as uow:
            return uow.outbox.claim(100, LEASE)

    def pending(self) -> int:
        with self.open_unit_of_work() as uow:
            return uow.outbox.pending()

    def abandoned(self, message_id: UUID) -> list[AuditEntry]:
        with self.open_unit_of_work() as uow:
            entries = uow.audit_log.history(message=str(message_id))
        return [entry for entry in entries if entry.kind is AuditKind.MESSAGE_ABANDONED]


@pytest.fixture
def worked(open_unit_of_work: OpenUnitOfWork, clock: SetClock) -> Worked:
    return Worked(open_unit_of_work, clock)


def test_a_message_that_arrives_again_after_it_was_done_does_nothing(worked: Worked) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    assert worked.attempt(message_id) is Outcome.DONE
    assert worked.attempt(message_id) is Outcome.NOTHING_TO_DO
    assert worked.attempt(uuid4()) is Outcome.NOTHING_TO_DO
    assert len(worked.acts) == 1
    assert worked.acts[0].request_id == str(message_id)
    assert worked.pending() == 0


def test_what_is_rejected_is_given_up_at_once_with_an_audit_entry(worked: Worked) -> None:
    message = message_for(worked.clock)
    message_id = owe(worked.open_unit_of_work, message)
    worked.error = RejectedError("no")
    assert worked.attempt(message_id) is Outcome.GIVEN_UP
    assert worked.attempt(message_id) is Outcome.NOTHING_TO_DO
    assert worked.pending() == 0
    (entry,) = worked.abandoned(message_id)
    assert entry.refs["why"] == "clinical.rejected"
    # The subject of a prediction is a patient: the audit log does not name it.
    assert str(message.subject_id) not in entry.canonical().decode()


def test_an_unexpected_error_is_retried_later_and_given_up_at_the_last_attempt(
    worked: Worked,
) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    worked.error = ZeroDivisionError("boom")
    pauses = []
    for _ in range(MAX_ATTEMPTS - 1):
        assert worked.attempt(message_id) is Outcome.RETRIED
        assert worked.claimable() == []
        seconds = 0
        while not worked.claimable():
            worked.clock.advance(seconds=0.25)
            seconds += 1
        pauses.append(seconds / 4)
    assert pauses == sorted(pauses)
    assert 0.75 <= pauses[0] <= 1.5
    assert 6 <= pauses[-1] <= 10.25
    assert worked.attempt(message_id) is Outcome.GIVEN_UP
    (entry,) = worked.abandoned(message_id)
    assert (entry.refs["why"], entry.refs["attempts"]) == ("clinical.broken", "5")
    assert worked.claimable() == []


@pytest.mark.parametrize("error", [ModelUnavailableError("down"), ModelBusyError("full")])
def test_a_model_that_is_down_or_busy_for_hours_uses_up_no_attempt(
    worked: Worked, error: Exception
) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    worked.error = error
    longest = timedelta(0)
    for _ in range(12):
        assert worked.attempt(message_id) is Outcome.WAITING
        since = worked.clock.now()
        while not worked.claimable():
            worked.clock.advance(seconds=2)
        longest = max(longest, worked.clock.now() - since)
        worked.clock.advance(minutes=30)
    assert longest <= timedelta(seconds=76 if isinstance(error, ModelUnavailableError) else 8)
    worked.error = None
    assert worked.attempt(message_id) is Outcome.DONE
    assert worked.abandoned(message_id) == []


def test_after_days_of_waiting_it_is_given_up_and_said_so(worked: Worked) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    worked.error = ModelUnavailableError("down")
    worked.clock.advance(seconds=LONGEST_WAIT.total_seconds() + 1)
    assert worked.attempt(message_id) is Outcome.GIVEN_UP
    assert worked.abandoned(message_id)[0].refs["why"] == "model.unavailable"


@pytest.mark.parametrize("error", [ModelStoppedError, ModelNotPromotedError])
def test_what_waits_for_people_to_decide_about_a_model_waits_as_long_as_they_take(
    worked: Worked, error: type[Exception]
) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    worked.error = error("not now")
    worked.clock.advance(seconds=LONGEST_WAIT.total_seconds() + 1)
    assert worked.attempt(message_id) is Outcome.WAITING
    worked.error = None
    assert worked.attempt(message_id) is Outcome.DONE


def test_a_lost_race_for_a_review_is_tried_again_not_refused(worked: Worked) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    worked.error = StaleVersionError("moved")
    assert worked.attempt(message_id) is Outcome.WAITING
    worked.error = None
    assert worked.attempt(message_id) is Outcome.DONE


def test_work_that_kills_whoever_does_it_is_given_up_with_an_audit_entry(worked: Worked) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    for _ in range(
        MAX_ATTEMPTS
    ):  # counted in a commit before the work; then nothing more was heard
        with worked.open_unit_of_work() as uow:
            assert uow.outbox.start(message_id, LEASE) is not None
            uow.commit()
    assert worked.attempt(message_id) is Outcome.GIVEN_UP
    assert worked.acts == []
    assert worked.abandoned(message_id)[0].refs["why"] == "message.attempts_exhausted"


def test_a_killed_attempt_comes_back_when_its_lease_has_run_out(worked: Worked) -> None:
    message_id = owe(worked.open_unit_of_work, message_for(worked.clock))
    with worked.open_unit_of_work() as uow:
        uow.outbox.start(message_id, LEASE)
        uow.commit()
    assert worked.claimable() == []
    worked.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert [message.message_id for message in worked.claimable()] == [message_id]
    assert worked.attempt(message_id) is Outcome.DONE


def test_without_a_database_the_attempt_says_so_and_changes_nothing(clock: SetClock) -> None:
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    worked = Worked(unit_of_work_factory(engine), clock)
    with pytest.raises(StorageUnavailableError):
        worked.attempt(uuid4())
    assert worked.acts == []
