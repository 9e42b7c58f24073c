"""All that is stored of one patient, deleted: rows, received bytes, and the salts of what vouched for them.

Knows every table that holds something about a patient. Does not decide who may ask for it. The rows
are gone for everybody who asks the database; old pages, write-ahead logs and backups keep them until
they are overwritten or age out (`scrub` rewrites the pages).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from clinical.services.ports import Erased

# Nobody adds anything of the patient between the count and the end of the transaction.
_LOCK = """
SET LOCAL lock_timeout = '30s';
LOCK TABLE deliveries, delivery_patients, events, messages, predictions, reviews, plan_comparisons,
    shown_cards, card_feedback
IN SHARE ROW EXCLUSIVE MODE
"""
_SCOPE = (
    """CREATE TEMPORARY TABLE erased_deliveries ON COMMIT DROP AS
    SELECT delivery_id, EXISTS (
        SELECT FROM delivery_patients AS other
        WHERE other.delivery_id = told.delivery_id AND other.patient_id <> :patient
    ) AS is_shared
    FROM delivery_patients AS told WHERE patient_id = :patient""",
    """CREATE TEMPORARY TABLE erased_reviews ON COMMIT DROP AS
    SELECT review_id FROM reviews WHERE patient_id = :patient""",
    """CREATE TEMPORARY TABLE erased_entries ON COMMIT DROP AS
    SELECT entry_id FROM audit_openings JOIN audit_entries USING (entry_id) JOIN (
        SELECT jsonb_build_object('delivery', delivery_id::text) AS ref FROM erased_deliveries
        UNION ALL SELECT jsonb_build_object('review', review_id::text) FROM erased_reviews
        UNION ALL SELECT jsonb_build_object('prediction', prediction_id::text)
        FROM predictions WHERE patient_id = :patient
    ) AS named ON refs @> named.ref""",
)
_EXTENT = """
SELECT
    (SELECT count(*) FROM events WHERE patient_id = :patient) AS num_events,
    (SELECT count(*) FROM erased_deliveries) AS num_deliveries,
    (SELECT count(*) FROM erased_deliveries WHERE is_shared) AS num_shared,
    (SELECT count(*) FROM predictions WHERE patient_id = :patient) AS num_predictions,
    (SELECT count(*) FROM plan_comparisons JOIN erased_reviews USING (review_id))
        AS num_comparisons,
    (SELECT count(*) FROM erased_reviews) AS num_reviews,
    (SELECT count(*) FROM decisions JOIN erased_reviews USING (review_id)) AS num_decisions,
    (SELECT count(DISTINCT entry_id) FROM erased_entries) AS num_sealed
"""
_DELETE = (
    "DELETE FROM audit_openings WHERE entry_id IN (SELECT entry_id FROM erased_entries)",
    "DELETE FROM write_backs USING erased_reviews AS gone WHERE write_backs.review_id = gone.review_id",
    """DELETE FROM card_feedback WHERE prediction_id IN
        (SELECT prediction_id FROM predictions WHERE patient_id = :patient)""",
    """DELETE FROM shown_cards WHERE prediction_id IN
        (SELECT prediction_id FROM predictions WHERE patient_id = :patient)""",
    "DELETE FROM decisions USING erased_reviews AS gone WHERE decisions.review_id = gone.review_id",
    "DELETE FROM plan_comparisons USING erased_reviews AS gone WHERE plan_comparisons.review_id = gone.review_id",
    "DELETE FROM reviews USING erased_reviews AS gone WHERE reviews.review_id = gone.review_id",
    "DELETE FROM patient_states WHERE patient_id = :patient",
    "DELETE FROM patient_memories WHERE patient_id = :patient",
    "DELETE FROM predictions WHERE patient_id = :patient",
    "DELETE FROM events WHERE patient_id = :patient",
    "DELETE FROM quarantine USING erased_deliveries AS gone WHERE quarantine.delivery_id = gone.delivery_id",
    "DELETE FROM delivery_patients USING erased_deliveries AS gone WHERE delivery_patients.delivery_id = gone.delivery_id",
    """DELETE FROM messages WHERE subject_id = :patient
        OR subject_id IN (SELECT review_id FROM erased_reviews)""",
    # Who sends the same id again is told; an id that is a digest of the bytes would tell of them.
    """UPDATE deliveries SET body = '', digest = '', context = '{}', erased_at = :at,
        sender_id = CASE WHEN sender_id ~ '[0-9a-f]{64}' THEN 'erased:' || deliveries.delivery_id
        ELSE sender_id END
        FROM erased_deliveries AS gone WHERE deliveries.delivery_id = gone.delivery_id""",
    # A recall by a record of the patient names that record.
    """UPDATE recalls SET target = 'erased:' || recall_id, note = '', patient_id = NULL
        WHERE patient_id = :patient""",
    "DELETE FROM patients WHERE patient_id = :patient",
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

    def extent(self, patient_id: UUID) -> Erased:
        """What `erase` would erase; until the transaction ends nothing is added to it.

        Raises:
            StorageConflictError: somebody wrote for too long.
        """
        for statement in (*_LOCK.split(";"), *_SCOPE):
            self._execute(statement, patient=patient_id)
        row = self._connection.execute(text(_EXTENT), {"patient": patient_id}).one()
        return Erased(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it

    def erase(self, patient_id: UUID, at: datetime) -> None:
        """Delete what `extent` found in this transaction."""
        for statement in _DELETE:
            self._execute(statement, patient=patient_id, at=at)

    def _execute(self, statement: str, **values: object) -> None:
        wanted: Mapping[str, Any] = {n: v for n, v in values.items() if f":{n}" in statement}
        self._connection.execute(text(statement), wanted)


def scrub(engine: Engine) -> None:
    """Rewrite the tables that held patients, so that no page of them keeps what was deleted.

    Each table is locked while it is rewritten.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in _HOLDS_PATIENTS:
            connection.execute(text(f"VACUUM (FULL) {table}"))
        connection.execute(text("CHECKPOINT"))
