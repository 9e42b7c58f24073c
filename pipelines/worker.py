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

from celery import Celery, signals
from celery.exceptions import Reject
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from adapters import telemetry
from adapters.assembly.worker import Broker, Parts, WorkerProcess
from clinical.errors import OperationalError
from clinical.services.messages import MessageKind
from pipelines import folder_transport
from pipelines.tasks import intake, prediction, writeback
from pipelines.tasks.attempt import Bench, attempt
from pipelines.tasks.outbox import Relay

QUEUE = "clinical"
DEAD_QUEUE = "clinical.dead"
TASK = "clinical.work"
_DELIVERY_LIMIT = 8
_CONFIRM_SECONDS = 10.0
_HIDDEN = "(hidden)"

_LOG = telemetry.logger(__name__)


def create_app(broker: Broker, open_parts: Callable[[], Parts]) -> Celery:
    """The app for that broker; `open_parts` is called once in each process that works."""
    app = Celery("clinical", set_as_current=False)
    app.conf.update(_SETTINGS, **_broker_settings(broker))
    parts = _PerProcess(open_parts)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def work(message_id: str) -> None:
        try:
            attempt(bench(parts()), UUID(message_id))
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
            MessageKind.WRITE_BACK: lambda *what: writeback.tell(parts.write_backs, *what),
        },
    )


def run(process: WorkerProcess, *, say_ready: Callable[[], None]) -> int:
    """Work until told to stop; the exit code."""
    app = create_app(process.broker, process.open_parts)
    _run_relay_beside(app, process.open_parts, say_ready)
    signals.setup_logging.connect(_leave_logging_alone)
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


def relay(app: Celery, parts: Parts) -> Relay:
    """The relay that publishes to this app's queue."""
    return Relay(
        open_unit_of_work=parts.open_unit_of_work,
        clock=parts.clock,
        audit=parts.audit,
        ledger=parts.ledger,
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
        if connection.transport.driver_type == "amqp":
            dead_queue()(connection.default_channel).declare()  # type: ignore[no-untyped-call]
        self._producer = app.amqp.Producer(connection)

    def depth(self) -> int:
        """How many ids wait for a worker."""
        return int(self._queue.queue_declare(passive=True).message_count)

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


@contextmanager
def open_line(app: Celery) -> Iterator[QueueLine]:
    """A connection of its own for whoever publishes."""
    with app.connection_for_write() as connection:
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


def _run_relay_beside(
    app: Celery, open_parts: Callable[[], Parts], say_ready: Callable[[], None]
) -> None:
    """Run the relay in a thread of the main process from when the pool has been forked."""
    relays: list[Relay] = []

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def start(**_about: object) -> None:
        if relays:  # ready again after the broker was lost
            return
        relays.append(relay(app, open_parts()))
        threading.Thread(target=relays[0].run, name="relay", daemon=True).start()
        say_ready()

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_about: object) -> None:
        for running in relays:
            running.stopping.set()


def _leave_logging_alone(**_about: object) -> None:
    """Connected so that Celery does not set up logging of its own."""


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
    "worker_consumer": "pipelines.consumer:QuickConsumer",
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
        _exchange(QUEUE),
        routing_key=QUEUE,
        durable=True,
        queue_arguments=arguments,
    )


def dead_queue() -> Queue:
    """Where RabbitMQ puts ids that it delivered too often; kept short, for the outbox has them all."""
    return Queue(  # type: ignore[no-untyped-call]
        DEAD_QUEUE,
        _exchange(DEAD_QUEUE),
        routing_key=DEAD_QUEUE,
        durable=True,
        queue_arguments={"x-max-length": 1000},
    )


def _exchange(name: str) -> Exchange:
    return Exchange(name, type="direct", durable=True)  # type: ignore[no-untyped-call]
