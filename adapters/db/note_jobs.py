"""Which notes are being coded elsewhere. Knows the table `note_jobs`, and whom a delivery tells of."""

from uuid import UUID

from sqlalchemy import ColumnElement, Connection, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.outward_tables import note_jobs
from adapters.db.tables import delivery_patients
from clinical.services.ports import NoteJob


class SqlNoteJobs:
    """Implements the port `NoteJobs` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def keep(self, job: NoteJob) -> None:
        """Remember; takes the place of an earlier job of the note."""
        values = {"site": job.site, "job_id": job.job_id}
        self._connection.execute(
            upsert(note_jobs)
            .values(note_id=job.note_id, **values)
            .on_conflict_do_update(index_elements=["note_id"], set_=values)
        )

    def of_note(self, note_id: UUID) -> NoteJob | None:
        """The job of a note."""
        return self._one(note_jobs.c.note_id == note_id)

    def named(self, site: str, job_id: str) -> NoteJob | None:
        """The job of this id at the site."""
        return self._one((note_jobs.c.site == site) & (note_jobs.c.job_id == job_id))

    def share_patients(self, note_id: UUID, event_id: UUID) -> None:
        """Let the delivery `event_id` be known to tell of whom the note tells, so that both are erased."""
        told_of = select(literal(event_id), delivery_patients.c.patient_id).where(
            delivery_patients.c.delivery_id == note_id
        )
        self._connection.execute(
            upsert(delivery_patients)
            .from_select(["delivery_id", "patient_id"], told_of)
            .on_conflict_do_nothing()
        )

    def _one(self, condition: ColumnElement[bool]) -> NoteJob | None:
        row = self._connection.execute(select(note_jobs).where(condition).limit(1)).one_or_none()
        if row is None:
            return None
        return NoteJob(note_id=row.note_id, site=row.site, job_id=row.job_id)
