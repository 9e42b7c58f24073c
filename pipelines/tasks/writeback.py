"""J3, second half: tell the EHR what was decided."""

from clinical.audit.entry import Act
from clinical.services.messages import Message
from clinical.services.writeback import WriteBackService


def tell(write_backs: WriteBackService, message: Message, act: Act) -> None:
    """Write back the decided review that the message names; the service settles the message."""
    write_backs.tell(message.subject_id, act, message=message)


def take_back(write_backs: WriteBackService, message: Message, act: Act) -> None:
    """Take back what the EHR was told of the review that the message names."""
    write_backs.take_back(message.subject_id, act, message=message)
