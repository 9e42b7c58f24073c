"""Work owed: messages, claimed by state and due time, never by position.

Knows the table `messages`, and that its clock is the database's: a process whose own clock is wrong
steals nothing. Does not know brokers or what the work is.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Executable,
    Interval,
    RowMapping,
    and_,
    case,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters import requests
from adapters.db.tables import messages
from adapters.operations import tracing
from adapters.operations.metrics import EXPIRED_LEASES
from clinical.errors import NotFoundError
from clinical.services.messages import (
    Backlog,
    GivenUp,
    Message,
    MessageKind,
    TakenOverError,
    Urgency,
)

# A literal, as in the partial index: bound values would not match it once the statement is prepared.
_IS_OWED = literal_column("messages.state IN ('waiting', 'started')", Boolean)


class SqlOutbox:
    """Implements the port `Outbox` within one transaction.

    `has_news` says whether a message was added: the relays want to hear of it after the commit.
    """

    def __init__(
        self, connection: Connection, moment: Callable[[], datetime] | None = None
    ) -> None:
        """Everything happens in the transaction of `connection`; `moment` stands in for its clock."""
        self._connection = connection
        self._moment = moment
        self.has_news = False

    @property
    def _now(self) -> ColumnElement[datetime]:
        # Of the statement, not of the transaction: a row may have been waited for meanwhile.
        if self._moment is None:
            return func.statement_timestamp()
        return literal(self._moment(), DateTime(timezone=True))

    def add(self, message: Message) -> bool:
        """Remember; the partial unique index holds one unstarted message per coalesce key."""
        added = upsert(messages).values(
            message_id=message.message_id,
            kind=message.kind.value,
            subject_id=message.subject_id,
            parameters=message.parameters,
            coalesce_key=message.coalesce_key,
            created_at=self._now,
            due_at=self._now,
            attempts=message.attempts,
            priority=message.urgency.value,
            trace=message.trace or tracing.traceparent() or None,
            request_id=message.request_id or requests.current() or None,
        )
        statement: Executable = added.on_conflict_do_update(
            # A literal: a bound value would not match the index once the statement is prepared.
            index_elements=["coalesce_key"],
            index_where=text("state = 'waiting'"),
            set_={"priority": added.excluded.priority},
            where=messages.c.priority > added.excluded.priority,
        ).returning(
            literal_column("xmax = 0", Boolean)
        )  # how PostgreSQL marks a row that is not an update
        is_new = bool(self._connection.execute(statement).scalar())
        self.has_news = self.has_news or is_new
        return is_new

    def claim(
        self, limit: int, lease: timedelta, *, least: Urgency = Urgency.BACKFILL
    ) -> list[Message]:
        """Take due messages whose lease is free, for `lease`; two claimers never share one."""
        due = (
            select(messages.c.message_id, messages.c.leased_until.is_not(None).label("was_lost"))
            .where(
                _IS_OWED,
                messages.c.priority <= least.value,
                messages.c.due_at <= self._now,
                self._is_free,
            )
            .order_by(messages.c.priority, messages.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        statement = (
            update(messages)
            .where(messages.c.message_id == due.c.message_id)
            .values(leased_until=self._now + lease, is_held=False, fence=messages.c.fence + 1)
            .returning(messages, self._age, due.c.was_lost)
        )
        rows = self._connection.execute(statement).mappings().all()
        EXPIRED_LEASES.inc(sum(row["was_lost"] for row in rows))
        return sorted(
            (_message(row) for row in rows), key=lambda m: (m.urgency, m.created_at, m.message_id)
        )

    def start(
        self, message_id: UUID, lease: timedelta, *, takes_over: bool = True
    ) -> Message | None:
        """Count an attempt; None where there is nothing left to do, or somebody else is doing it."""
        may_start = or_(not_(messages.c.is_held), self._is_free)
        row = (
            self._connection.execute(
                update(messages)
                .where(messages.c.message_id == message_id, _IS_OWED)
                .where(*([] if takes_over else [may_start]))
                .values(
                    state="started",
                    attempts=messages.c.attempts + 1,
                    leased_until=self._now + lease,
                    is_held=True,
                    fence=messages.c.fence + 1,
                )
                .returning(messages, self._age)
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else _message(row)

    def extend(self, message: Message, lease: timedelta) -> bool:
        """Hold it for `lease` from now on; False where it is settled, put back, or changed hands."""
        changed = self._connection.execute(
            update(messages)
            .where(_is_still_of(message), messages.c.is_held)
            .values(leased_until=self._now + lease)
        )
        return changed.rowcount > 0

    def done(self, message: Message) -> None:
        """The work is done: committed with it, so that it is done once; raises TakenOverError."""
        self._finish(message, "done", None)

    def give_up(self, message: Message, error_code: str) -> None:
        """No further attempt; the error's code stays with it. Raises TakenOverError."""
        self._finish(message, "given_up", error_code)

    def retry(
        self,
        message: Message,
        after: timedelta,
        error_code: str,
        *,
        spends_attempt: bool = True,
    ) -> None:
        """Put it back for so long; raises TakenOverError.

        It stays `started`: were it `waiting` again it could collide with a newer message of its key.
        """
        attempts = messages.c.attempts - (0 if spends_attempt else 1)
        changed = self._connection.execute(
            update(messages)
            .where(_is_still_of(message))
            .values(
                due_at=self._now + after,
                leased_until=None,
                is_held=False,
                last_error_code=error_code,
                attempts=case((attempts < 0, 0), else_=attempts),
            )
        )
        if changed.rowcount == 0:
            raise TakenOverError("the message changed hands")

    def owed(self, message_id: UUID) -> Message | None:
        """The message as it stands, locked until the transaction ends; None unless it is owed."""
        row = (
            self._connection.execute(
                select(messages, self._age)
                .where(messages.c.message_id == message_id, _IS_OWED)
                .with_for_update()
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else _message(row)

    def release_unbegun(self, lease: timedelta, patience: timedelta) -> int:
        """Let go of what was claimed for `lease`, longer than `patience` ago, and never begun."""
        changed = self._connection.execute(
            update(messages)
            .where(_IS_OWED, not_(messages.c.is_held))
            .where(messages.c.leased_until < self._now + (lease - patience))
            .values(leased_until=None)
        )
        return changed.rowcount

    def backlog(self, most: int) -> Backlog:
        """The live work owed, counted up to `most`; what the broker holds is not late yet."""
        is_live = and_(_IS_OWED, messages.c.priority == Urgency.LIVE.value)
        some = select(messages.c.message_id).where(is_live).limit(most).subquery()
        oldest = (
            select(messages.c.due_at)
            .where(is_live, self._is_free)
            .order_by(messages.c.due_at)
            .limit(1)
            .scalar_subquery()
        )
        late = func.greatest(self._now - oldest, timedelta(0))
        row = self._connection.execute(
            select(select(func.count()).select_from(some).scalar_subquery(), late)
        ).one()
        return Backlog(num_messages=row[0], lateness=row[1])

    def pending(self) -> int:
        """How many messages are neither done nor given up."""
        counted = select(func.count()).select_from(messages).where(_IS_OWED)
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

    def redrive(self, message_id: UUID) -> bool:
        """Owe a given-up message again; `created_at` moves, for waiting is measured from there.

        It becomes `started`, as after a retry: were it `waiting` it could collide with a newer one.
        """
        changed = self._connection.execute(
            update(messages)
            .where(messages.c.message_id == message_id, messages.c.state == "given_up")
            .values(
                state="started",
                attempts=0,
                created_at=self._now,
                due_at=self._now,
                finished_at=None,
                leased_until=None,
                is_held=False,
            )
        )
        self.has_news = self.has_news or changed.rowcount > 0
        return changed.rowcount > 0

    def held_up(self, error_codes: Collection[str]) -> int:
        """How many messages wait because of one of these."""
        because = messages.c.last_error_code.in_(error_codes)
        query = select(func.count()).select_from(messages).where(_IS_OWED, because)
        return int(self._connection.scalar(query) or 0)

    def _finish(self, message: Message, state: str, error_code: str | None) -> None:
        changed = self._connection.execute(
            update(messages)
            .where(_is_still_of(message))
            .values(
                state=state,
                finished_at=self._now,
                leased_until=None,
                is_held=False,
                last_error_code=func.coalesce(error_code, messages.c.last_error_code),
            )
        )
        if changed.rowcount:
            return
        its_row = select(messages.c.message_id).where(messages.c.message_id == message.message_id)
        if self._connection.scalar(its_row) is None:
            raise NotFoundError("no such message")
        raise TakenOverError("the message changed hands, or was settled by somebody else")

    @property
    def _is_free(self) -> ColumnElement[bool]:
        return or_(messages.c.leased_until.is_(None), messages.c.leased_until <= self._now)

    @property
    def _age(self) -> ColumnElement[timedelta]:
        return type_coerce(self._now - messages.c.created_at, Interval).label("age")


def _is_still_of(message: Message) -> ColumnElement[bool]:
    """Owed still, and held by nobody since."""
    return and_(
        messages.c.message_id == message.message_id, messages.c.fence == message.fence, _IS_OWED
    )


def _message(row: RowMapping) -> Message:
    return Message(
        message_id=row["message_id"],
        kind=MessageKind(row["kind"]),
        subject_id=row["subject_id"],
        created_at=row["created_at"],
        coalesce_key=row["coalesce_key"],
        parameters=row["parameters"],
        attempts=row["attempts"],
        urgency=Urgency(row["priority"]),
        fence=row["fence"],
        age=row["age"],
        trace=row["trace"] or "",
        request_id=row["request_id"] or "",
    )
