"""Others are told what happened: first who is to be told, then each of them."""

from clinical.audit.entry import Act
from clinical.services.announcing import AnnouncingService
from clinical.services.messages import Message
from clinical.services.ports import ReceiverName


def announce(announcing: AnnouncingService, message: Message, _act: Act) -> None:
    """Owe the event to each who wants it; the service settles the message in its commit."""
    announcing.announce(message.subject_id, message=message)


def send(announcing: AnnouncingService, message: Message, act: Act) -> None:
    """Tell the receiver that the message names; the service settles the message."""
    receiver = ReceiverName(message.parameters["site"], message.parameters["endpoint"])
    announcing.send(message.subject_id, receiver, act, message=message)
