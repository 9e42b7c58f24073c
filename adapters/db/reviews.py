"""Reviews, compared and set by version, and their decisions, written once.

Knows the tables `reviews` and `decisions`; the legal moves are the domain's.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Connection,
    RowMapping,
    Select,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import (
    decisions,
    predictions,
    relooks,
    reviews,
    second_looks,
    write_backs,
)
from adapters.operations import tracing
from clinical.errors import NotFoundError
from clinical.review.decision import Decision, Reason, Verdict
from clinical.review.review import Review, ReviewState, StaleVersionError
from clinical.services.ports import WorklistQuery

_OPEN = (ReviewState.QUEUED.value, ReviewState.CLAIMED.value)


class SqlReviews:
    """Implements the port `Reviews` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, review: Review) -> None:
        """Store a new review."""
        self._connection.execute(insert(reviews).values(asdict(review)))
        tracing.note("review opened", review_id=str(review.review_id))

    def get(self, review_id: UUID) -> Review:
        """The review as it stands; raises NotFoundError."""
        row = (
            self._connection.execute(select(reviews).where(reviews.c.review_id == review_id))
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise NotFoundError("no such review")
        return _review(row)

    def update(self, review: Review) -> None:
        """Store the next version; of two that follow the same one, one is refused.

        Raises:
            StaleVersionError, NotFoundError
        """
        changed = self._connection.execute(
            update(reviews)
            .where(reviews.c.review_id == review.review_id, reviews.c.version == review.version - 1)
            .values(asdict(review))
        )
        if changed.rowcount == 0:
            self.get(review.review_id)
            raise StaleVersionError("the review has changed since it was read")

    def open_for(self, patient_id: UUID) -> list[Review]:
        """The reviews of a patient that somebody may still decide, oldest first.

        Until the transaction ends nobody else gets past here for this patient: of two predictions
        made at once, the later sees the review of the earlier and takes its place.
        """
        lock = func.pg_advisory_xact_lock(func.hashtextextended(str(patient_id), 0))
        self._connection.execute(select(lock))
        rows = self._connection.execute(
            select(reviews)
            .where(reviews.c.patient_id == patient_id, reviews.c.state.in_(_OPEN))
            .order_by(reviews.c.opened_at, reviews.c.review_id)
        ).mappings()
        return [_review(row) for row in rows]

    def of_prediction(self, prediction_id: UUID) -> Review | None:
        """The review that the prediction was put into; None where it was overtaken."""
        query = select(reviews).where(reviews.c.prediction_id == prediction_id)
        row = self._connection.execute(query.limit(1)).mappings().one_or_none()
        return None if row is None else _review(row)

    def worklist(self, query: WorklistQuery) -> list[Review]:
        """Highest priority first, ties by id: a total order, so that no page repeats or skips."""
        statement = _matching(select(reviews), query)
        if query.after is not None:
            priority, review_id = query.after
            statement = statement.where(
                # The first condition says where the index is entered, the second what it skips there.
                reviews.c.priority <= priority,
                or_(reviews.c.priority < priority, reviews.c.review_id > review_id),
            )
        statement = statement.order_by(reviews.c.priority.desc(), reviews.c.review_id)
        rows = self._connection.execute(statement.limit(query.limit)).mappings()
        return [_review(row) for row in rows]

    def count(self, query: WorklistQuery) -> int:
        """How many match, wherever the page begins."""
        matching = _matching(select(reviews.c.review_id), query).subquery()
        return int(self._connection.scalar(select(func.count()).select_from(matching)) or 0)

    def add_decision(self, decision: Decision) -> None:
        """Store it; a review has one."""
        self._connection.execute(
            insert(decisions).values({**asdict(decision), "reasons": list(decision.reasons)})
        )

    def decision(self, review_id: UUID) -> Decision | None:
        """The decision of a review, if it has one."""
        return next(iter(self.decisions([review_id])), None)

    def decisions(self, review_ids: Iterable[UUID]) -> list[Decision]:
        """The decisions of those of the reviews that have one, in no order."""
        query = select(decisions).where(decisions.c.review_id.in_(review_ids))
        return [_decision(row) for row in self._connection.execute(query).mappings()]

    def written_back(self, review_ids: Collection[UUID]) -> dict[UUID, str]:
        """Of those of which the EHR was told, under which id it holds that."""
        query = select(write_backs.c.review_id, write_backs.c.ehr_id).where(
            write_backs.c.review_id.in_(review_ids)
        )
        return {row.review_id: row.ehr_id for row in self._connection.execute(query)}

    def note_written_back(self, review_id: UUID, ehr_id: str, at: datetime) -> None:
        """Remember under which id the EHR holds what it was told; the first stands."""
        row = {"review_id": review_id, "ehr_id": ehr_id, "told_at": at}
        self._connection.execute(upsert(write_backs).values(row).on_conflict_do_nothing())


def _matching(statement: Select[Any], query: WorklistQuery) -> Select[Any]:
    # Written into the statement: the index of the open ones needs no less to be recognised.
    states = sorted(state.value for state in query.states)
    named: BindParameter[str] = bindparam("states", states, expanding=True, literal_execute=True)
    statement = statement.where(reviews.c.state.in_(named))
    if query.claimed_by is not None:
        statement = statement.where(reviews.c.claimed_by == query.claimed_by)
    if query.abstained is not None:
        silent = predictions.c.abstention_reason.is_not(None)
        statement = statement.join(
            predictions, predictions.c.prediction_id == reviews.c.prediction_id
        ).where(silent if query.abstained else ~silent)
    if query.needs_relook:
        statement = statement.where(reviews.c.review_id.in_(_to_look_at()))
    return statement


def _to_look_at() -> Select[Any]:
    looked = (second_looks.c.review_id == relooks.c.review_id) & (
        second_looks.c.recall_id == relooks.c.recall_id
    )
    return select(relooks.c.review_id).where(~select(second_looks).where(looked).exists())


def _decision(row: RowMapping) -> Decision:
    fields = {**row, "verdict": Verdict(row["verdict"])}
    return Decision(**{**fields, "reasons": tuple(Reason(r) for r in row["reasons"])})


def _review(row: RowMapping) -> Review:
    return Review(**{**row, "state": ReviewState(row["state"])})
