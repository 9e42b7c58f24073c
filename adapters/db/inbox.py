"""Deliveries as received, and what of them was quarantined.

Knows the tables `deliveries` and `quarantine`. Does not know how a delivery is understood.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import deliveries, quarantine
from clinical.errors import NotFoundError
from clinical.services.delivery import Delivery, Door, Quarantined, Reading, Reception


class SqlInbox:
    """Implements the port `Inbox` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, delivery: Delivery) -> tuple[Reception, UUID]:
        """Store unless held; the unique key closes the race between two deliveries of the same id."""
        digest = delivery.digest
        statement = (
            upsert(deliveries)
            .values(
                delivery_id=delivery.delivery_id,
                site=delivery.site,
                door=delivery.door.value,
                sender_id=delivery.sender_id,
                body=delivery.body,
                digest=digest,
                content_type=delivery.content_type,
                context=delivery.context,
                received_at=delivery.received_at,
            )
            .on_conflict_do_nothing(index_elements=["site", "door", "sender_id"])
            .returning(deliveries.c.delivery_id)
        )
        added = self._connection.execute(statement).scalar()
        if added is not None:
            return Reception.NEW, delivery.delivery_id
        held = self._connection.execute(
            select(deliveries.c.delivery_id, deliveries.c.digest).where(
                deliveries.c.site == delivery.site,
                deliveries.c.door == delivery.door.value,
                deliveries.c.sender_id == delivery.sender_id,
            )
        ).one()
        same = held.digest == digest
        return (Reception.DUPLICATE if same else Reception.CONFLICT), held.delivery_id

    def get(self, delivery_id: UUID) -> Delivery:
        """The delivery with its bytes; raises NotFoundError."""
        row = self._connection.execute(
            select(deliveries).where(deliveries.c.delivery_id == delivery_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("no such delivery")
        return Delivery(
            delivery_id=row.delivery_id,
            site=row.site,
            door=Door(row.door),
            sender_id=row.sender_id,
            body=row.body,
            content_type=row.content_type,
            received_at=row.received_at,
            context=row.context,
        )

    def is_recorded(self, delivery_id: UUID) -> bool:
        """Whether it was understood already; raises NotFoundError."""
        row = self._connection.execute(
            select(deliveries.c.recorded_at).where(deliveries.c.delivery_id == delivery_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("no such delivery")
        return row.recorded_at is not None

    def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None:
        """Remember that it was understood, and what was counted on the way."""
        self._connection.execute(
            update(deliveries)
            .where(deliveries.c.delivery_id == delivery_id)
            .values(recorded_at=at, num_events=len(reading.events), counts=dict(reading.counts))
        )

    def quarantine(self, delivery_id: UUID, at: datetime, records: Sequence[Quarantined]) -> None:
        """Keep the reason why each of these could not be understood; their bytes are in the delivery."""
        if not records:
            return
        rows = {
            (record.position, record.reason_code, record.digest): {
                "delivery_id": delivery_id,
                "position": record.position,
                "reason_code": record.reason_code,
                "digest": record.digest,
                "record_type": record.record_type,
                "record_id": record.record_id,
                "detail": record.detail,
                "at": at,
            }
            for record in records
        }
        self._connection.execute(insert(quarantine), list(rows.values()))
