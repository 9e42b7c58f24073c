"""Comparisons of plans, written once and read back as the same bits.

Knows the table `plan_comparisons` and how a comparison is laid out in a row.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, RowMapping, insert, select

from adapters.db.tables import plan_comparisons
from clinical.errors import NotFoundError
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.plan import (
    Excluded,
    PlanComparison,
    PlanOption,
    PlanQuestion,
    StoredComparison,
)
from clinical.prediction.prediction import Capsule


class SqlPlanComparisons:
    """Implements the port `PlanComparisons` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, stored: StoredComparison) -> None:
        """Store a comparison."""
        self._connection.execute(insert(plan_comparisons).values(_row_of(stored)))

    def get(self, comparison_id: UUID) -> StoredComparison:
        """The comparison; raises NotFoundError."""
        query = select(plan_comparisons).where(plan_comparisons.c.comparison_id == comparison_id)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFoundError("no such comparison of plans")
        return _stored(row)

    def held(self, comparison_ids: Iterable[UUID]) -> list[StoredComparison]:
        """Those of the comparisons that are stored, in no order."""
        query = select(plan_comparisons).where(plan_comparisons.c.comparison_id.in_(comparison_ids))
        return [_stored(row) for row in self._connection.execute(query).mappings()]

    def find(
        self, review_id: UUID, *, config_digest: str, manifest_digest: str
    ) -> StoredComparison | None:
        """The newest answer of this model to this very question about the review."""
        query = (
            select(plan_comparisons)
            .where(
                plan_comparisons.c.review_id == review_id,
                plan_comparisons.c.config_digest == config_digest,
                plan_comparisons.c.manifest_digest == manifest_digest,
            )
            .order_by(plan_comparisons.c.made_at.desc(), plan_comparisons.c.comparison_id.desc())
            .limit(1)
        )
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else _stored(row)

    def of_review(self, review_id: UUID, *, limit: int) -> list[StoredComparison]:
        """What was compared for a review, the newest first."""
        query = (
            select(plan_comparisons)
            .where(plan_comparisons.c.review_id == review_id)
            .order_by(plan_comparisons.c.made_at.desc(), plan_comparisons.c.comparison_id.desc())
            .limit(limit)
        )
        return [_stored(row) for row in self._connection.execute(query).mappings()]


def _row_of(stored: StoredComparison) -> dict[str, Any]:
    comparison = stored.comparison
    capsule, abstention = comparison.capsule, comparison.abstention
    return {
        "comparison_id": stored.question.comparison_id,
        "review_id": stored.review_id,
        "asked_by": stored.asked_by,
        "made_at": stored.made_at,
        "question": msgspec.to_builtins(stored.question),
        "input_digest": capsule.input_digest,
        "config_digest": capsule.config_digest,
        "manifest_digest": capsule.model.manifest_digest,
        "capsule": msgspec.to_builtins(capsule),
        "options": msgspec.to_builtins(comparison.options),
        "excluded": msgspec.to_builtins(comparison.excluded),
        "abstention_reason": None if abstention is None else abstention.reason.value,
        "abstention_detail": None if abstention is None else abstention.detail,
        "num_considered": comparison.num_considered,
        "output_digest": comparison.output_digest,
    }


def _stored(row: RowMapping) -> StoredComparison:
    reason = row["abstention_reason"]
    comparison = PlanComparison(
        options=msgspec.convert(row["options"], tuple[PlanOption, ...]),
        excluded=msgspec.convert(row["excluded"], tuple[Excluded, ...]),
        abstention=None
        if reason is None
        else Abstention(AbstentionReason(reason), row["abstention_detail"]),
        num_considered=row["num_considered"],
        capsule=msgspec.convert(row["capsule"], Capsule),
    )
    return StoredComparison(
        question=msgspec.convert(row["question"], PlanQuestion),
        comparison=comparison,
        review_id=row["review_id"],
        asked_by=row["asked_by"],
        made_at=row["made_at"],
    )
