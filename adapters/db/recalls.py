"""Recalls, what they find, and the marks on signed reviews. Nothing here deletes.

Knows the tables `recalls`, `relooks` and `second_looks`, and reads what predictions led to. Written
as SQL where one statement must cope with a million predictions.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    CursorResult,
    RowMapping,
    TextClause,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import predictions, recalls, relooks, second_looks
from clinical.errors import NotFoundError
from clinical.prediction.registry import Concern
from clinical.review.recall import (
    Findings,
    Recall,
    RecallKind,
    Relook,
    Touched,
    TouchedPrediction,
)
from clinical.review.review import Review, ReviewState

_ENOUGH_MEMORY = text("SET LOCAL work_mem = '256MB'")  # until the transaction ends

# What was touched: all predictions of a model, or some by id. The second of each pair are the reviews
# of other predictions for which the recalled model compared plans.
_OF_MODEL = "SELECT prediction_id, patient_id FROM predictions WHERE manifest_digest = :model"
_BY_ID = "SELECT prediction_id, patient_id FROM predictions WHERE prediction_id = ANY(:ids)"
_COMPARED_FOR = """
    SELECT r.review_id, r.state FROM reviews r JOIN predictions p USING (prediction_id)
    WHERE p.manifest_digest <> :model
    AND r.review_id IN (SELECT review_id FROM plan_comparisons WHERE manifest_digest = :model)"""
_NONE = "SELECT review_id, state FROM reviews WHERE false"
_LISTED = """
    SELECT prediction_id, patient_id FROM predictions WHERE manifest_digest = :model
    UNION ALL (
        SELECT DISTINCT p.prediction_id, p.patient_id
        FROM predictions p JOIN reviews r USING (prediction_id)
        WHERE p.manifest_digest <> :model
        AND r.review_id IN (SELECT review_id FROM plan_comparisons WHERE manifest_digest = :model))"""

# One statement each: joined into one, nothing of it would run in parallel.
_COUNTS = """
    SELECT coalesce(sum(num), 0)::bigint AS num_predictions, count(*) AS num_patients
    FROM (SELECT patient_id, count(*) AS num FROM ({touched}) AS t GROUP BY patient_id) AS by_patient"""
_COMPARISONS_OF_MODEL = "SELECT count(*) FROM plan_comparisons WHERE manifest_digest = :model"
_COMPARISONS_BY_ID = """
    SELECT count(*) FROM plan_comparisons JOIN reviews USING (review_id)
    WHERE prediction_id = ANY(:ids)"""
_TALLY = """
    SELECT state, decided_by, count(*) AS num FROM reviews
    JOIN ({listed}) AS t USING (prediction_id) LEFT JOIN decisions USING (review_id)
    GROUP BY state, decided_by"""
# From the reviews to who read each, or from all that was read: which is less depends on how many.
_FEW = 100_000
_READERS_OF_FEW = """
    SELECT actor, count(*) AS num FROM (
        SELECT DISTINCT review_id, actor FROM reviews JOIN ({listed}) AS t USING (prediction_id),
            LATERAL (SELECT actor FROM audit_entries WHERE kind = 'review.read.v1'
                AND refs ->> 'review' = review_id::text OFFSET 0) AS reads
    ) AS distinct_reads GROUP BY actor"""
_READERS_OF_MANY = """
    SELECT actor, count(*) AS num FROM (
        SELECT DISTINCT actor, refs ->> 'review' AS read FROM audit_entries
        WHERE kind = 'review.read.v1'
    ) AS reads JOIN reviews ON review_id = read::uuid
    JOIN ({listed}) AS t USING (prediction_id) GROUP BY actor"""

_COLUMNS = """
    SELECT p.prediction_id, p.patient_id, p.purpose, p.as_of, p.made_at,
        r.review_id, r.state AS review_state,
        d.decided_by AS signed_by, d.decided_at AS signed_at, d.verdict,
        (SELECT count(*) FROM plan_comparisons c WHERE c.review_id = r.review_id)
            AS num_comparisons,
        ARRAY(SELECT DISTINCT actor FROM audit_entries
            WHERE kind = 'review.read.v1' AND refs ->> 'review' = r.review_id::text
            ORDER BY actor) AS readers"""
# The newest signatures first, until enough of them are of what was touched.
_SIGNED = (
    _COLUMNS
    + """
    FROM decisions d JOIN reviews r USING (review_id) JOIN predictions p USING (prediction_id)
    WHERE {is_listed} ORDER BY d.decided_at DESC, d.review_id DESC LIMIT :limit"""
)
_ALL = (
    _COLUMNS
    + """
    FROM ({listed}) AS touched JOIN predictions p USING (prediction_id)
    LEFT JOIN reviews r USING (prediction_id) LEFT JOIN decisions d USING (review_id)
    ORDER BY p.prediction_id, r.review_id"""
)
_IS_OF_MODEL = """(p.manifest_digest = :model
    OR r.review_id IN (SELECT review_id FROM plan_comparisons WHERE manifest_digest = :model))"""
_IS_BY_ID = "p.prediction_id = ANY(:ids)"

_OPEN = """
    SELECT r.* FROM reviews r WHERE r.state IN ('queued', 'claimed')
    AND r.prediction_id IN (SELECT prediction_id FROM ({touched}) AS touched)
    ORDER BY r.review_id LIMIT :limit FOR NO KEY UPDATE OF r"""

_TO_MARK = """
    SELECT review_id FROM (
        SELECT review_id, state FROM reviews JOIN ({touched}) AS touched USING (prediction_id)
        UNION ALL ({compared_for})
    ) AS affected
    WHERE state = 'signed' AND (CAST(:after AS uuid) IS NULL OR review_id > :after)
    ORDER BY review_id LIMIT :limit"""

_TO_LOOK_AT = text(
    "SELECT count(DISTINCT review_id) FROM relooks WHERE NOT EXISTS (SELECT FROM second_looks s"
    " WHERE s.review_id = relooks.review_id AND s.recall_id = relooks.recall_id)"
)


class SqlRecalls:
    """Implements the port `Recalls` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def get(self, recall_id: UUID) -> Recall:
        """The recall; raises NotFoundError."""
        query = select(recalls).where(recalls.c.recall_id == recall_id)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFoundError("no such recall")
        return _recall(row)

    def find(self, kind: RecallKind, target: str) -> Recall | None:
        """The recall of this target, if there was one."""
        query = select(recalls).where(recalls.c.kind == kind.value, recalls.c.target == target)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else _recall(row)

    def add(self, recall: Recall) -> bool:
        """Store; False where this target was recalled before."""
        added = self._connection.execute(
            upsert(recalls)
            .values(asdict(recall))
            .on_conflict_do_nothing()
            .returning(recalls.c.recall_id)
        ).scalar()
        return added is not None

    def num_all(self) -> int:
        """How many recalls there were."""
        return int(self._connection.scalar(select(func.count()).select_from(recalls)) or 0)

    def asked_of(
        self, patient_ids: Collection[UUID]
    ) -> list[tuple[UUID, UUID, datetime, datetime]]:
        """Patient, prediction, `as_of` and `received_by` of every prediction about these patients."""
        p = predictions.c
        query = select(p.patient_id, p.prediction_id, p.as_of, p.received_by)
        rows = self._connection.execute(query.where(p.patient_id.in_(patient_ids)))
        return [(row.patient_id, row.prediction_id, row.as_of, row.received_by) for row in rows]

    def findings(self, touched: Touched) -> Findings:
        """How much was touched, and by whom it was signed and read."""
        self._connection.execute(_ENOUGH_MEMORY)
        is_model = touched.manifest_digest is not None
        comparisons = _COMPARISONS_OF_MODEL if is_model else _COMPARISONS_BY_ID
        counts = self._ask(_COUNTS, touched).one()
        tally = self._ask(_TALLY, touched).all()
        readers = _READERS_OF_FEW if counts.num_predictions < _FEW else _READERS_OF_MANY
        return Findings(
            num_predictions=counts.num_predictions,
            num_patients=counts.num_patients,
            num_comparisons=int(self._ask(comparisons, touched).scalar_one()),
            reviews_by_state=_summed((row.state, row.num) for row in tally),
            signers=_summed((row.decided_by, row.num) for row in tally if row.decided_by),
            readers=_summed((row.actor, row.num) for row in self._ask(readers, touched)),
        )

    def signed(self, touched: Touched, limit: int) -> list[TouchedPrediction]:
        """Those that somebody signed, the newest signature first."""
        statement = _statement(_SIGNED, touched)
        rows = self._connection.execute(statement, _values(touched) | {"limit": limit}).mappings()
        return [_touched(row) for row in rows]

    def all_touched(self, touched: Touched) -> Iterator[TouchedPrediction]:
        """Every one, in the order of identity, streamed."""
        statement = _statement(_ALL, touched)
        streamed = self._connection.execution_options(yield_per=1000)
        for row in streamed.execute(statement, _values(touched)).mappings():
            yield _touched(row)

    def open_reviews(self, touched: Touched, limit: int) -> list[Review]:
        """Some that are open, held until the transaction ends."""
        statement = _statement(_OPEN, touched)
        rows = self._connection.execute(statement, _values(touched) | {"limit": limit}).mappings()
        return [Review(**{**row, "state": ReviewState(row["state"])}) for row in rows]

    def ask_relooks(
        self, recall: Recall, touched: Touched, at: datetime, *, after: UUID | None, limit: int
    ) -> tuple[list[UUID], UUID | None]:
        """Mark signed reviews beyond `after`; which were not marked before, and where to go on."""
        values = _values(touched) | {"after": after, "limit": limit}
        signed = list(self._connection.execute(_statement(_TO_MARK, touched), values).scalars())
        if not signed:
            return [], None
        rows = [
            {"review_id": review_id, "recall_id": recall.recall_id, "asked_at": at}
            for review_id in signed
        ]
        marked = self._connection.execute(
            upsert(relooks).values(rows).on_conflict_do_nothing().returning(relooks.c.review_id)
        ).scalars()
        return sorted(marked), signed[-1] if len(signed) == limit else None

    def relooks(self, review_ids: Collection[UUID]) -> list[Relook]:
        """Every mark on these reviews, the oldest first."""
        key = (second_looks.c.review_id, second_looks.c.recall_id)
        query = (
            select(
                recalls,
                relooks.c.review_id,
                relooks.c.asked_at,
                second_looks.c.looked_by,
                second_looks.c.looked_at,
            )
            .join(relooks, relooks.c.recall_id == recalls.c.recall_id)
            .outerjoin(
                second_looks, tuple_(*key) == tuple_(relooks.c.review_id, relooks.c.recall_id)
            )
            .where(relooks.c.review_id.in_(review_ids))
            .order_by(relooks.c.asked_at, relooks.c.recall_id)
        )
        return [
            Relook(
                review_id=row["review_id"],
                recall=_recall({name: row[name] for name in recalls.columns.keys()}),  # noqa: SIM118
                asked_at=row["asked_at"],
                looked_by=row["looked_by"],
                looked_at=row["looked_at"],
            )
            for row in self._connection.execute(query).mappings()
        ]

    def looked_again(self, review_id: UUID, by: str, at: datetime) -> int:
        """Answer every mark of the review that nobody has answered; how many."""
        marks = select(
            relooks.c.review_id,
            relooks.c.recall_id,
            literal(by, second_looks.c.looked_by.type),
            literal(at, second_looks.c.looked_at.type),
        ).where(relooks.c.review_id == review_id)
        names = [column.name for column in second_looks.columns]
        answered = self._connection.execute(
            upsert(second_looks)
            .from_select(names, marks)
            .on_conflict_do_nothing()
            .returning(second_looks.c.recall_id)
        )
        return len(answered.all())

    def num_to_look_at(self) -> int:
        """How many reviews wait for another look."""
        return int(self._connection.scalar(_TO_LOOK_AT) or 0)

    def _ask(self, pattern: str, touched: Touched) -> CursorResult[Any]:
        return self._connection.execute(_statement(pattern, touched), _values(touched))


def _statement(pattern: str, touched: Touched) -> TextClause:
    """The statement for what was touched; only our own text is put into it."""
    is_model = touched.manifest_digest is not None
    chosen = {
        "touched": _OF_MODEL if is_model else _BY_ID,
        "listed": _LISTED if is_model else _BY_ID,
        "is_listed": _IS_OF_MODEL if is_model else _IS_BY_ID,
        "compared_for": _COMPARED_FOR if is_model else _NONE,
    }
    return text(pattern.format(**chosen))


def _values(touched: Touched) -> dict[str, Any]:
    if touched.manifest_digest is not None:
        return {"model": touched.manifest_digest}
    return {"ids": list(touched.prediction_ids)}


def _summed(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for name, num in counts:
        sums[name] += num
    return dict(sums)


def _recall(row: RowMapping | dict[str, Any]) -> Recall:
    return Recall(**{**row, "kind": RecallKind(row["kind"]), "concern": Concern(row["concern"])})


def _touched(row: RowMapping) -> TouchedPrediction:
    return TouchedPrediction(**{**row, "readers": tuple(row["readers"])})
