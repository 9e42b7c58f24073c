"""Events of patients: copied in, read back as timelines.

Knows the tables `events` and `patients`. Does not know where events come from.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

from psycopg import Connection as PsycopgConnection
from psycopg import Cursor
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.event_rows import COLUMNS, TYPES, events_of, row_of
from adapters.db.tables import events, patients
from clinical.errors import NotFoundError
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline

_NAMES = ", ".join(COLUMNS)
_STAGE = "CREATE TEMPORARY TABLE IF NOT EXISTS staged_events (LIKE events) ON COMMIT DELETE ROWS"
# The lower identity first in every transaction: two imports of the same events wait, never deadlock.
_KEEP = f"INSERT INTO events SELECT {_NAMES} FROM staged_events ORDER BY event_id ON CONFLICT DO NOTHING"  # noqa: S608
_READ = f"SELECT {_NAMES} FROM events WHERE patient_id = %s"  # noqa: S608


class SqlTimelines:
    """Implements the port `Timelines` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, events: Sequence[Event], patients: dict[UUID, PatientRef]) -> int:
        """Store what is not held: binary COPY into a staging table, then insert on no conflict."""
        if patients:
            self._introduce(patients)
        if not events:
            return 0
        with self._cursor() as cursor:
            cursor.execute(_STAGE)
            with cursor.copy(f"COPY staged_events ({_NAMES}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(TYPES)
                for event in events:
                    copy.write_row(row_of(event.event_id, event))
            cursor.execute(_KEEP)
            added = cursor.rowcount
            cursor.execute("DELETE FROM staged_events")
        return added

    def of(self, patient_id: UUID) -> Timeline:
        """Everything held about a patient; empty where nothing is."""
        with self._cursor() as cursor:
            cursor.execute(_READ, (patient_id,), binary=True)
            return Timeline.of(patient_id, events_of(cursor.fetchall()))

    def patient(self, patient_id: UUID) -> PatientRef:
        """How the site names the patient; raises NotFoundError."""
        row = self._connection.execute(
            select(patients.c.site, patients.c.record_id).where(patients.c.patient_id == patient_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("no such patient")
        return PatientRef(row.site, row.record_id)

    def patient_ids(self) -> Iterator[UUID]:
        """Every patient with an event, in the order of identity."""
        query = select(events.c.patient_id).distinct().order_by(events.c.patient_id)
        yield from self._connection.execution_options(yield_per=1000).scalars(query)

    def _introduce(self, named: dict[UUID, PatientRef]) -> None:
        rows = [
            {"patient_id": patient_id, "site": ref.site, "record_id": ref.record_id}
            for patient_id, ref in sorted(named.items())
        ]
        self._connection.execute(upsert(patients).on_conflict_do_nothing(), rows)

    def _cursor(self) -> Cursor[tuple[object, ...]]:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, PsycopgConnection)
        return raw.cursor()
