"""Why a document, or something in one, could not be understood.

Details name elements, templates and rules; they never hold a value from the document.
"""

from enum import StrEnum

from clinical.errors import RejectedError


class Reason(StrEnum):
    """The stable reason codes of quarantined documents and entries. Append only."""

    TOO_LARGE = "ccda.too_large"
    NOT_XML = "ccda.not_xml"
    DOCTYPE = "ccda.doctype"
    NOT_A_DOCUMENT = "ccda.not_a_document"
    NO_RULES = "ccda.no_rules"
    MISSING_ID = "ccda.missing_id"
    IMPOSSIBLE_TIME = "ccda.impossible_time"
    MISSING_PATIENT = "ccda.missing_patient"
    AMBIGUOUS_PATIENT = "ccda.ambiguous_patient"
    NEGATED = "ccda.negated"
    NOT_CONVERTED = "ccda.not_converted"
    UNCONVERTIBLE = "ccda.unconvertible"


class DocumentError(RejectedError):
    """A document cannot be understood at all: `reason` is stable."""

    code = "ccda.document"

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
