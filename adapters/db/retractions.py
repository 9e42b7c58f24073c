"""What was taken back: deleted records, merged patients, marks on predictions.

Knows the tables of `retraction_tables`. What follows from them is the domain's matter.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, RowMapping, bindparam, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import Uuid

from adapters.db.retraction_tables import deleted_records, patient_merges, stale_marks
from clinical.prediction.staleness import StaleMark, StaleReason
from clinical.timeline.event import Source
from clinical.timeline.merge import Merges, MergeStatement, Says
from clinical.timeline.versions import Record
from clinical.timeline.withdrawal import Deletion

_LOCK = 7_203_114_859_026_451_338  # a number of no other lock
_AT_ONCE = 5_000

# Whoever is linked with one of them, over any number of others: nearly always nobody.
_LINKED = text(
    """
    WITH RECURSIVE linked (patient_id) AS (
        SELECT unnest(:patients)
        UNION
        SELECT side.patient_id FROM linked
        JOIN patient_merges m ON linked.patient_id IN (m.gone_id, m.kept_id)
        CROSS JOIN LATERAL (VALUES (m.gone_id), (m.kept_id)) AS side (patient_id)
    )
    SELECT m.* FROM patient_merges m WHERE m.gone_id IN (SELECT patient_id FROM linked)
    """
).bindparams(bindparam("patients", type_=ARRAY(Uuid())))


class SqlRetractions:
    """Implements the port `Retractions` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def lock(self, *, alone: bool) -> None:
        """Until the transaction ends: together with others, or alone."""
        take = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        self._connection.execute(select(take(_LOCK)))

    def add_deletions(self, deletions: Sequence[Deletion]) -> None:
        """Store those not yet held."""
        rows = [_deletion_row(each) for each in deletions]
        if rows:
            self._connection.execute(upsert(deleted_records).on_conflict_do_nothing(), rows)

    def deletions(self, records: Collection[Record]) -> list[Deletion]:
        """All that was said of deletions of these records."""
        table, wanted = deleted_records.c, sorted(records)
        key = tuple_(table.site, table.record_type, table.record_id)
        if not wanted or not self._connection.scalar(select(deleted_records).exists().select()):
            return []
        return [
            _deletion(row)
            for start in range(0, len(wanted), _AT_ONCE)
            for row in self._connection.execute(
                select(deleted_records).where(key.in_(wanted[start : start + _AT_ONCE]))
            )
        ]

    def add_statements(self, statements: Sequence[MergeStatement]) -> list[MergeStatement]:
        """Store those not yet held; which they were."""
        if not statements:
            return []
        added = self._connection.execute(
            upsert(patient_merges)
            .values([asdict(each) for each in statements])
            .on_conflict_do_nothing()
            .returning(*patient_merges.c)
        )
        return [_said(row) for row in added.mappings()]

    def merges(self, patient_ids: Collection[UUID]) -> Merges:
        """All that was said of these patients, and of whoever is linked with them."""
        return merges_around(self._connection, patient_ids)

    def mark(self, marks: Sequence[StaleMark]) -> list[StaleMark]:
        """Store; which of them were new."""
        if not marks:
            return []
        added = self._connection.execute(
            upsert(stale_marks)
            .values([asdict(each) for each in marks])
            .on_conflict_do_nothing()
            .returning(*stale_marks.c)
        )
        return [_mark(row) for row in added]

    def stale(self, prediction_ids: Collection[UUID]) -> Mapping[UUID, StaleMark]:
        """The newest mark of each of these predictions that is stale."""
        table = stale_marks.c
        newest = (
            select(stale_marks)
            .ext(distinct_on(table.prediction_id))
            .where(table.prediction_id.in_(prediction_ids))
            # Of two marks of one moment the one that says stale counts.
            .order_by(
                table.prediction_id,
                table.since.desc(),
                table.reason == StaleReason.RESTORED.value,
                table.delivery_id,
            )
        )
        marks = [_mark(row) for row in self._connection.execute(newest)]
        return {m.prediction_id: m for m in marks if m.reason is not StaleReason.RESTORED}


def merges_around(connection: Connection, patient_ids: Collection[UUID]) -> Merges:
    """All that was said of these patients, and of whoever is linked with them."""
    rows = connection.execute(_LINKED, {"patients": sorted(patient_ids)}).mappings()
    return Merges(tuple(_said(row) for row in rows))


def _said(row: RowMapping) -> MergeStatement:
    return MergeStatement(**{**row, "says": Says(row["says"])})


def _deletion_row(deletion: Deletion) -> dict[str, Any]:
    return asdict(deletion.source) | {"received_at": deletion.received_at}


def _deletion(row: Row[Any]) -> Deletion:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    received_at = fields.pop("received_at")
    return Deletion(source=Source(**fields), received_at=received_at)


def _mark(row: Row[Any]) -> StaleMark:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return StaleMark(**{**fields, "reason": StaleReason(fields["reason"])})
