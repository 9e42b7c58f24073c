"""The Celery app: one queue, one task, and the relay as a thread of each worker's main process.

Knows the broker's settings. A task carries the id of a message and nothing else; what the message
owes is in the outbox.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from celery import Celery, Task, signals
from celery.exceptions import Reject
from kombu.connection import Connection
from kombu.entity import Queue

from adapters import telemetry
from adapters.assembly.worker import Broker, Parts, WorkerProcess
from adapters.operations import tracing
from clinical.errors import OperationalError
from clinical.services.messages import MessageKind
from clinical.services.quarantine import QuarantineService
from clinical.services.reaping import ReapingService
from pipelines import folder_transport
from pipelines.beside import Beside
from pipelines.tasks import announcing, intake, notes, prediction, subscription, writeback
from pipelines.tasks.attempt import Bench, attempt
from pipelines.tasks.dead_letters import Bury, drain
from pipelines.tasks.outbox import Relay, Unwatched, Watch
from pipelines.tasks.poller import PollRounds
from pipelines.tasks.queues import DEAD_QUEUE, QUEUE, dead_queue, exchange
from pipelines.tasks.reaper import Reaper

TASK = "clinical.work"
_DELIVERY_LIMIT = 8
_CONFIRM_SECONDS = 10.0
_HEARTBEAT_SECONDS = 10
_HIDDEN = "(hidden)"

_LOG = telemetry.logger(__name__)


def create_app(broker: Broker, open_parts: Callable[[], Parts]) -> Celery:
    """The app for that broker; `open_parts` is called once in each process that works."""
    app = Celery("clinical", set_as_current=False)
    app.conf.update(_SETTINGS, **_broker_settings(broker))
    parts = _PerProcess(open_parts)

    @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
    def work(task: Task, *what: object, **_more: object) -> None:
        # Redelivered: the broker knows that whoever had it is gone. Else it may be a second copy.
        is_again = bool((task.request.delivery_info or {}).get("redelivered"))
        owed_id = _only_id(what)
        try:
            attempt(bench(parts()), owed_id, takes_over=is_again)
        except OperationalError as error:
            # Nothing could be written down, so the database is away: hold this worker back a little
            # and hand the id back. Were it lost too, the message's lease would bring it again.
            _LOG.warning("attempt not recorded", **telemetry.error_fields(error))
            time.sleep(1.0)
            raise Reject(requeue=True) from error

    return app


def bench(parts: Parts) -> Bench:
    """The work of each kind of message, done with these parts."""
    return Bench(
        open_unit_of_work=parts.open_unit_of_work,
        clock=parts.clock,
        identities=parts.identities,
        lease=parts.lease,
        work={
            MessageKind.RECORD_DELIVERY: lambda *what: intake.record(parts.intake, *what),
            MessageKind.PREDICT: lambda *what: prediction.predict(parts.predictions, *what),
            MessageKind.FETCH: lambda *what: subscription.fetch(parts.subscriptions, *what),
            MessageKind.WRITE_BACK: lambda *what: writeback.tell(parts.write_backs, *what),
            MessageKind.TAKE_BACK: lambda *what: writeback.take_back(parts.write_backs, *what),
            MessageKind.CODE_NOTE: lambda *what: notes.code(parts.notes, *what),
            MessageKind.ANNOUNCE: lambda *what: announcing.announce(parts.announcing, *what),
            MessageKind.SEND_WEBHOOK: lambda *what: announcing.send(parts.announcing, *what),
        },
        watch=parts.watch,
    )


def run(process: WorkerProcess, *, say_ready: Callable[[], None]) -> int:
    """Work until told to stop; the exit code."""
    app = create_app(process.broker, process.open_parts)
    _run_relay_beside(app, process, say_ready)
    signals.setup_logging.connect(_leave_logging_alone)
    signals.worker_process_shutdown.connect(_send_last_spans)
    worker = app.Worker(
        hostname=f"worker-{os.getpid()}",
        concurrency=process.concurrency,
        pool="prefork",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def relay(app: Celery, parts: Parts, watch: Watch | None = None) -> Relay:
    """The relay that publishes to this app's queue."""
    return Relay(
        watch=watch or Unwatched(),
        open_unit_of_work=parts.open_unit_of_work,
        clock=parts.clock,
        audit=parts.audit,
        ledger=parts.ledger,
        quarantine=QuarantineService(
            open_unit_of_work=parts.open_unit_of_work,
            clock=parts.clock,
            identities=parts.identities,
        ),
        shedding=parts.shedding,
        reaper=Reaper(
            ReapingService(
                open_unit_of_work=parts.open_unit_of_work,
                clock=parts.clock,
                identities=parts.identities,
            ),
            parts.lease,
        ),
        sweeper=subscription.Sweeper(parts.subscriptions),
        lease=parts.lease,
        open_line=lambda: open_line(app),
        open_doorbell=parts.open_doorbell,
    )


class QueueLine:
    """An open connection to the queue."""

    def __init__(self, app: Celery, connection: Connection) -> None:
        """Declare the queues, so that nothing is published into the void."""
        self._app = app
        self._queue = app.amqp.queues[QUEUE](connection.default_channel)
        self._queue.declare()
        self._channel = connection.default_channel
        self._has_dead_queue = connection.transport.driver_type == "amqp"
        if self._has_dead_queue:
            dead_queue()(self._channel).declare()  # type: ignore[no-untyped-call]
        self._producer = app.amqp.Producer(connection)

    def depth(self) -> int:
        """How many ids wait for a worker."""
        return int(self._queue.queue_declare(passive=True).message_count)

    def drain(self, bury: Bury) -> int:
        """Take some of what the broker gave up, gone from there once `bury` returned; how many."""
        return drain(self._channel, DEAD_QUEUE, bury) if self._has_dead_queue else 0

    def publish(self, message_id: UUID) -> None:
        """Hand over an id; returns once the broker has confirmed it."""
        self._app.send_task(
            TASK,
            (str(message_id),),
            producer=self._producer,
            argsrepr=_HIDDEN,
            kwargsrepr=_HIDDEN,
            confirm_timeout=_CONFIRM_SECONDS,
            retry=False,
        )


def _only_id(what: tuple[object, ...]) -> UUID:
    """The id that a task of ours carries; anything else is rejected, which with RabbitMQ buries it."""
    try:
        (message_id,) = what
        return UUID(str(message_id))
    except ValueError:
        raise Reject("no id", requeue=False) from None


@contextmanager
def open_line(app: Celery) -> Iterator[QueueLine]:
    """A connection of its own for whoever publishes."""
    with app.connection_for_write() as connection:
        if connection.transport.driver_type == "amqp":
            # The consumer has heartbeats; here a link that is silent is noticed by who waits for it.
            connection.transport_options = {
                **connection.transport_options,
                "read_timeout": _CONFIRM_SECONDS,
                "write_timeout": _CONFIRM_SECONDS,
            }
        connection.ensure_connection(max_retries=1, timeout=_CONFIRM_SECONDS)
        yield QueueLine(app, connection)


class _PerProcess:
    """Makes a thing once in each process: what was made before a fork is not used after it."""

    def __init__(self, make: Callable[[], Parts]) -> None:
        self._make = make
        self._made: dict[int, Parts] = {}

    def __call__(self) -> Parts:
        pid = os.getpid()
        if pid not in self._made:
            self._made[pid] = self._make()
        return self._made[pid]


def _run_relay_beside(app: Celery, process: WorkerProcess, say_ready: Callable[[], None]) -> None:
    """Run the relay in a thread of the main process from when the pool has been forked."""
    relays: list[Relay] = []
    besides: list[Beside] = []
    polls: list[PollRounds] = []

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def start(**_about: object) -> None:
        if relays:  # ready again after the broker was lost
            return
        parts = process.open_parts()
        besides.append(Beside(process, parts))
        relays.append(relay(app, parts, besides[0].watch))
        polls.append(PollRounds(parts, process.polled(parts)))
        besides[0].start()
        threading.Thread(target=relays[0].run, name="relay", daemon=True).start()
        polls[0].start()
        say_ready()

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_about: object) -> None:
        for stopping in (*(each.stopping for each in relays), *(each.stopping for each in polls)):
            stopping.set()
        for beside in besides:
            beside.stop()


def _leave_logging_alone(**_about: object) -> None:
    """Connected so that Celery does not set up logging of its own."""


def _send_last_spans(**_about: object) -> None:
    """Connected so that what a child did last is seen, too."""
    tracing.flush()


_SETTINGS: dict[str, Any] = {
    "accept_content": ["json"],
    "broker_connection_max_retries": None,
    "broker_connection_retry_on_startup": True,
    "task_acks_late": True,
    "task_create_missing_queues": False,
    "task_default_queue": QUEUE,
    "task_ignore_result": True,
    "task_reject_on_worker_lost": True,
    "task_serializer": "json",
    "worker_consumer": "pipelines.tasks.consumer:OutboxConsumer",
    "worker_enable_remote_control": False,
    "worker_hijack_root_logger": False,
    "worker_prefetch_multiplier": 1,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": False,
}


def _broker_settings(broker: Broker) -> dict[str, Any]:
    if broker.url is None:
        return {
            "broker_url": folder_transport.URL,
            "broker_transport_options": folder_transport.options(broker.folder),
            "task_queues": [_queue()],
        }
    return {
        "broker_url": broker.url,
        "broker_heartbeat": _HEARTBEAT_SECONDS,
        "broker_transport_options": {"confirm_publish": True},
        "task_queues": [
            _queue(
                {
                    "x-queue-type": "quorum",
                    "x-delivery-limit": _DELIVERY_LIMIT,
                    "x-dead-letter-exchange": DEAD_QUEUE,
                    "x-dead-letter-routing-key": DEAD_QUEUE,
                }
            )
        ],
    }


def _queue(arguments: dict[str, object] | None = None) -> Queue:
    return Queue(  # type: ignore[no-untyped-call]
        QUEUE,
        exchange(QUEUE),
        routing_key=QUEUE,
        durable=True,
        queue_arguments=arguments,
    )
