"""What the broker would not deliver any more: which bytes, why and how often, never the bytes.

Knows the table `dead_letters`. Does not know brokers.
"""

from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import dead_letters
from clinical.services.messages import Buried, DeadLetter


class SqlDeadLetters:
    """Implements the port `DeadLetters` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def bury(self, letter: DeadLetter) -> int:
        """Keep it, one row for the same bytes; how often they have come by now."""
        now = func.statement_timestamp()
        statement = (
            upsert(dead_letters)
            .values(
                digest=letter.digest,
                reason=letter.reason,
                message_id=letter.message_id,
                num_bytes=letter.num_bytes,
                count=1,
                first_at=now,
                last_at=now,
            )
            .on_conflict_do_update(
                index_elements=["digest"],
                set_={"reason": letter.reason, "count": dead_letters.c.count + 1, "last_at": now},
            )
            .returning(dead_letters.c.count)
        )
        return int(self._connection.execute(statement).scalar_one())

    def buried(self, limit: int) -> list[Buried]:
        """Those that came last first."""
        rows = self._connection.execute(
            select(dead_letters, dead_letters.c.count.label("times"))
            .order_by(dead_letters.c.last_at.desc(), dead_letters.c.digest)
            .limit(limit)
        )
        return [
            Buried(
                letter=DeadLetter(
                    digest=row.digest,
                    num_bytes=row.num_bytes,
                    reason=row.reason,
                    message_id=row.message_id,
                ),
                count=row.times,
                first_at=row.first_at,
                last_at=row.last_at,
            )
            for row in rows
        ]

    def forget(self, message_id: UUID) -> None:
        """Count anew for this message."""
        self._connection.execute(
            delete(dead_letters).where(dead_letters.c.message_id == message_id)
        )
