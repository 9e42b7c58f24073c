"""What the broker gave up: taken from its dead queue, told to the database, and only then acknowledged.

Knows how RabbitMQ says why it gave something up, and how an id of ours is written. Whatever else a
body may be, nothing of it leaves this file but its digest and its length.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from clinical.services.messages import DeadLetter

AT_ONCE = 100
UNREADABLE = "unreadable"
# RabbitMQ's own words ("Dead Letter Exchanges", header x-death); nobody else's are repeated.
_REASONS = frozenset({"rejected", "expired", "maxlen", "delivery_limit"})
_LONGEST_ID = 4096  # bytes of the body of a task of ours, and more

Bury = Callable[[Sequence[DeadLetter]], None]


def drain(channel: Any, queue: str, bury: Bury) -> int:
    """Hand over what lies in the dead queue, at most AT_ONCE; how many there were.

    Where `bury` fails they go back into the queue, and its error is raised.
    """
    taken: list[Any] = []
    while len(taken) < AT_ONCE and (message := channel.basic_get(queue, no_ack=False)) is not None:
        taken.append(message)
    if not taken:
        return 0
    try:
        bury([dead_letter(message.body, message.properties) for message in taken])
    except Exception:
        for message in taken:
            channel.basic_reject(message.delivery_tag, requeue=True)
        raise
    for message in taken:
        channel.basic_ack(message.delivery_tag)
    return len(taken)


def dead_letter(body: bytes | str, properties: Mapping[str, Any]) -> DeadLetter:
    """What may be kept of it."""
    data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else bytes(body)
    message_id = _message_id(data)
    return DeadLetter(
        digest=hashlib.sha256(data).hexdigest(),
        num_bytes=len(data),
        reason=UNREADABLE if message_id is None else _reason(properties),
        message_id=message_id,
    )


def _message_id(body: bytes) -> UUID | None:
    """The id in the body of a task of ours (Celery's protocol 2); None where there is none."""
    if len(body) > _LONGEST_ID:
        return None
    try:
        (message_id,), _, _ = json.loads(body)
        return UUID(message_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _reason(properties: Mapping[str, Any]) -> str:
    headers = properties.get("application_headers")
    deaths = headers.get("x-death") if isinstance(headers, Mapping) else None
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    reason = newest.get("reason") if isinstance(newest, Mapping) else None
    return reason if isinstance(reason, str) and reason in _REASONS else "unknown"
