"""Celery's consumer, but for what it does with what it cannot read: rejected, so that RabbitMQ buries it.

As shipped, a body that is no JSON is acknowledged and gone. It knows that something is unreadable,
not what it says, and repeats none of it.
"""

from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer
from typing_extensions import override

from adapters import telemetry
from pipelines.tasks.queues import dead_queue

_CELERY = get_logger("celery.worker.consumer")
_LOG = telemetry.logger(__name__)


class BuryingConsumer(consumer.Consumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

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
