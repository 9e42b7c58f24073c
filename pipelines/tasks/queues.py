"""The names of the broker's queues, and the one for what it gives up: both sides must agree on them."""

from kombu.entity import Exchange, Queue

QUEUE = "clinical"
DEAD_QUEUE = "clinical.dead"


def dead_queue() -> Queue:
    """Where RabbitMQ puts what it gave up; the relay empties it into the database."""
    return Queue(  # type: ignore[no-untyped-call]
        DEAD_QUEUE,
        exchange(DEAD_QUEUE),
        routing_key=DEAD_QUEUE,
        durable=True,
        queue_arguments={"x-max-length": 1000},
    )


def exchange(name: str) -> Exchange:
    """One to one with the queue of this name."""
    return Exchange(name, type="direct", durable=True)  # type: ignore[no-untyped-call]
