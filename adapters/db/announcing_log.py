"""The audit log where others are told of some entries: what they are to be told is owed with the entry."""

from collections.abc import Collection
from uuid import UUID, uuid5

from sqlalchemy import Connection
from typing_extensions import override

from adapters.db.audit_log import SqlAuditLog
from adapters.db.outbox import SqlOutbox
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.services.messages import Message, MessageKind, Urgency, key_of

# Of no meaning but to be ours: the message of an entry has the same id whoever makes it.
_OURS = UUID("6d3bb6a5-2e1c-4f0e-8d0b-6d2f6c2b9a41")


class AnnouncingAuditLog(SqlAuditLog):
    """Implements the port `AuditLog`: each entry of an announced kind is owed to those who listen."""

    def __init__(
        self, connection: Connection, outbox: SqlOutbox, announced: Collection[AuditKind]
    ) -> None:
        """In one transaction with all the rest, so that neither is there without the other."""
        super().__init__(connection)
        self._outbox = outbox
        self._announced = announced

    @override
    def append(self, entry: AuditEntry) -> None:
        """Store the entry, and owe what is told of it."""
        super().append(entry)
        if entry.kind in self._announced:
            self._outbox.add(
                Message(
                    message_id=uuid5(_OURS, str(entry.entry_id)),
                    kind=MessageKind.ANNOUNCE,
                    subject_id=entry.entry_id,
                    created_at=entry.at,
                    coalesce_key=key_of(MessageKind.ANNOUNCE, entry.entry_id),
                    urgency=Urgency.REFRESH,
                )
            )
