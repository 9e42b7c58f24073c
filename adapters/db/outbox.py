"""Work owed: messages, claimed by state and due time, never by position.

Knows the table `messages`. Does not know brokers or what the work is.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, RowMapping, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import messages
from adapters.operations import tracing
from adapters.operations.metrics import EXPIRED_LEASES
from clinical.errors import NotFoundError
from clinical.services.messages import GivenUp, Message, MessageKind

_OWED = ("waiting", "started")


class SqlOutbox:
    """Implements the port `Outbox` within one transaction.

    `has_news` says whether a message was added: the relays want to hear of it after the commit.
    """

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection
        self.has_news = False

    def add(self, message: Message) -> bool:
        """Remember; the partial unique index holds one unstarted message per coalesce key."""
        statement = (
            upsert(messages)
            .values(
                message_id=message.message_id,
                kind=message.kind.value,
                subject_id=message.subject_id,
                parameters=message.parameters,
                coalesce_key=message.coalesce_key,
                created_at=message.created_at,
                due_at=message.created_at,
                attempts=message.attempts,
                trace=message.trace or tracing.traceparent() or None,
            )
            .on_conflict_do_nothing(
                # A literal: a bound value would not match the index once the statement is prepared.
                index_elements=["coalesce_key"],
                index_where=text("state = 'waiting'"),
            )
            .returning(messages.c.message_id)
        )
        is_new = self._connection.execute(statement).scalar() is not None
        self.has_news = self.has_news or is_new
        return is_new

    def claim(self, limit: int, now: datetime, lease: timedelta) -> list[Message]:
        """Take due messages whose lease is free, for `lease`; two claimers never share one."""
        due = (
            select(messages.c.message_id, messages.c.leased_until.is_not(None).label("was_lost"))
            .where(
                messages.c.state.in_(_OWED),
                messages.c.due_at <= now,
                or_(messages.c.leased_until.is_(None), messages.c.leased_until <= now),
            )
            .order_by(messages.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        statement = (
            update(messages)
            .where(messages.c.message_id == due.c.message_id)
            .values(leased_until=now + lease, fence=messages.c.fence + 1)
            .returning(messages, due.c.was_lost)
        )
        rows = self._connection.execute(statement).mappings().all()
        EXPIRED_LEASES.inc(sum(row["was_lost"] for row in rows))
        return sorted((_message(row) for row in rows), key=lambda m: (m.created_at, m.message_id))

    def start(self, message_id: UUID, now: datetime, lease: timedelta) -> Message | None:
        """Count an attempt; None where there is nothing left to do."""
        row = (
            self._connection.execute(
                update(messages)
                .where(messages.c.message_id == message_id, messages.c.state.in_(_OWED))
                .values(
                    state="started",
                    attempts=messages.c.attempts + 1,
                    leased_until=now + lease,
                    fence=messages.c.fence + 1,
                )
                .returning(messages)
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else _message(row)

    def done(self, message_id: UUID, at: datetime) -> None:
        """The work is done: committed with it, so that it is done once."""
        self._finish(message_id, at, "done", None)

    def give_up(self, message_id: UUID, at: datetime, error_code: str) -> None:
        """No further attempt; the error's code stays with it."""
        self._finish(message_id, at, "given_up", error_code)

    def retry(
        self, message_id: UUID, due_at: datetime, error_code: str, *, spends_attempt: bool = True
    ) -> None:
        """Put it back until `due_at`.

        It stays `started`: were it `waiting` again it could collide with a newer message of its key.
        """
        attempts = messages.c.attempts - (0 if spends_attempt else 1)
        self._connection.execute(
            update(messages)
            .where(messages.c.message_id == message_id, messages.c.state.in_(_OWED))
            .values(
                due_at=due_at,
                leased_until=None,
                last_error_code=error_code,
                attempts=case((attempts < 0, 0), else_=attempts),
            )
        )

    def pending(self) -> int:
        """How many messages are neither done nor given up."""
        counted = select(func.count()).select_from(messages).where(messages.c.state.in_(_OWED))
        return int(self._connection.scalar(counted) or 0)

    def given_up(self, limit: int) -> list[GivenUp]:
        """Messages that nobody tries any more, the newest first."""
        rows = self._connection.execute(
            select(messages)
            .where(messages.c.state == "given_up")
            .order_by(messages.c.finished_at.desc(), messages.c.message_id)
            .limit(limit)
        )
        return [
            GivenUp(
                message_id=row.message_id,
                kind=MessageKind(row.kind),
                attempts=row.attempts,
                error_code=row.last_error_code or "",
                created_at=row.created_at,
                given_up_at=row.finished_at,
            )
            for row in rows
        ]

    def redrive(self, message_id: UUID, at: datetime) -> bool:
        """Owe a given-up message again; `created_at` moves, for waiting is measured from there.

        It becomes `started`, as after a retry: were it `waiting` it could collide with a newer one.
        """
        changed = self._connection.execute(
            update(messages)
            .where(messages.c.message_id == message_id, messages.c.state == "given_up")
            .values(
                state="started",
                attempts=0,
                created_at=at,
                due_at=at,
                finished_at=None,
                leased_until=None,
            )
        )
        self.has_news = self.has_news or changed.rowcount > 0
        return changed.rowcount > 0

    def _finish(self, message_id: UUID, at: datetime, state: str, error_code: str | None) -> None:
        changed = self._connection.execute(
            update(messages)
            .where(messages.c.message_id == message_id)
            .values(
                state=state,
                finished_at=at,
                leased_until=None,
                last_error_code=func.coalesce(error_code, messages.c.last_error_code),
            )
        )
        if changed.rowcount == 0:
            raise NotFoundError("no such message")


def _message(row: RowMapping) -> Message:
    return Message(
        message_id=row["message_id"],
        kind=MessageKind(row["kind"]),
        subject_id=row["subject_id"],
        created_at=row["created_at"],
        coalesce_key=row["coalesce_key"],
        parameters=row["parameters"],
        attempts=row["attempts"],
        trace=row["trace"] or "",
    )
