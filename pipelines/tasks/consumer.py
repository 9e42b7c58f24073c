"""Celery's consumer, but for what it does with what it cannot read, and how soon it comes back.

As shipped, a body that is no JSON is acknowledged and gone; here it is rejected, so that RabbitMQ
buries it. And two defaults cost seconds after a broker was gone: the pause before the next try to
connect grows to thirty, and a quorum queue brings along twenty-eight more for delayed delivery, which
this service never uses (all its timers are in PostgreSQL) and which RabbitMQ recovers one by one.
It knows that something is unreadable, not what it says, and repeats none of it.
"""

from functools import partial
from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer
from typing_extensions import override

from adapters import telemetry
from pipelines.tasks.queues import dead_queue

_CELERY = get_logger("celery.worker.consumer")
_LOG = telemetry.logger(__name__)


_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 2.0
_UNUSED_STEP = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class OutboxConsumer(consumer.Consumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        """The steps of starting to consume."""

        default_steps = tuple(
            step for step in consumer.Consumer.Blueprint.default_steps if step != _UNUSED_STEP
        )

    @override
    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=_FIRST_PAUSE_SECONDS,
            interval_step=_FIRST_PAUSE_SECONDS,
            interval_max=_LONGEST_PAUSE_SECONDS,
        )
        return super().ensure_connected(conn)

    @override
    def connect(self) -> Any:
        """Before anything can be rejected there is a place for it: RabbitMQ drops what has none."""
        connection = super().connect()
        if connection.transport.driver_type == "amqp":
            dead_queue()(connection.default_channel).declare()  # type: ignore[no-untyped-call]
        return connection

    @override
    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._bury(message)

    @override
    def on_unknown_message(self, body: object, message: Any) -> None:
        self._bury(message)

    @override
    def on_unknown_task(self, body: object, message: Any, exc: Exception) -> None:
        self._bury(message)

    @override
    def on_invalid_task(self, body: object, message: Any, exc: Exception) -> None:
        self._bury(message)

    def _bury(self, message: Any) -> None:
        _LOG.warning("unreadable message rejected")
        message.reject_log_error(_CELERY, self.connection_errors)
