"""How many there are of everything: for the demo's table and for those who look after the service.

Knows the tables. Reads only.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from adapters.db.errors import translating

_QUESTION = text(
    """
    SELECT
        (SELECT count(*) FROM patients) AS num_patients,
        (SELECT count(*) FROM events) AS num_events,
        (SELECT count(*) FROM deliveries) AS num_deliveries,
        (SELECT count(*) FROM deliveries WHERE recorded_at IS NULL) AS num_unrecorded_deliveries,
        (SELECT count(*) FROM quarantine) AS num_quarantined,
        (SELECT count(*) FROM predictions) AS num_predictions,
        (SELECT count(*) FROM predictions WHERE abstention_reason IS NOT NULL) AS num_abstained,
        (SELECT count(*) FROM audit_entries) AS num_audit_entries,
        (SELECT coalesce(jsonb_object_agg(state, num), '{}')
            FROM (SELECT state, count(*) AS num FROM reviews GROUP BY state) AS by_state
        ) AS num_reviews_by_state,
        (SELECT coalesce(jsonb_object_agg(state, num), '{}')
            FROM (SELECT state, count(*) AS num FROM messages GROUP BY state) AS by_state
        ) AS num_messages_by_state
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The counts, all of one moment; a state that nothing is in is not listed."""

    num_patients: int
    num_events: int
    num_deliveries: int
    num_unrecorded_deliveries: int
    num_quarantined: int
    num_predictions: int
    num_abstained: int
    num_audit_entries: int
    num_reviews_by_state: dict[str, int]
    num_messages_by_state: dict[str, int]


def take_census(engine: Engine) -> Census:
    """Count, in one statement.

    Raises:
        StorageUnavailableError
    """
    with translating(), engine.connect() as connection:
        row = connection.execute(_QUESTION).one()
    return Census(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
