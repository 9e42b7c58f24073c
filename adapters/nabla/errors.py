"""What can be wrong with what Nabla sends. The sentences name elements, never values."""

from clinical.errors import RejectedError


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
