"""One attempt at a message: counted before the work, and however it ends, that is written down.

Knows which errors are worth another attempt and when. Does not know the broker: a message that
arrives twice, late, or after it was done, is as good as any other.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from opentelemetry.trace import SpanKind

from adapters import telemetry
from adapters.egress.peer import REQUEST_ID
from adapters.operations import tracing
from adapters.operations.metrics import Unwatched, WatchesWork
from clinical.audit.entry import Act, AuditKind
from clinical.errors import ClinicalError, OperationalError, RejectedError
from clinical.prediction.registry import ModelNotInUseError
from clinical.review.review import StaleVersionError
from clinical.services.messages import MAX_ATTEMPTS, Message, MessageKind, TakenOverError
from clinical.services.ports import Clock, Identities, ModelBusyError, OpenUnitOfWork
from pipelines.tasks.heartbeat import heartbeat

ACTOR = "worker"
LONGEST_WAIT = timedelta(hours=72)
_LONGEST_PAUSE = timedelta(seconds=60)
_LONGEST_PAUSE_WHEN_BUSY = timedelta(seconds=5)

Work = Callable[[Message, Act], None]
_LOG = telemetry.logger(__name__)


class LostMessageError(ClinicalError):
    """Every attempt at the message ended without a word: whatever worked on it was killed."""

    code = "message.attempts_exhausted"


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"  # done or given up before, or somebody is at it
    RETRIED = "retried"  # it failed; an attempt is spent
    WAITING = "waiting"  # something outside is down, busy or faster; no attempt is spent
    GIVEN_UP = "given_up"
    REFUSED = "late commit refused"  # the lease ran out and somebody else has it; nothing was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What an attempt needs: the outbox, and the work to do for each kind of message."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    lease: timedelta
    work: Mapping[MessageKind, Work]
    watch: WatchesWork = field(default_factory=Unwatched)


def attempt(bench: Bench, message_id: UUID, *, takes_over: bool = True) -> Outcome:
    """Do the work that a message owes, unless it is done.

    `takes_over` where whoever had it before is known to be gone; else a worker that is at it stays.

    Raises:
        StorageUnavailableError: nothing could be written down; the message's lease will run out.
    """
    started_at = bench.clock.now()
    with bench.open_unit_of_work() as uow:
        message = uow.outbox.start(message_id, bench.lease, takes_over=takes_over)
        uow.commit()
    if message is None:
        return Outcome.NOTHING_TO_DO
    act = Act(actor=ACTOR, at=started_at, request_id=str(message_id))
    bench.watch.began(str(message_id))
    asking_for = REQUEST_ID.set(act.request_id)
    try:
        with heartbeat(bench.open_unit_of_work, message, bench.lease):
            outcome, error = _traced(bench, message, act)
    except TakenOverError as late:
        outcome, error = Outcome.REFUSED, late
    finally:
        REQUEST_ID.reset(asking_for)
    seconds = (bench.clock.now() - started_at).total_seconds()
    bench.watch.attempted(str(message_id), message.kind.value, outcome.value, seconds)
    _say(message, outcome, error, duration_ms=round(1000 * seconds, 1))
    return outcome


def _traced(bench: Bench, message: Message, act: Act) -> tuple[Outcome, Exception | None]:
    with tracing.span(
        message.kind.value,
        SpanKind.CONSUMER,
        parent=message.trace,
        message_id=str(message.message_id),
        message_kind=message.kind.value,
        attempts=message.attempts,
    ) as span:
        outcome, error = _try(bench, message, act)
        if error is not None:
            tracing.failed(span, error)
        tracing.say(span, outcome=outcome.value)
    return outcome, error


def _try(bench: Bench, message: Message, act: Act) -> tuple[Outcome, Exception | None]:
    # Only kills can spend more attempts than are given up after: an error would have been noted.
    if message.attempts > MAX_ATTEMPTS:
        lost = LostMessageError("whatever worked on the message was killed, each time")
        return _give_up(bench, message, act, lost), lost
    try:
        bench.work[message.kind](message, act)
    except TakenOverError:
        raise
    # A review that a clinician moved in the same instant is a lost race, not a refusal.
    except (OperationalError, StaleVersionError) as error:
        return _wait(bench, message, act, error), error
    except RejectedError as error:
        return _give_up(bench, message, act, error), error
    except Exception as error:  # noqa: BLE001 - whatever it was, the message must not be lost
        if message.attempts >= MAX_ATTEMPTS:
            return _give_up(bench, message, act, error), error
        return _retry(bench, message, error), error
    return Outcome.DONE, None


def _wait(bench: Bench, message: Message, act: Act, error: ClinicalError) -> Outcome:
    # What waits for people to decide about a model waits as long as they take.
    is_for_people = isinstance(error, ModelNotInUseError)
    if message.age > LONGEST_WAIT and not is_for_people:
        return _give_up(bench, message, act, error)
    with bench.open_unit_of_work() as uow:
        uow.outbox.retry(message, pause(message, error), error.code, spends_attempt=False)
        uow.commit()
    return Outcome.WAITING


def pause(message: Message, error: ClinicalError) -> timedelta:
    """How long to leave a message whose work is blocked from outside: half its age, within bounds.

    Waiting in proportion to age is exponential back-off without a count; the jitter keeps messages
    that failed together from coming back together. Whoever said how long to stay away is heeded.
    """
    if isinstance(error, OperationalError) and error.retry_after is not None:
        return max(error.retry_after, timedelta(seconds=1)) * random.uniform(1.0, 1.1)  # noqa: S311
    is_busy = isinstance(error, ModelBusyError | StaleVersionError)
    longest = _LONGEST_PAUSE_WHEN_BUSY if is_busy else _LONGEST_PAUSE
    shortest = timedelta(milliseconds=500)
    return _jittered(min(max(message.age / 2, shortest), longest))


def _retry(bench: Bench, message: Message, error: Exception) -> Outcome:
    after = _jittered(timedelta(seconds=2 ** (message.attempts - 1)))
    with bench.open_unit_of_work() as uow:
        uow.outbox.retry(message, after, _code(error))
        uow.commit()
    return Outcome.RETRIED


def _give_up(bench: Bench, message: Message, act: Act, error: Exception) -> Outcome:
    with bench.open_unit_of_work() as uow:
        uow.outbox.give_up(message, _code(error))
        uow.audit_log.append(
            act.entry(
                bench.identities.new(),
                AuditKind.MESSAGE_ABANDONED,
                message=message.message_id,
                message_kind=message.kind,
                attempts=message.attempts,
                why=_code(error),
            )
        )
        uow.commit()
    return Outcome.GIVEN_UP


def _code(error: Exception) -> str:
    return error.code if isinstance(error, ClinicalError) else ClinicalError.code


def _jittered(length: timedelta) -> timedelta:
    return length * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing


def _say(
    message: Message, outcome: Outcome, error: Exception | None, *, duration_ms: float
) -> None:
    fields: dict[str, object] = {
        "message_id": str(message.message_id),
        "message_kind": message.kind.value,
        "attempts": message.attempts,
        "duration_ms": duration_ms,
    }
    if error is not None:
        fields |= telemetry.error_fields(error)
    say = _LOG.info if outcome is Outcome.DONE else _LOG.warning
    say(f"message {outcome.value}", **fields)
