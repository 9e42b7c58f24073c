"""What goes wrong with what we asked for. Messages name neither addresses nor patients."""

from clinical.errors import OperationalError, RejectedError


class ExpiredExportError(OperationalError):
    """The EHR threw the job or one of its files away before all of it was stored."""

    code = "pull.expired"


class LoopingPagesError(OperationalError):
    """A page leads back to one that was read: there would be no end."""

    code = "pull.looping_pages"


class ForeignPageError(RejectedError):
    """The next page is said to be on another host than the first."""

    code = "pull.foreign_page"


class BadPatientIdError(RejectedError):
    """This is no id of a FHIR resource: 1 to 64 letters, digits, hyphens or dots."""

    code = "pull.bad_patient_id"
