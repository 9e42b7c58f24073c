"""What can be wrong with a MEDS table. The sentences name columns, never values."""

from clinical.errors import RejectedError


class NotReadableError(RejectedError):
    """The bytes are neither an Arrow stream nor a whole Parquet file."""

    code = "meds.not_readable"


class NotMedsError(RejectedError):
    """A column that MEDS requires is missing or has the wrong type."""

    code = "meds.not_meds"


class IncompleteRowError(RejectedError):
    """A row names no subject or no code, or something in it cannot be kept."""

    code = "meds.incomplete_row"


class NothingToImportError(RejectedError):
    """The path holds no Parquet file."""

    code = "meds.nothing_to_import"


class PlaceTakenError(RejectedError):
    """There is something already where the data set was to go."""

    code = "meds.place_taken"


class SameSubjectError(RejectedError):
    """Two patients got the same number: nothing was exported."""

    code = "meds.same_subject"
