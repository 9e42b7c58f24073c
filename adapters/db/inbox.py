"""Deliveries as received, and what of them was quarantined.

Knows the tables `deliveries` and `quarantine`. Does not know how a delivery is understood.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Uuid,
    any_,
    cast,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import deliveries, delivery_patients, quarantine
from clinical.errors import NotFoundError, OperationalError
from clinical.services.delivery import Delivery, Door, Quarantined, Reading, Reception, SetAside


class AlreadyRecordedError(OperationalError):
    """Another worker recorded this delivery meanwhile: nothing of this attempt is kept."""

    code = "storage.already_recorded"


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
            select(deliveries.c.delivery_id, deliveries.c.digest, deliveries.c.erased_at).where(
                deliveries.c.site == delivery.site,
                deliveries.c.door == delivery.door.value,
                deliveries.c.sender_id == delivery.sender_id,
            )
        ).one()
        if held.erased_at is not None:
            return Reception.ERASED, held.delivery_id
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

    def holds(self, delivery: Delivery) -> bool:
        """Whether something of its site, door and sender id is held, or was erased."""
        query = select(deliveries.c.delivery_id).where(
            deliveries.c.site == delivery.site,
            deliveries.c.door == delivery.door.value,
            deliveries.c.sender_id == delivery.sender_id,
        )
        return self._connection.execute(query).first() is not None

    def digests(self, delivery_ids: Collection[UUID]) -> dict[UUID, str]:
        """What was noted at the door of each that is held: the hex SHA-256 of its bytes, empty once erased."""
        query = select(deliveries.c.delivery_id, deliveries.c.digest).where(
            _is_one_of(delivery_ids)
        )
        return {row.delivery_id: row.digest for row in self._connection.execute(query)}

    def recorded_since(self, delivery_ids: Collection[UUID], since: datetime) -> list[UUID]:
        """Those of them that were understood at or after this moment, the last one first."""
        query = (
            select(deliveries.c.delivery_id)
            .where(_is_one_of(delivery_ids), deliveries.c.recorded_at >= since)
            .order_by(deliveries.c.recorded_at.desc(), deliveries.c.delivery_id.desc())
        )
        return list(self._connection.execute(query).scalars())

    def altered(self, delivery_ids: Collection[UUID]) -> list[UUID]:
        """Those held whose bytes, hashed again, are not those that came.

        The server hashes them: a body may be large, and none has to travel.
        """
        now = func.encode(func.sha256(deliveries.c.body), "hex")
        query = (
            select(deliveries.c.delivery_id)
            .where(
                _is_one_of(delivery_ids),
                now.is_distinct_from(deliveries.c.digest),
            )
            .order_by(deliveries.c.delivery_id)
        )
        return list(self._connection.execute(query).scalars())

    def is_recorded(self, delivery_id: UUID) -> bool:
        """Whether it was understood already; raises NotFoundError."""
        row = self._connection.execute(
            select(deliveries.c.recorded_at).where(deliveries.c.delivery_id == delivery_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("no such delivery")
        return row.recorded_at is not None

    def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None:
        """Remember that it was understood, whom it told of, and what was counted on the way.

        Raises:
            AlreadyRecordedError: the transaction is to be given up.
        """
        marked = self._connection.execute(
            update(deliveries)
            .where(deliveries.c.delivery_id == delivery_id, deliveries.c.recorded_at.is_(None))
            .values(
                recorded_at=at,
                num_events=len(reading.events),
                counts={_storable(name): count for name, count in reading.counts.items()},
            )
        )
        if marked.rowcount != 1:
            raise AlreadyRecordedError("the delivery was recorded by somebody else meanwhile")
        told_of = reading.patients.keys() | {event.patient_id for event in reading.events}
        if told_of:
            rows = [{"delivery_id": delivery_id, "patient_id": each} for each in sorted(told_of)]
            self._connection.execute(insert(delivery_patients), rows)

    def quarantine(self, delivery_id: UUID, at: datetime, records: Sequence[Quarantined]) -> None:
        """Keep why each of these could not be understood, once; their bytes are in the delivery."""
        if not records:
            return
        rows = [
            {
                "delivery_id": delivery_id,
                "position": _storable(record.position),
                "reason_code": record.reason_code,
                "digest": record.digest,
                "record_type": _storable(record.record_type),
                "record_id": _storable(record.record_id),
                "detail": _storable(record.detail),
                "at": at,
            }
            for record in records
        ]
        self._connection.execute(upsert(quarantine).on_conflict_do_nothing(), rows)

    def set_aside(self, limit: int, delivery_id: UUID | None = None) -> list[SetAside]:
        """What was quarantined, of all deliveries or of one, the newest first."""
        query = (
            select(quarantine, deliveries.c.site)
            .join(deliveries, deliveries.c.delivery_id == quarantine.c.delivery_id)
            .order_by(quarantine.c.at.desc(), quarantine.c.delivery_id, quarantine.c.position)
            .limit(limit)
        )
        if delivery_id is not None:
            query = query.where(quarantine.c.delivery_id == delivery_id)
        return [
            SetAside(
                delivery_id=row.delivery_id,
                site=row.site,
                position=row.position,
                record_type=row.record_type,
                reason_code=row.reason_code,
                detail=row.detail,
                at=row.at,
            )
            for row in self._connection.execute(query)
        ]


def _is_one_of(delivery_ids: Collection[UUID]) -> ColumnElement[bool]:
    """As one array: a timeline may rest on more deliveries than a statement takes parameters."""
    return deliveries.c.delivery_id == any_(cast(sorted(delivery_ids), ARRAY(Uuid())))


def _storable(text: str) -> str:
    """A text from a record that may be broken in any way, with what PostgreSQL cannot hold escaped."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
