"""J1, second half: understand a stored delivery."""

from clinical.audit.entry import Act
from clinical.services.intake import Intake
from clinical.services.messages import Message


def record(intake: Intake, message: Message, act: Act) -> None:
    """Record the delivery that the message names; the service settles the message in its commit."""
    intake.record(message.subject_id, act, message=message)
