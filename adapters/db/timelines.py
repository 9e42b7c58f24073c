"""Events of patients: copied in, each of them once, and read back as timelines.

Knows the tables `events` and `patients`. Does not know where events come from.
"""

from collections import defaultdict
from collections.abc import Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.event_rows import COLUMNS, TYPES, events_of, row_of
from adapters.db.retractions import merges_around
from adapters.db.tables import events, patients
from clinical.errors import NotFoundError
from clinical.review.recall import RecordName
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from clinical.timeline.versions import Record, by_patient, record_of

_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
_PLACEHOLDERS = sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS))
_INSERT = sql.SQL("INSERT INTO events ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
    _COLUMNS, _PLACEHOLDERS
)
_HELD = sql.SQL("SELECT event_id FROM events WHERE event_id = ANY(%b::uuid[])")
_COPY = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
_STAGE = sql.SQL("CREATE TEMPORARY TABLE staged_events (LIKE events) ON COMMIT DROP")
_MERGE = sql.SQL(
    "INSERT INTO events ({0}) SELECT {0} FROM staged_events ORDER BY patient_id, event_id"
    " ON CONFLICT DO NOTHING"
).format(_COLUMNS)
_UNSTAGE = sql.SQL("DROP TABLE staged_events")
_OF_PATIENTS = sql.SQL("SELECT {} FROM events WHERE patient_id = ANY(%b::uuid[])").format(_COLUMNS)
# By the index for each, whatever the planner believes of a young table; it knows records by id alone.
_OF_RECORD_IDS = sql.SQL(
    "SELECT held.* FROM unnest(%b::text[]) AS wanted (record_id) CROSS JOIN LATERAL"
    " (SELECT {} FROM events WHERE events.record_id = wanted.record_id OFFSET 0) AS held"
).format(_COLUMNS)
_KNOWN = sql.SQL(
    "SELECT patient_id FROM unnest(%b::uuid[]) AS asked (patient_id)"
    " WHERE EXISTS (SELECT FROM events WHERE events.patient_id = asked.patient_id)"
)

_FEW = 16  # up to here plain inserts are faster than COPY

Identified = tuple[UUID, Event]


class SqlTimelines:
    """Implements the port `Timelines` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, events: Sequence[Event], patients: dict[UUID, PatientRef]) -> int:
        """Store what is not held; how many that was. The first receipt of a fact stays."""
        if patients:
            self._introduce(patients)
        unique: dict[UUID, Event] = {}
        for event in events:
            unique.setdefault(event.event_id, event)
        # One order for everybody: two transactions that bring the same events wait, never deadlock.
        ordered = sorted(unique.items(), key=lambda item: (item[1].patient_id.int, item[0].int))
        if len(ordered) <= _FEW:
            return self._insert(ordered)
        held = self._held(list(unique))
        return self._copy([item for item in ordered if item[0] not in held])

    def of(self, patient_id: UUID, *, without: Collection[UUID] = ()) -> Timeline:
        """Everything held about a patient but what these deliveries told; empty where nothing is."""
        merges = merges_around(self._connection, [patient_id])
        with self._driver.cursor(binary=True) as cursor:
            cursor.execute(_OF_PATIENTS, [sorted({patient_id, *merges.patient_ids})])
            events = [e for e in events_of(cursor) if e.source.delivery_id not in without]
            if not merges.statements:
                return Timeline.of(patient_id, events)
            return Timeline.of_person(patient_id, by_patient(events), merges)

    def versions(self, records: AbstractSet[Record]) -> list[Event]:
        """Every event held of any version of these records, whoever it is about."""
        if not records:
            return []
        with self._driver.cursor(binary=True) as cursor:
            cursor.execute(_OF_RECORD_IDS, [sorted({record_id for _, _, record_id in records})])
            return [event for event in events_of(cursor) if record_of(event) in records]

    def known(self, patient_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of whom some event is held."""
        with self._driver.cursor(binary=True) as cursor:
            return frozenset(row[0] for row in cursor.execute(_KNOWN, [sorted(patient_ids)]))

    def patient(self, patient_id: UUID) -> PatientRef:
        """How the site names the patient; raises NotFoundError."""
        row = self._connection.execute(
            select(patients.c.site, patients.c.record_id).where(patients.c.patient_id == patient_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("no such patient")
        return PatientRef(row.site, row.record_id)

    def holders(self, record: RecordName) -> Mapping[str, Collection[UUID]]:
        """By site the patients of whom some event was read from this record."""
        named = {
            events.c.record_id: record.record_id,
            events.c.record_type: record.record_type,
            events.c.version: record.version,
            events.c.site: record.site,
        }
        query = select(events.c.site, events.c.patient_id).distinct()
        found: defaultdict[str, set[UUID]] = defaultdict(set)
        for row in self._connection.execute(
            query.where(*(column == value for column, value in named.items() if value))
        ):
            found[row.site].add(row.patient_id)
        return found

    def patient_ids(self) -> Generator[UUID, None, None]:
        """Every patient ever heard of, in the order of identity, streamed."""
        query = select(patients.c.patient_id).order_by(patients.c.patient_id)
        # Whoever stops early closes this, and with it the server's cursor.
        with self._connection.execute(query.execution_options(yield_per=1000)) as found:
            yield from found.scalars()

    @property
    def _driver(self) -> psycopg.Connection[Any]:
        """The connection below SQLAlchemy's, in the same transaction: COPY and binary rows need it."""
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        return driver

    def _introduce(self, named: dict[UUID, PatientRef]) -> None:
        rows = [
            {"patient_id": patient_id, "site": ref.site, "record_id": ref.record_id}
            for patient_id, ref in sorted(named.items())
        ]
        self._connection.execute(upsert(patients).on_conflict_do_nothing(), rows)

    def _insert(self, events: Sequence[Identified]) -> int:
        if not events:
            return 0
        with self._driver.cursor() as cursor:
            cursor.executemany(_INSERT, [row_of(*identified) for identified in events])
            return cursor.rowcount

    def _held(self, event_ids: list[UUID]) -> set[UUID]:
        with self._driver.cursor(binary=True) as cursor:
            return {row[0] for row in cursor.execute(_HELD, [event_ids])}

    def _copy(self, events: Sequence[Identified]) -> int:
        """COPY straight into the table, which writes once; merge where somebody was faster."""
        if not events:
            return 0
        try:
            with self._connection.begin_nested():
                self._copy_into("events", events)
        except psycopg.errors.UniqueViolation:
            return self._merge(events)
        return len(events)

    def _merge(self, events: Sequence[Identified]) -> int:
        with self._driver.cursor() as cursor:
            cursor.execute(_STAGE)
            self._copy_into("staged_events", events)
            cursor.execute(_MERGE)
            num_new = cursor.rowcount
            cursor.execute(_UNSTAGE)
            return num_new

    def _copy_into(self, table: str, events: Sequence[Identified]) -> None:
        # Rows are made while the server takes in the ones before.
        statement = _COPY.format(sql.Identifier(table), _COLUMNS)
        with self._driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(TYPES)
            for identified in events:
                copy.write_row(row_of(*identified))
