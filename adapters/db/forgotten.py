"""Stored work that nothing owes: a question over several tables, asked now and then.

Knows what a delivery and a signed decision leave behind when all is well. Looks only at what is
young or unfinished, by indexes made for it; does not mend anything.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, Text, and_, cast, func, or_, select, text

from adapters.db.tables import audit_entries, decisions, deliveries, messages
from clinical.audit.entry import AuditKind
from clinical.services.delivery import Door
from clinical.services.messages import FILES

_REAPER_LOCK = 0x726561706572  # "reaper": one at a time
# What comes by webhook is owed in the same commit. An import understands what it stored itself, and
# may take its time; when it breaks off, the rest is taken up here.
_PATIENCE = timedelta(minutes=1)
_PATIENCE_WITH_FILES = timedelta(minutes=15)
_FILES = tuple(door.value for door in FILES)
# Longer than a write-back is tried (pipelines/tasks/attempt.py).
_DECIDED_WITHIN = timedelta(days=4)


class SqlForgotten:
    """Implements the port `Forgotten` within one transaction.

    Conditions of partial indexes are literals: bound values would not match once prepared.
    """

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def lock(self) -> bool:
        """Be the only one who looks until the transaction ends; False where somebody else does."""
        return bool(self._connection.scalar(select(func.pg_try_advisory_xact_lock(_REAPER_LOCK))))

    def deliveries(self, limit: int) -> list[tuple[UUID, Door]]:
        """Deliveries that were not understood and that no message is owed or was given up for."""
        now = func.statement_timestamp()
        is_old = or_(
            deliveries.c.received_at < now - _PATIENCE_WITH_FILES,
            and_(
                deliveries.c.received_at < now - _PATIENCE,
                deliveries.c.door.not_in(_FILES),
            ),
        )
        its_message = select(messages.c.message_id).where(
            messages.c.subject_id == deliveries.c.delivery_id, text("messages.state <> 'done'")
        )
        rows = self._connection.execute(
            select(deliveries.c.delivery_id, deliveries.c.door)
            .where(deliveries.c.recorded_at.is_(None), is_old, ~its_message.exists())
            .order_by(deliveries.c.received_at)
            .limit(limit)
        )
        return [(row.delivery_id, Door(row.door)) for row in rows]

    def write_backs(self, limit: int) -> list[UUID]:
        """Reviews of which the log says that the EHR is to be told, and no message ever did."""
        its_message = select(messages.c.message_id).where(
            messages.c.subject_id == decisions.c.review_id,
            text("messages.kind = 'review.write_back'"),
        )
        review = func.jsonb_build_object("review", cast(decisions.c.review_id, Text))
        its_entry = select(audit_entries.c.entry_id).where(
            audit_entries.c.refs.contains(review),
            audit_entries.c.kind == AuditKind.WRITEBACK_QUEUED.value,
        )
        young = decisions.c.decided_at > func.statement_timestamp() - _DECIDED_WITHIN
        return list(
            self._connection.scalars(
                select(decisions.c.review_id)
                .where(young, ~its_message.exists(), its_entry.exists())
                .limit(limit)
            )
        )
