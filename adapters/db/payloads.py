"""What audit entries vouch for, read back and digested again.

Knows which table holds what each kind of entry seals. Does not know salts.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection, func, select

from adapters.db.cards import SqlCards
from adapters.db.plan_comparisons import SqlPlanComparisons
from adapters.db.predictions import SqlPredictions
from adapters.db.reviews import SqlReviews
from adapters.db.tables import deliveries, write_backs
from clinical.audit.entry import AuditEntry, AuditKind

Contents = dict[UUID, dict[str, str]]


class SqlPayloads:
    """Implements the port `Payloads` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def contents(self, entries: Collection[AuditEntry]) -> dict[UUID, Mapping[str, str] | None]:
        """By entry the sealed content of the row it names, computed again; None where that is gone."""
        told: dict[UUID, Mapping[str, str] | None] = {}
        for kind, (ref, read) in self._readers().items():
            rows = {e.entry_id: UUID(e.refs[ref]) for e in entries if e.kind is kind}
            found = read(set(rows.values())) if rows else {}
            told |= {entry_id: found.get(row_id) for entry_id, row_id in rows.items()}
        return told

    def _readers(self) -> dict[AuditKind, tuple[str, Callable[[Iterable[UUID]], Contents]]]:
        return {
            AuditKind.DELIVERY_RECEIVED: ("delivery", self._deliveries),
            AuditKind.PREDICTION_STORED: ("prediction", self._predictions),
            AuditKind.PLANS_COMPARED: ("comparison", self._comparisons),
            AuditKind.REVIEW_SIGNED: ("review", self._decisions),
            AuditKind.WRITEBACK_DONE: ("review", self._write_backs),
            AuditKind.CARD_FEEDBACK: ("feedback", self._feedback),
        }

    def _deliveries(self, ids: Iterable[UUID]) -> Contents:
        # Of the bytes themselves, not of the digest beside them.
        digest = func.encode(func.sha256(deliveries.c.body), "hex")
        rows = self._connection.execute(
            select(deliveries.c.delivery_id, digest).where(
                deliveries.c.delivery_id.in_(ids), deliveries.c.erased_at.is_(None)
            )
        )
        return {delivery_id: {"digest": value} for delivery_id, value in rows}

    def _predictions(self, ids: Iterable[UUID]) -> Contents:
        found = SqlPredictions(self._connection).held(ids)
        return {each.request.prediction_id: each.sealed_content for each in found}

    def _comparisons(self, ids: Iterable[UUID]) -> Contents:
        found = SqlPlanComparisons(self._connection).held(ids)
        return {each.question.comparison_id: each.sealed_content for each in found}

    def _decisions(self, ids: Iterable[UUID]) -> Contents:
        found = SqlReviews(self._connection).decisions(ids)
        return {each.review_id: each.sealed_content for each in found}

    def _write_backs(self, ids: Iterable[UUID]) -> Contents:
        rows = self._connection.execute(
            select(write_backs.c.review_id, write_backs.c.ehr_id).where(
                write_backs.c.review_id.in_(ids)
            )
        )
        return {review_id: {"ehr_id": ehr_id} for review_id, ehr_id in rows}

    def _feedback(self, ids: Iterable[UUID]) -> Contents:
        found = SqlCards(self._connection).held(ids)
        return {each.feedback_id: each.sealed_content for each in found}
