"""What those who look after the service want to know: what waits, since when, and who is at work.

Knows the tables and whose clock counts (the database's). Does not know who asks, how the answers are
published, or which of them is alarming.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db import migrate
from adapters.db.errors import translating
from adapters.db.tables import messages, worker_heartbeats
from adapters.operations.figures import Heartbeat, OperatingFigures, Unsequenced, Waiting

_FORGOTTEN_AFTER = timedelta(days=1)
_TIME_ORDERED = 7  # the version of UUIDs that begin with the moment of their making

# Each part rests on an index over what waits, so that it costs what waits and not what there was.
_WAITING = text(
    """
    SELECT kind, state, count(*) AS num,
        extract(epoch FROM now() - min(created_at))::float8 AS oldest_seconds
    FROM messages WHERE state IN ('waiting', 'started') GROUP BY kind, state
    """
)
_GIVEN_UP = text(
    "SELECT kind, count(*) AS num FROM messages WHERE state = 'given_up' GROUP BY kind"
)
_DEAD_LETTERS = text("SELECT sum(count) FROM dead_letters")
_OPEN_REVIEWS = text(
    """
    SELECT state, count(*) AS num,
        extract(epoch FROM now() - min(opened_at))::float8 AS oldest_seconds
    FROM reviews WHERE state IN ('queued', 'claimed') GROUP BY state
    """
)
_HEARTBEATS = text(
    """
    SELECT worker, extract(epoch FROM now() - heard_at)::float8 AS seconds_ago, relay_trouble,
        num_unsequenced, oldest_unsequenced_seconds
    FROM worker_heartbeats ORDER BY heard_at DESC, worker
    """
)
# Counted from the log itself: who takes an entry off the list of what owes a leaf does not hide it.
_UNSEQUENCED = text(
    """
    SELECT count(*) AS num,
        coalesce(extract(epoch FROM now() - min(at)), 0)::float8 AS oldest_seconds
    FROM audit_entries AS entry
    WHERE NOT EXISTS (SELECT FROM audit_leaves AS leaf WHERE leaf.entry_id = entry.entry_id)
    """
)
_NEWLY_SIGNED = text(
    """
    WITH newest AS (
        SELECT size, at FROM audit_signatures WHERE name = :name ORDER BY size DESC LIMIT 2
    )
    SELECT leaf.entry_id, entry.at, (SELECT max(at) FROM newest) AS signed_at
    FROM audit_leaves AS leaf JOIN audit_entries AS entry USING (entry_id)
    WHERE leaf.leaf_index < (SELECT max(size) FROM newest)
        AND leaf.leaf_index >= (
            SELECT CASE WHEN count(*) = 2 THEN min(size) ELSE 0 END FROM newest
        )
    """
)


class Operating:
    """Reads over one engine, and the heartbeats of workers."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is asked yet."""
        self._engine = engine
        self._revision: str | None = None

    def figures(self) -> OperatingFigures:
        """Everything that waits.

        Raises:
            StorageUnavailableError
        """
        with translating(), self._engine.connect() as connection:
            return OperatingFigures(
                owed=tuple(
                    Waiting(
                        kind=row.kind,
                        state=row.state,
                        num=row.num,
                        oldest_seconds=row.oldest_seconds,
                    )
                    for row in connection.execute(_WAITING)
                ),
                given_up=tuple((row.kind, row.num) for row in connection.execute(_GIVEN_UP)),
                num_dead_letters=int(connection.scalar(_DEAD_LETTERS) or 0),
                open_reviews=tuple(
                    Waiting(
                        kind="", state=row.state, num=row.num, oldest_seconds=row.oldest_seconds
                    )
                    for row in connection.execute(_OPEN_REVIEWS)
                ),
                heartbeats=tuple(_heartbeats(connection)),
            )

    def schema(self) -> tuple[str | None, str | None]:
        """The revision of the database, and the newest that this code knows.

        Raises:
            StorageUnavailableError
        """
        if self._revision is None:
            self._revision = migrate.newest()
        with translating(), self._engine.connect() as connection:
            return migrate.revision_of(connection), self._revision

    def unsequenced(self) -> Unsequenced:
        """Entries without a leaf, counted over the whole log: costs its length.

        Raises:
            StorageUnavailableError
        """
        with translating(), self._engine.connect() as connection:
            row = connection.execute(_UNSEQUENCED).one()
        return Unsequenced(num=row.num, oldest_seconds=max(row.oldest_seconds, 0.0))

    def beat(self, worker: str, relay_trouble: str, unsequenced: Unsequenced) -> None:
        """Say that this worker lives; what was not heard for a day is forgotten.

        Raises:
            StorageUnavailableError
        """
        said = {
            "relay_trouble": relay_trouble,
            "num_unsequenced": unsequenced.num,
            "oldest_unsequenced_seconds": unsequenced.oldest_seconds,
        }
        statement = upsert(worker_heartbeats).values(worker=worker, **said)
        with translating(), self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["worker"], set_={**said, "heard_at": func.now()}
                )
            )
            connection.execute(
                delete(worker_heartbeats).where(
                    worker_heartbeats.c.heard_at < func.now() - _FORGOTTEN_AFTER
                )
            )

    def leave(self, worker: str) -> None:
        """Forget a worker that stops in good order; raises StorageUnavailableError."""
        with translating(), self._engine.begin() as connection:
            connection.execute(
                delete(worker_heartbeats).where(worker_heartbeats.c.worker == worker)
            )

    def give_back(self, message_ids: Sequence[UUID]) -> None:
        """Free these of their leases, whose holder has ended: they may be claimed at once.

        Raises:
            StorageUnavailableError
        """
        with translating(), self._engine.begin() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.message_id.in_(message_ids), messages.c.state == "started")
                .values(
                    leased_until=None,
                    is_held=False,
                    fence=messages.c.fence + 1,
                    due_at=func.least(messages.c.due_at, func.now()),
                )
            )

    def merge_delays(self, log: str) -> list[float]:
        """Of each entry that came under the newest head signed by `log`: seconds from the one to the other.

        Raises:
            StorageUnavailableError
        """
        with translating(), self._engine.connect() as connection:
            rows = connection.execute(_NEWLY_SIGNED, {"name": log}).all()
        return [
            max((row.signed_at - _appended_at(row.entry_id, row.at)).total_seconds(), 0.0)
            for row in rows
        ]

    def trace_of_review(self, review_id: UUID) -> str:
        """The traceparent of the message whose work made the review's prediction; empty where none is kept.

        Raises:
            StorageUnavailableError
        """
        with translating(), self._engine.connect() as connection:
            asked = connection.scalar(_REQUEST_OF_PREDICTION, {"review_id": review_id})
            with contextlib.suppress(ValueError):  # made by other means than a message
                message_id = UUID(asked or "")
                of_message = select(messages.c.trace).where(messages.c.message_id == message_id)
                return connection.scalar(of_message) or ""
        return ""


# What is done for a message has its id as the request of its audit entries.
_REQUEST_OF_PREDICTION = text(
    """
    SELECT entry.request_id FROM reviews AS review
    JOIN audit_entries AS entry
        ON entry.refs @> jsonb_build_object('prediction', review.prediction_id::text)
        AND entry.kind = 'prediction.stored.v1'
    WHERE review.review_id = :review_id LIMIT 1
    """
)


def _heartbeats(connection: Connection) -> Iterator[Heartbeat]:
    for row in connection.execute(_HEARTBEATS):
        yield Heartbeat(
            worker=row.worker,
            seconds_ago=row.seconds_ago,
            relay_trouble=row.relay_trouble,
            num_unsequenced=row.num_unsequenced,
            oldest_unsequenced_seconds=row.oldest_unsequenced_seconds,
        )


def _appended_at(entry_id: UUID, act_at: datetime) -> datetime:
    """When the entry was appended: its `at` is when the act began, its id is made on appending."""
    if entry_id.version != _TIME_ORDERED:
        return act_at
    return datetime.fromtimestamp((entry_id.int >> 80) / 1000, UTC)
