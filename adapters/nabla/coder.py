"""Nabla Core in the words of the domain: implements the port `NoteCoder` for every site that wants it.

What comes back is put, byte for byte, into the envelope that says whose it is (normalized.py).
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters.nabla import connect, core_events
from adapters.nabla.core_client import Answered, CoreClient
from adapters.nabla.errors import FailedJobError, MalformedEventError, UnknownEntityError
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import CodedNote


class NablaCoder:
    """`clients` are by site; a site without one sends nothing."""

    def __init__(self, clients: Mapping[str, CoreClient]) -> None:
        """Nothing is asked before it is needed."""
        self._clients = clients

    def takes(self, delivery: Delivery) -> bool:
        """Whether it is a note of such a site, or an event of Core that brings one's result."""
        if delivery.site not in self._clients:
            return False
        try:
            if delivery.door is Door.NABLA_CONNECT:
                return bool(_export(delivery).note.sections)
            if delivery.door is Door.NABLA_CORE:
                event = core_events.parse_event(delivery.body)
                return event.type.startswith(core_events.NORMALIZED) and bool(
                    core_events.job_of(event)
                )
        except RejectedError:
            return False
        return False

    def whose(self, note: Delivery) -> tuple[str, str]:
        """The site's ids of patient and encounter; raises MalformedCallbackError."""
        export = _export(note)
        patient = export.external_patient_id.removeprefix("Patient/")
        return patient, export.external_encounter_id.removeprefix("Encounter/")

    def ask(self, note: Delivery, encountered_at: str | None) -> CodedNote:
        """Send the note; raises as CoreClient.ask does."""
        answered = self._clients[note.site].ask(_export(note))
        return _coded(note, answered, encountered_at)

    def poll(self, note: Delivery, job_id: str, encountered_at: str | None) -> CodedNote:
        """What became of it; raises as CoreClient.poll does."""
        try:
            return _coded(note, self._clients[note.site].poll(job_id), encountered_at)
        except UnknownEntityError:
            return CodedNote()  # after two hours nothing is known of it: it is asked anew

    def job_of(self, event: Delivery) -> str:
        """The id of the job that the event tells of; raises MalformedEventError."""
        return _job(event).id

    def told(self, note: Delivery, event: Delivery, encountered_at: str | None) -> CodedNote:
        """What the event brought; raises FailedJobError, MalformedEventError."""
        job = _job(event)
        if job.has_failed:
            raise FailedJobError(f"Nabla gave it up, number {job.error_number}")
        return _coded(note, Answered(job.result, job.id), encountered_at)


def _export(note: Delivery) -> connect.NoteExport:
    return connect.note_export(connect.parse_callback(note.body))


def _job(event: Delivery) -> core_events.Job:
    job = core_events.job_of(core_events.parse_event(event.body))
    if job is None:
        raise MalformedEventError("data: not the state of a job")
    return job


def _coded(note: Delivery, answered: Answered, encountered_at: str | None) -> CodedNote:
    if answered.response is None:
        return CodedNote(job_id=answered.job_id)
    export = _export(note)
    envelope = {
        "external_patient_id": export.external_patient_id,
        "external_encounter_id": export.external_encounter_id,
        "encounter_time": encountered_at,
        # A callback does not say when the note was exported: it was then.
        "note_exported_at": note.received_at,
        "response": Raw(answered.response),
    }
    return CodedNote(content=msgspec.json.encode(envelope), job_id=answered.job_id)
