"""Notes that are sent to be coded: who codes them, and what is under way."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from clinical.services.delivery import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedNote:
    """What came back for a note. `content`: the body of the delivery that it makes, once it is there.

    `job_id`: under which it is being worked out; both empty where nobody knows of it any more.
    """

    content: bytes | None = None
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteJob:
    """A note that is being coded elsewhere, under an id of theirs."""

    note_id: UUID  # of its delivery
    site: str
    job_id: str


class NoteCoder(Protocol):
    """Whoever turns notes into coded data, where a site wants that."""

    def takes(self, delivery: Delivery) -> bool:
        """Whether the delivery is a note that is to be coded, or tells of one that was."""
        ...

    def whose(self, note: Delivery) -> tuple[str, str]:
        """The site's ids of the patient and of the encounter; raises a RejectedError of the adapter's."""
        ...

    def ask(self, note: Delivery, encountered_at: str | None) -> CodedNote:
        """Send the note; raises an error of the adapter's, RejectedError or OperationalError.

        `encountered_at`: the day or instant of the encounter, where it is known; it goes into what
        comes back, for that does not say.
        """
        ...

    def poll(self, note: Delivery, job_id: str, encountered_at: str | None) -> CodedNote:
        """What became of it; raises likewise."""
        ...

    def job_of(self, event: Delivery) -> str:
        """The id of the job that an event tells of."""
        ...

    def told(self, note: Delivery, event: Delivery, encountered_at: str | None) -> CodedNote:
        """What an event brought for the note; raises likewise."""
        ...


class NoteJobs(Protocol):
    """Which notes are being coded."""

    def keep(self, job: NoteJob) -> None:
        """Remember; takes the place of an earlier job of the note."""
        ...

    def of_note(self, note_id: UUID) -> NoteJob | None: ...

    def named(self, site: str, job_id: str) -> NoteJob | None: ...

    def share_patients(self, note_id: UUID, event_id: UUID) -> None:
        """Let the delivery `event_id` be known to tell of whom the note tells, so that both are erased."""
        ...
