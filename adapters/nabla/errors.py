"""What can be wrong with what Nabla sends. The sentences name elements, never values."""

from typing import ClassVar

from clinical.errors import OperationalError, RejectedError


class MalformedCallbackError(RejectedError):
    """The body is no callback envelope, or its data are not what its type says."""

    code = "nabla.malformed_callback"


class UnknownCallbackError(RejectedError):
    """The callback is of a type that is not taken here."""

    code = "nabla.unknown_callback"


class MalformedResponseError(RejectedError):
    """The body is not our envelope around a `generate-normalized-data` response."""

    code = "nabla.malformed_response"


class MalformedItemError(RejectedError):
    """One item of a response cannot be understood; the others can."""

    code = "nabla.malformed_item"


class NablaRefusedError(RejectedError):
    """Nabla understood and refused; `name` and `number` are its own words for why."""

    code: ClassVar[str] = "nabla.refused"

    def __init__(self, message: str, *, number: int | None = None, name: str = "") -> None:
        """`message` repeats nothing of what Nabla said: that may quote a note."""
        super().__init__(message)
        self.number = number
        self.name = name


class UnknownEntityError(NablaRefusedError):
    """Nabla knows nothing of this id, or no longer: what it works out is kept for two hours."""

    code = "nabla.unknown_entity"


class SunsetVersionError(NablaRefusedError):
    """The pinned version of the API, or what was asked of it, is not served any more."""

    code = "nabla.sunset_version"


class ConflictingUserError(NablaRefusedError):
    """The address and the id that were given belong to two different users."""

    code = "nabla.conflicting_user"


class RateLimitedError(OperationalError):
    """The organisation asked too much; it is left alone for a while."""

    code = "nabla.rate_limited"


class FailedJobError(RejectedError):
    """Nabla gave up what it was to work out."""

    code = "nabla.failed_job"


class MalformedAnswerError(OperationalError):
    """Nabla answered with something else than what it is documented to answer."""

    code = "nabla.malformed_answer"


class MalformedEventError(RejectedError):
    """The body is no envelope of a webhook of Core."""

    code = "nabla.malformed_event"


class UnsuitableRequestError(RejectedError):
    """What was to be asked does not fit the pinned version of the API; nothing was sent."""

    code = "nabla.unsuitable_request"


class NothingToNormalizeError(RejectedError):
    """No section of the note has a key under which it may be sent."""

    code = "nabla.nothing_to_normalize"
