"""What goes wrong when an outside system is called. Messages name neither addresses nor answers."""

from typing import ClassVar

from clinical.errors import OperationalError, RejectedError


class PeerUnavailableError(OperationalError):
    """It could not be reached, did not answer in time, or failed; whether it acted may be unknown."""

    code: ClassVar[str] = "peer.unavailable"
    may_have_acted: bool = True


class PeerBusyError(PeerUnavailableError):
    """It asked to be left alone for a while (429, or 503 with a time)."""

    code = "peer.busy"
    may_have_acted = False


class CircuitOpenError(PeerUnavailableError):
    """It failed too often a moment ago: nobody asks until the pause is over."""

    code = "peer.circuit_open"
    may_have_acted = False


class UnreadableAnswerError(PeerUnavailableError):
    """It answered with something else than what was asked for, such as a page of HTML."""

    code = "peer.unreadable_answer"


class OversizedAnswerError(RejectedError):
    """The answer is larger than the site allows: reading was stopped."""

    code = "peer.oversized_answer"


class ForeignAddressError(RejectedError):
    """The address is on no host that the site registered: nothing was sent."""

    code = "peer.foreign_address"


class PeerRefusedError(RejectedError):
    """It understood and refused: asking again will not change that. `status` is HTTP's."""

    code: ClassVar[str] = "peer.refused"

    def __init__(self, message: str, status: int, body: bytes = b"") -> None:
        """`body` is what it said; it may name patients and is not for logs."""
        super().__init__(message)
        self.status = status
        self.body = body
