"""All that is stored of one person, deleted: rows, received bytes, and the salts of what vouched for them.

Knows every table that holds something about a patient. Does not decide who may ask for it. The rows
are gone for everybody who asks the database; old pages, write-ahead logs and backups keep them until
they are overwritten or age out (`scrub` rewrites the pages).
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from clinical.services.ports import Erased

_PATIENTS = ARRAY(Uuid())

# Nobody adds anything of the patient between the count and the end of the transaction.
_LOCK = """
SET LOCAL lock_timeout = '30s';
LOCK TABLE deliveries, delivery_patients, events, messages, predictions, reviews, plan_comparisons,
    deleted_records, patient_merges, stale_marks, shown_cards, card_feedback
IN SHARE ROW EXCLUSIVE MODE
"""
_SCOPE = (
    """CREATE TEMPORARY TABLE erased_deliveries ON COMMIT DROP AS
    SELECT DISTINCT delivery_id, EXISTS (
        SELECT FROM delivery_patients AS other
        WHERE other.delivery_id = told.delivery_id AND other.patient_id <> ALL(:patients)
    ) AS is_shared
    FROM delivery_patients AS told WHERE patient_id = ANY(:patients)""",
    """CREATE TEMPORARY TABLE erased_reviews ON COMMIT DROP AS
    SELECT review_id FROM reviews WHERE patient_id = ANY(:patients)""",
    """CREATE TEMPORARY TABLE erased_entries ON COMMIT DROP AS
    SELECT entry_id FROM audit_openings JOIN audit_entries USING (entry_id) JOIN (
        SELECT jsonb_build_object('delivery', delivery_id::text) AS ref FROM erased_deliveries
        UNION ALL SELECT jsonb_build_object('review', review_id::text) FROM erased_reviews
        UNION ALL SELECT jsonb_build_object('prediction', prediction_id::text)
        FROM predictions WHERE patient_id = ANY(:patients)
    ) AS named ON refs @> named.ref""",
)
_EXTENT = """
SELECT
    (SELECT count(*) FROM events WHERE patient_id = ANY(:patients)) AS num_events,
    (SELECT count(*) FROM erased_deliveries) AS num_deliveries,
    (SELECT count(*) FROM erased_deliveries WHERE is_shared) AS num_shared,
    (SELECT count(*) FROM predictions WHERE patient_id = ANY(:patients)) AS num_predictions,
    (SELECT count(*) FROM plan_comparisons JOIN erased_reviews USING (review_id))
        AS num_comparisons,
    (SELECT count(*) FROM erased_reviews) AS num_reviews,
    (SELECT count(*) FROM decisions JOIN erased_reviews USING (review_id)) AS num_decisions,
    (SELECT count(DISTINCT entry_id) FROM erased_entries) AS num_sealed,
    (SELECT count(*) - 1 FROM unnest(:patients) AS merged) AS num_merged
"""
_DELETE = (
    "DELETE FROM audit_openings WHERE entry_id IN (SELECT entry_id FROM erased_entries)",
    "DELETE FROM write_backs USING erased_reviews AS gone WHERE write_backs.review_id = gone.review_id",
    """DELETE FROM card_feedback WHERE prediction_id IN
        (SELECT prediction_id FROM predictions WHERE patient_id = ANY(:patients))""",
    """DELETE FROM shown_cards WHERE prediction_id IN
        (SELECT prediction_id FROM predictions WHERE patient_id = ANY(:patients))""",
    "DELETE FROM decisions USING erased_reviews AS gone WHERE decisions.review_id = gone.review_id",
    "DELETE FROM plan_comparisons USING erased_reviews AS gone WHERE plan_comparisons.review_id = gone.review_id",
    "DELETE FROM reviews USING erased_reviews AS gone WHERE reviews.review_id = gone.review_id",
    "DELETE FROM patient_states WHERE patient_id = ANY(:patients)",
    "DELETE FROM patient_memories WHERE patient_id = ANY(:patients)",
    """DELETE FROM stale_marks USING predictions
        WHERE stale_marks.prediction_id = predictions.prediction_id AND patient_id = ANY(:patients)""",
    "DELETE FROM predictions WHERE patient_id = ANY(:patients)",
    """DELETE FROM deleted_records USING events WHERE events.patient_id = ANY(:patients)
        AND (events.site, events.record_type, events.record_id)
        = (deleted_records.site, deleted_records.record_type, deleted_records.record_id)""",
    "DELETE FROM deleted_records USING erased_deliveries AS gone WHERE deleted_records.delivery_id = gone.delivery_id",
    "DELETE FROM patient_merges WHERE gone_id = ANY(:patients) OR kept_id = ANY(:patients)",
    "DELETE FROM events WHERE patient_id = ANY(:patients)",
    "DELETE FROM quarantine USING erased_deliveries AS gone WHERE quarantine.delivery_id = gone.delivery_id",
    "DELETE FROM delivery_patients USING erased_deliveries AS gone WHERE delivery_patients.delivery_id = gone.delivery_id",
    """DELETE FROM messages WHERE subject_id = ANY(:patients)
        OR subject_id IN (SELECT review_id FROM erased_reviews)""",
    # Who sends the same id again is told; an id that is a digest of the bytes would tell of them.
    """UPDATE deliveries SET body = '', digest = '', context = '{}', erased_at = :at,
        sender_id = CASE WHEN sender_id ~ '[0-9a-f]{64}' THEN 'erased:' || deliveries.delivery_id
        ELSE sender_id END
        FROM erased_deliveries AS gone WHERE deliveries.delivery_id = gone.delivery_id""",
    # A recall by a record of the patient names that record.
    """UPDATE recalls SET target = 'erased:' || recall_id, note = '', patient_id = NULL
        WHERE patient_id = ANY(:patients)""",
    "DELETE FROM patients WHERE patient_id = ANY(:patients)",
)
_HOLDS_PATIENTS = (
    "deliveries",
    "quarantine",
    "delivery_patients",
    "events",
    "messages",
    "patients",
    "patient_states",
    "patient_memories",
    "predictions",
    "deleted_records",
    "patient_merges",
    "stale_marks",
    "plan_comparisons",
    "reviews",
    "decisions",
    "write_backs",
    "shown_cards",
    "card_feedback",
    "recalls",
    "audit_openings",
)


class SqlErasure:
    """Implements the port `Erasure` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def extent(self, patient_ids: Collection[UUID]) -> Erased:
        """What `erase` would erase; until the transaction ends nothing is added to it.

        Raises:
            StorageConflictError: somebody wrote for too long.
        """
        for statement in (*_LOCK.split(";"), *_SCOPE):
            self._execute(statement, patients=sorted(patient_ids))
        bound = text(_EXTENT).bindparams(bindparam("patients", sorted(patient_ids), _PATIENTS))
        row = self._connection.execute(bound).one()
        return Erased(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it

    def erase(self, patient_ids: Collection[UUID], at: datetime) -> None:
        """Delete what `extent` found in this transaction."""
        for statement in _DELETE:
            self._execute(statement, patients=sorted(patient_ids), at=at)

    def _execute(self, statement: str, **values: object) -> None:
        wanted: Mapping[str, Any] = {n: v for n, v in values.items() if f":{n}" in statement}
        bound = text(statement)
        if "patients" in wanted:
            bound = bound.bindparams(bindparam("patients", type_=_PATIENTS))
        self._connection.execute(bound, wanted)


def scrub(engine: Engine) -> None:
    """Rewrite the tables that held patients, so that no page of them keeps what was deleted.

    Each table is locked while it is rewritten.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in _HOLDS_PATIENTS:
            connection.execute(text(f"VACUUM (FULL) {table}"))
        connection.execute(text("CHECKPOINT"))
