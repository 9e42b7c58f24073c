"""Celery's consumer, made quick to come back after its broker was gone.

Knows two of Celery's defaults that cost seconds: the pause before the next try to connect grows to
thirty, and a quorum queue brings along twenty-eight more for delayed delivery, which this service
never uses (all its timers are in PostgreSQL) and which RabbitMQ recovers one by one when it starts.
"""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 2.0
_UNUSED_STEP = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class QuickConsumer(Consumer):  # type: ignore[misc]
    """Tries to connect again every two seconds at most, and declares no queues but our own."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """The steps of starting to consume."""

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if step != _UNUSED_STEP
        )

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=_FIRST_PAUSE_SECONDS,
            interval_step=_FIRST_PAUSE_SECONDS,
            interval_max=_LONGEST_PAUSE_SECONDS,
        )
        return super().ensure_connected(conn)
