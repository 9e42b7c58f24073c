"""A note that came in is sent to be coded; what comes back is a delivery."""

from clinical.audit.entry import Act
from clinical.services.messages import Message
from clinical.services.notes import NoteService


def code(notes: NoteService, message: Message, act: Act) -> None:
    """Bring on the note that the message names; the service settles the message in its commit."""
    notes.code(message.subject_id, act, message=message)
