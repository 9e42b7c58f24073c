"""What came in and could not, or not wholly, be understood: read from the inbox's own tables.

Knows the tables; names codes of reasons, code systems and units, never a record.
"""

from sqlalchemy import Connection, Engine, func, select, text

from adapters.db.tables import deliveries, quarantine
from pipelines.evaluation.findings import IntakeFindings

_TOP = 15

_COUNTED = text(
    """
    SELECT substr(counted.key, length(:prefix) + 1) AS name, sum(counted.value::bigint) AS number
    FROM deliveries, jsonb_each_text(deliveries.counts) AS counted
    WHERE deliveries.counts IS NOT NULL AND starts_with(counted.key, :prefix)
    GROUP BY 1 ORDER BY number DESC, name LIMIT :top
    """
)


def intake_findings(engine: Engine) -> IntakeFindings:
    """Quarantine by reason, and the code systems and units that nobody could map, most often first."""
    with engine.connect() as connection:
        number = func.count().label("number")
        reasons = connection.execute(
            select(quarantine.c.reason_code, number)
            .group_by(quarantine.c.reason_code)
            .order_by(number.desc(), quarantine.c.reason_code)
        )
        return IntakeFindings(
            num_deliveries=connection.scalar(select(func.count()).select_from(deliveries)) or 0,
            quarantined={row.reason_code: row.number for row in reasons},
            unmapped_systems=_counted(connection, "unmapped_system:"),
            unmapped_units=_counted(connection, "unmapped_unit:"),
        )


def _counted(connection: Connection, prefix: str) -> dict[str, int]:
    rows = connection.execute(_COUNTED, {"prefix": prefix, "top": _TOP})
    return {row.name: int(row.number) for row in rows}
